"""Values of columns and fields: what is read, and one line for the first that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fusionkit.errors import DataError
from fusionkit_datasets.columns import read_labels, read_numbers, read_splits, read_texts


def test_values_are_read_as_what_they_are() -> None:
    where = str
    assert read_texts(["p1", 7, "a\nb"], "who", where) == ["p1", "7", "a\\nb"]
    assert read_labels(["calm ", 3, None, "", -1, " "], "label", where) == ["calm", "3", None, None, None, None]
    assert read_numbers([0, 2**62 - 1], "t", where) == [0, 2**62 - 1]
    assert read_splits(["Train", "validation", "testing"], "part", where) == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("read", "value", "problem"),
    [
        (read_texts, None, "x is missing"),
        (read_texts, "", "x is missing"),
        (read_texts, True, "x = True must be text or a whole number"),
        (read_texts, 1.5, "x = 1.5 must be text or a whole number"),
        (read_texts, b"\x00" * 99, "must be text or a whole number"),
        (read_labels, False, "x = False must be a class name or number"),
        (read_labels, ["a"], r"x = \['a'\] must be a class name or number"),
        (read_numbers, True, "x = True must be a whole number of at least 0"),
        (read_numbers, -1, "x = -1 must be"),
        (read_numbers, 2**62, "must be a whole number"),
        (read_numbers, "1", "x = '1' must be"),
        (read_splits, "extra", "x = 'extra' must be train, val or test"),
        (read_splits, None, "x is missing"),
    ],
)
def test_a_wrong_value_is_named_with_its_sample(read: Callable[..., Any], value: object, problem: str) -> None:
    fitting: dict[Any, Any] = {read_numbers: 1, read_splits: "train"}
    with pytest.raises(DataError, match=f"row 1: .*{problem}") as refused:
        read([fitting.get(read, "a"), value], "x", lambda index: f"row {index}")
    assert len(str(refused.value)) < 120
