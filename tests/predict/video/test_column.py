"""Columns return the rows that were added."""

import numpy as np
import pytest

from fusionkit.predict.video.result import Column


@pytest.mark.parametrize(("kind", "shape"), [(np.int64, ()), (np.float32, (4,)), (np.float64, (2, 3))])
def test_added_rows_are_returned(kind: type[np.generic], shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    blocks = [(100 * rng.normal(size=(count, *shape))).astype(kind) for count in (1, 5, 0, 3)]
    column = Column(kind, shape)
    for block in blocks:
        column.add(block)
    whole = np.concatenate(blocks)
    np.testing.assert_array_equal(column.values, whole)
    assert (len(column), column.values.dtype) == (9, whole.dtype)
    assert len(column._bytes) == whole.nbytes


def test_rows_can_be_structured() -> None:
    column = Column([("number", np.int64), ("box", np.float32, (2,)), ("none", np.float32, (0, 5))])
    for row in range(3):
        column.add((row, [row, 2 * row], np.empty((0, 5))))
    assert len(column) == 3
    assert column.values["box"].tolist() == [[0, 0], [1, 2], [2, 4]]
    assert column.values["none"].shape == (3, 0, 5)


def test_single_rows_can_be_added() -> None:
    column = Column(np.float64)
    column.add(2.5)
    column.add(float("nan"))
    np.testing.assert_array_equal(column.values, [2.5, np.nan])
