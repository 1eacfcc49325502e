"""Which rows stand level with the best is what the corrected tests say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from drawn_counts import drawn
from toy_folder import Toy, write_folder

from fusionkit.report.significance import holm_of, row_significance
from fusionkit.stats.intervals import holm, macro_f1, paired_difference, permutation_p

SKILLS = (0.60, 0.60, 0.58, 0.54, 0.50, 0.20)


def test_rows_are_behind_where_the_corrected_test_and_the_interval_say_so(tmp_path: Path) -> None:
    toys = [
        Toy({"fusion": f"f{place}"}, drawn(skill, seeds=2, draw=place), id=f"id{place}")
        for place, skill in enumerate(SKILLS)
    ]
    counts = [np.stack(toy.counts) for toy in toys]
    best = int(np.argmax([macro_f1(each.sum(1)).mean() for each in counts]))
    others = [place for place in range(len(toys)) if place != best]
    differences = {place: paired_difference(counts[best], counts[place]) for place in others}
    p = [permutation_p(counts[best], counts[o], 2_000) if differences[o].low > 0 else 1.0 for o in others]
    expected = {f"id{best}": "best"}
    for place, value in zip(others, holm(np.array(p)), strict=True):
        expected[f"id{place}"] = "behind" if value <= 0.05 and differences[place].low > 0 else "level"
    assert row_significance(write_folder(tmp_path, toys)) == expected
    assert set(expected.values()) == {"best", "level", "behind"}


def test_each_data_set_has_a_best_row_and_unfinished_rows_have_no_standing(tmp_path: Path) -> None:
    toys = [
        Toy({"dataset": "a"}, drawn(0.6), id="a"),
        Toy({"dataset": "b"}, drawn(0.3, units=12), id="b"),
        Toy({"dataset": "b", "fusion": "mlp"}, [None], id="c"),
    ]
    assert row_significance(write_folder(tmp_path, toys)) == {"a": "best", "b": "best"}


def test_tests_that_were_not_carried_out_count() -> None:
    assert holm_of([0.01, 0.02], 5) == [0.05, 0.08]
    assert holm_of([], 3) == []
