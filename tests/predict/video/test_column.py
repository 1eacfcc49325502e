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
    for row in range(9):
        np.testing.assert_array_equal(column[row], whole[row])
    assert len(column._bytes) == whole.nbytes


def test_single_rows_can_be_added() -> None:
    column = Column(np.float64)
    column.add(2.5)
    column.add(float("nan"))
    np.testing.assert_array_equal(column.values, [2.5, np.nan])
