"""Significance of rows compared with the best row."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from drawn_counts import drawn
from toy_folder import Toy, write_folder

from fusionkit.report.significance import beats, corrected_p, is_significant, row_significance
from fusionkit.stats.intervals import Estimate, holm, macro_f1, paired_difference, permutation_p

SKILLS = (0.60, 0.60, 0.58, 0.54, 0.50, 0.20)


def test_rows_are_behind_if_the_corrected_test_and_the_interval_agree(tmp_path: Path) -> None:
    toys = [
        Toy({"fusion": f"f{index}"}, drawn(skill, seeds=2, draw=index), id=f"id{index}")
        for index, skill in enumerate(SKILLS)
    ]
    counts = [np.stack(toy.counts) for toy in toys]
    best = int(np.argmax([macro_f1(each.sum(1)).mean() for each in counts]))
    others = [index for index in range(len(toys)) if index != best]
    differences = {index: paired_difference(counts[best], counts[index]) for index in others}
    p = [permutation_p(counts[best], counts[o], 2_000) if differences[o].low > 0 else 1.0 for o in others]
    expected = {f"id{best}": "best"}
    for index, value in zip(others, holm(np.array(p)), strict=True):
        expected[f"id{index}"] = "behind" if value <= 0.05 and differences[index].low > 0 else "tied"
    assert row_significance(write_folder(tmp_path, toys)) == expected
    assert set(expected.values()) == {"best", "tied", "behind"}


def test_each_data_set_has_a_best_row_and_unfinished_rows_are_left_out(tmp_path: Path) -> None:
    toys = [
        Toy({"dataset": "a"}, drawn(0.6), id="a"),
        Toy({"dataset": "b"}, drawn(0.3, units=12), id="b"),
        Toy({"dataset": "b", "fusion": "mlp"}, [None], id="c"),
    ]
    assert row_significance(write_folder(tmp_path, toys)) == {"a": "best", "b": "best"}


@dataclass
class Difference:
    """A paired difference with a given p."""

    raw_p: float
    difference: Estimate = field(default_factory=lambda: Estimate(0.2, 0.1, 0.3, 0.05, 30, 1))

    def p(self, tests: int) -> float:
        return self.raw_p


def test_the_correction_counts_tests_that_were_not_carried_out() -> None:
    assert corrected_p([Difference(0.01), Difference(0.02)], 5) == [0.05, 0.08]
    assert corrected_p([], 3) == []
    around_zero = Estimate(0.2, -0.1, 0.5, 0.2, 30, 1)
    assert corrected_p([Difference(0.01), Difference(0.02, around_zero)], 5) == [0.05, 1.0]


@pytest.mark.parametrize(
    ("low", "high", "p", "significant"),
    [(0.1, 0.3, 0.05, True), (0.1, 0.3, 0.051, False), (-0.1, 0.3, 0.01, False), (-0.3, -0.1, 0.01, True)],
)
def test_a_difference_is_significant_if_the_test_rejects_and_the_interval_excludes_0(
    low: float, high: float, p: float, significant: bool
) -> None:
    difference = Estimate((low + high) / 2, low, high, 0.1, 30, 1)
    assert is_significant(difference, p) == significant
    assert beats(difference, p) == (significant and low > 0)
