"""``fusionkit compare`` on a small run."""

from __future__ import annotations

import re
from pathlib import Path

from command_line import output_of, refusal_of

from fusionkit.report.run import Results


def test_it_prints_both_scores_the_difference_every_class_and_a_sentence(finished_run: Path) -> None:
    text = output_of("compare", finished_run, "face,mouth/plain-concat/none", "face/linear/none")
    found = Results(finished_run).compare("face,mouth/plain-concat/none", "linear")
    (row,) = [row for row in Results(finished_run).rows if row.axes.name == "face,mouth/plain-concat/none"]
    assert row.score is not None
    assert row.delta is not None
    for written, value in (("A", row.score.value), ("A - B", row.delta.value)):
        number = re.escape(f"{value:+.3f}".replace("0.", ".", 1).removeprefix("+"))
        assert re.search(rf"^{written} +\+?{number} \[", text, re.MULTILINE), text
    assert found.overall.p == row.delta.p
    for each in found.classes:
        assert re.search(rf"^{each.name} +{each.n_units} +{each.n_frames} ", text, re.MULTILINE)
    assert found.sentence() in text
    assert "6 units" in text
    assert "seeds 0, 1" in text
    assert re.search("^warning: .*6 units", text, re.MULTILINE)


def test_ids_and_parts_of_names_give_the_same_comparison(finished_run: Path) -> None:
    ids = {row.axes.name: row.id for row in Results(finished_run).rows}
    a, b = "face,eye/plain-concat/none", "face/linear/none"
    by_name = output_of("compare", finished_run, a, b)
    assert output_of("compare", finished_run, ids[a][:6], ids[b][:6]) == by_name
    assert output_of("compare", finished_run, "eye/plain-concat", "face") == by_name


def test_an_ambiguous_name_is_refused_with_the_candidates(finished_run: Path) -> None:
    line = refusal_of("compare", finished_run, "plain-concat", "linear")
    for name in ("'plain-concat'", "face,eye/plain-concat/none", "face,mouth/plain-concat/none"):
        assert name in line


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal_of("compare", tmp_path, "a", "b")
