"""Significance of rows compared with the best row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_counts import drawn
from moderated import difference_estimate
from toy_folder import Toy, write_folder
from toy_tasks import macro_f1

from fusionkit.report.run import Results
from fusionkit.report.significance import beats, corrected_p, few_seeds_warnings, method, row_significance, rule
from fusionkit.report.table import caption
from fusionkit.stats.crossed import Estimate
from fusionkit.stats.intervals import holm

SKILLS = (0.60, 0.60, 0.58, 0.54, 0.50, 0.20)


def test_rows_are_behind_if_their_corrected_p_is_small(tmp_path: Path) -> None:
    toys = [
        Toy({"fusion": f"f{index}"}, drawn(skill, seeds=2, draw=index), id=f"id{index}")
        for index, skill in enumerate(SKILLS)
    ]
    counts = [np.stack(toy.counts) for toy in toys]
    best = int(np.argmax([macro_f1(each.sum(1)).mean() for each in counts]))
    others = [index for index in range(len(toys)) if index != best]
    differences = [difference_estimate(counts[best], counts[index], counts) for index in others]
    p = [each.p for each in differences] + [1.0] * (15 - 5)  # the best of six was picked: 15 pairs
    expected = {f"id{best}": "best"}
    for index, value in zip(others, holm(np.array(p)), strict=False):
        expected[f"id{index}"] = "behind" if value <= 0.05 else "tied"
    assert row_significance(write_folder(tmp_path, toys)) == expected
    assert set(expected.values()) == {"best", "tied", "behind"}


def test_each_data_set_has_a_best_row_and_unfinished_rows_are_left_out(tmp_path: Path) -> None:
    toys = [
        Toy({"dataset": "a"}, drawn(0.6), id="a"),
        Toy({"dataset": "b"}, drawn(0.3, units=12), id="b"),
        Toy({"dataset": "b", "fusion": "mlp"}, [None], id="c"),
    ]
    assert row_significance(write_folder(tmp_path, toys)) == {"a": "best", "b": "best"}


def difference(p: float, value: float = 0.2) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.1, 0.05, 30, 3, p)


def test_the_correction_counts_tests_that_were_not_carried_out() -> None:
    assert corrected_p([difference(0.01), difference(0.02)], 5) == [0.05, 0.08]
    assert corrected_p([], 3) == []
    found = corrected_p([difference(0.01), difference(float("nan"))], 5)
    assert found[0] == pytest.approx(0.04)
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("value", "p", "expected"),
    [(0.2, 0.05, True), (0.2, 0.051, False), (-0.2, 0.01, False), (0.2, float("nan"), False)],
)
def test_a_row_beats_another_if_it_is_higher_and_p_is_small(value: float, p: float, expected: bool) -> None:
    assert beats(difference(p, value), p) == expected


def test_one_seed_marks_the_highest_row_and_no_row_as_behind(tmp_path: Path) -> None:
    toys = [Toy({"fusion": f"f{skill}"}, drawn(skill, draw=5), id=f"id{skill}") for skill in (0.9, 0.1)]
    results = write_folder(tmp_path, toys)
    assert row_significance(results) == {"id0.9": "best"}
    assert "one trained model" in method(results)
    assert "p Holm" not in " ".join(caption(results))
    assert "--seeds 3" in rule(results)
    models = Results(tmp_path, "permutation")
    assert row_significance(models) == {"id0.9": "best", "id0.1": "behind"}
    assert "these trained models" in method(models)


@pytest.mark.parametrize(("seeds", "expected"), [(1, "--seeds 3"), (2, "2 seeds"), (3, "")])
def test_few_seeds_are_warned_of(seeds: int, expected: str) -> None:
    found = few_seeds_warnings(seeds, "crossed")
    assert [expected in line for line in found] == ([True] if expected else [])
    assert few_seeds_warnings(seeds, "permutation") == []
