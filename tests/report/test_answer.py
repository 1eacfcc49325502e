"""The answer claims only significant differences."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_counts import drawn
from moderated import contrast, difference_estimate
from toy_folder import Toy, write_folder
from toy_tasks import macro_f1

from fusionkit.registry import TASKS
from fusionkit.report.answer import Answer, _recognised, answer
from fusionkit.report.numbers import share_with_interval, signed_with_interval


def toy(views: str, fusion: str, skill: float, draw: int, **more: object) -> Toy:
    return Toy({"views": views, "fusion": fusion}, drawn(skill, seeds=2, draw=draw), **more)


def score(*rows: Toy) -> float:
    return float(np.mean([macro_f1(seed.sum(0)) for row in rows for seed in row.counts]))


@pytest.fixture
def rows() -> dict[str, Toy]:
    return {
        "eye/concat": toy("face,eye", "concat", 0.70, 1),
        "eye/mlp": toy("face,eye", "mlp", 0.71, 2),
        "nose/concat": toy("face,nose", "concat", 0.30, 3),
        "nose/mlp": toy("face,nose", "mlp", 0.29, 4),
    }


def sentence(found: Answer, axis: str) -> str:
    return next(each.sentence() for each in found.findings if each.axis == axis)


def test_a_significant_difference_is_reported_as_a_mean_over_pairs_of_rows(
    tmp_path: Path, rows: dict[str, Toy]
) -> None:
    found = answer(write_folder(tmp_path, list(rows.values())))
    views = next(each for each in found.findings if each.axis == "views")
    (rival,) = views.rivals
    difference = score(rows["eye/concat"], rows["eye/mlp"]) - score(rows["nose/concat"], rows["nose/mlp"])
    assert rival.difference.value == pytest.approx(difference)
    assert rival.is_beaten
    assert views.sentence() == (
        f"Region set: face,eye beats face,nose by {share_with_interval(rival.difference)} "
        "(mean over 2 pairs of rows equal in every other setting)"
    )


def test_a_difference_that_is_not_significant_is_reported_as_such(tmp_path: Path, rows: dict[str, Toy]) -> None:
    found = answer(write_folder(tmp_path, list(rows.values())))
    fusion = next(each for each in found.findings if each.axis == "fusion")
    (rival,) = fusion.rivals
    assert rival.difference.low < 0 < rival.difference.high
    assert not rival.is_beaten
    text = f"the highest, is not significantly different from {rival.name} ({signed_with_interval(rival.difference)})"
    assert text in fusion.sentence()
    assert "beats" not in fusion.sentence()


def test_the_correction_counts_every_pair_of_choices_on_every_axis(tmp_path: Path) -> None:
    """Four fusions and two region sets: 6 + 1 pairs, of which 4 are tested; the others count as not rejected."""
    skills = {"a": 0.75, "b": 0.45, "c": 0.40, "d": 0.35}
    rows = {
        (views, fusion): toy(views, fusion, skill - (0.15 if views == "nose" else 0), 10 * index + len(views))
        for views in ("mouth", "nose")
        for index, (fusion, skill) in enumerate(skills.items())
    }
    found = answer(write_folder(tmp_path, list(rows.values())))
    every = [np.stack(each.counts) for each in rows.values()]
    stacked = {key: np.stack(each.counts) for key, each in rows.items()}
    raw = {
        other: contrast(
            [
                (sign / 2, stacked[views, fusion])
                for fusion, sign in (("a", 1), (other, -1))
                for views in ("mouth", "nose")
            ],
            every,
            (-1.0, 1.0),
        ).p
        for other in ("b", "c", "d")
    }
    views = next(each for each in found.findings if each.axis == "views").rivals[0]
    halves = [(sign / 4, stacked[view, fusion]) for view, sign in (("mouth", 1), ("nose", -1)) for fusion in skills]
    raw["nose"] = contrast(halves, every, (-1.0, 1.0)).p
    expected, least = {}, 0.0
    for rank, name in enumerate(sorted(raw, key=lambda name: raw[name])):
        least = max(least, min(1.0, (7 - rank) * raw[name]))
        expected[name] = least
    got = {rival.name: rival.p for each in found.findings for rival in each.rivals}
    assert got == pytest.approx(expected)
    assert views.p == got["nose"]


def test_a_choice_that_shares_no_row_with_the_others_is_not_compared(tmp_path: Path, rows: dict[str, Toy]) -> None:
    alone = toy("face", "linear", 0.1, 9)
    found = answer(write_folder(tmp_path, [alone, *rows.values()]))
    views = next(each for each in found.findings if each.axis == "views")
    assert views.left_out == ["face"]
    assert [rival.name for rival in views.rivals] == ["face,nose"]
    assert views.sentence().endswith("every other setting; face left out, without rows to pair)")


def test_rows_without_a_partner_are_counted(tmp_path: Path, rows: dict[str, Toy]) -> None:
    more = [toy("face,mouth", "concat", 0.6, 9), toy("face,eye", "gated", 0.6, 8), toy("face,nose", "late", 0.6, 7)]
    views = next(
        each for each in answer(write_folder(tmp_path, [*more, *rows.values()])).findings if each.axis == "views"
    )
    assert (views.pairs, views.unpaired, views.left_out) == (1, 4, [])  # concat is the only fusion of all three
    assert views.sentence().endswith("(4 rows left out, not equal in every other setting to a row of each)")


def test_the_headline_names_the_best_row_and_its_test_against_the_reference(
    tmp_path: Path, rows: dict[str, Toy]
) -> None:
    best = rows["eye/mlp"] if score(rows["eye/mlp"]) > score(rows["eye/concat"]) else rows["eye/concat"]
    reference = Toy({"fusion": "linear"}, drawn(0.1, seeds=2, draw=9), id="0reference")
    for each in rows.values():
        each.reference = "0reference"
    found = answer(write_folder(tmp_path, [reference, *rows.values()]))
    every = [np.stack(each.counts) for each in (reference, *rows.values())]
    delta = difference_estimate(np.stack(best.counts), np.stack(reference.counts), every)
    assert found.headline.startswith(f"face,eye/{best.axes['fusion']}/none has the highest macro-F1, ")
    assert f"; it beats the reference face/linear/none by {share_with_interval(delta)}, p < .001" in found.headline
    assert found.headline.endswith("Holm-corrected over 4 comparisons")


def test_a_single_row_and_a_grid_without_scores_have_a_headline(tmp_path: Path) -> None:
    found = answer(write_folder(tmp_path / "a", [toy("face", "linear", 0.5, 1)]))
    assert found.question == "How well does face/linear/none recognise expression on toy?"
    assert found.headline.startswith("face/linear/none has a macro-F1 of .")
    assert found.findings == []
    half = answer(write_folder(tmp_path / "c", [toy("face", "linear", 0.5, 1), Toy({"fusion": "late"}, [None])]))
    assert half.headline.endswith(". 1 of 2 rows have no score")
    empty = answer(write_folder(tmp_path / "b", [Toy({}, [None])]))
    assert empty.sentences() == ["no row is finished yet"]


def test_data_sets_are_compared_separately(tmp_path: Path, rows: dict[str, Toy]) -> None:
    others = [
        Toy({"dataset": "other", "views": views, "fusion": "concat"}, drawn(skill, units=30, seeds=2, draw=40))
        for views, skill in (("face,eye", 0.2), ("face,nose", 0.7))
    ]
    found = answer(write_folder(tmp_path, [*rows.values(), *others]))
    assert found.question.endswith("best on toy and other, and is the difference significant?")
    first, second = found.headline.split(". On ")
    assert re.match(r"On toy, face,eye/\w+/none has the highest macro-F1, ", first)
    assert second.startswith("other, face,nose/concat/none has the highest macro-F1, ")
    views = [each for each in found.findings if each.axis == "views"]
    best = {each.dataset: each.best for each in views}
    assert best == {"toy": "face,eye", "other": "face,nose"}
    assert "Region set, on other: face,nose beats face,eye" in views[1].sentence()


def test_one_seed_is_described_and_claims_nothing(tmp_path: Path) -> None:
    reference = Toy({"fusion": "linear"}, drawn(0.1, draw=9), id="0reference")
    best = Toy({"fusion": "mlp"}, drawn(0.8, draw=1), reference="0reference")
    found = answer(write_folder(tmp_path, [reference, best]))
    assert "beats" not in " ".join(found.sentences())
    assert "no claim" in found.headline
    assert [finding.sentence().endswith("one trained model each, so no claim") for finding in found.findings] == [True]


def test_a_difference_that_only_the_correction_takes_away_is_said_so(tmp_path: Path) -> None:
    rows = [Toy({"fusion": "linear"}, drawn(0.50, seeds=3, draw=0), id="0reference")]
    rows += [
        Toy({"fusion": f"f{index}"}, drawn(skill, seeds=3, draw=index), reference="0reference")
        for index, skill in enumerate((0.59, *[0.5] * 24), 1)
    ]
    results = write_folder(tmp_path, rows)
    best = max((row for row in results.rows if row.delta), key=lambda row: row.score.value)
    assert best.delta.p < 0.05 < best.p_holm
    assert "but not after correction" in answer(results).headline


@pytest.mark.parametrize(
    ("task", "names", "text"),
    [
        ("valence-arousal", ("valence", "arousal"), "valence and arousal"),
        ("valence-arousal", (), "valence arousal"),
        ("action-units", ("AU1", "AU2", "AU4", "AU6"), "action units"),
        ("expression", ("calm", "glad"), "expression"),
    ],
)
def test_a_few_values_are_named_in_the_question(task: str, names: tuple[str, ...], text: str) -> None:
    row = SimpleNamespace(task=TASKS.build(task, names=names), axes=SimpleNamespace(task=task))
    assert _recognised(row) == text
