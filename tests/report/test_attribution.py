"""Shapley values of views, from run folders with all subsets, some of them, or none."""

from __future__ import annotations

import io
import re
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from toy_folder import Toy, write_folder
from toy_tasks import macro_f1, paired_difference

from fusionkit.report.attribution import CONSTANT, attribution_tables, attributions
from fusionkit.report.run import Results

UNITS, CLASSES = 21, 3
TRUTH = np.random.default_rng(0).integers(1, 9, (UNITS, CLASSES))
WORTH = {"eye": 0.5, "mouth": 1.5, "nose": 0.0}


def counts_of(views: tuple[str, ...], seeds: int = 2) -> np.ndarray:
    rng = np.random.default_rng([ord(view[0]) for view in views])
    rows = np.ones((CLASSES, CLASSES)) + (1 + sum(WORTH[view] for view in views)) * np.eye(CLASSES)
    return np.stack([rng.multinomial(TRUTH, rows / rows.sum(1, keepdims=True)) for _ in range(seeds)])


def subsets(players: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [subset for size in range(1, len(players) + 1) for subset in combinations(players, size)]


def with_face(players: tuple[str, ...], **axes: str) -> list[Toy]:
    return [
        Toy({"views": ",".join(("face", *subset)), "fusion": "concat", **axes}, counts_of(subset))
        for subset in subsets(players)
    ]


def alone(**axes: str) -> Toy:
    return Toy(axes, counts_of(()))


def score(counts: np.ndarray) -> float:
    return float(np.mean(macro_f1(counts.sum(1))))


def naive(player: str, players: tuple[str, ...], empty: float) -> float:
    """The mean gain of a view over all orders of joining, from the scores."""

    def worth(views: list[str]) -> float:
        return score(counts_of(tuple(sorted(views)))) if views else empty

    gains = []
    for order in permutations(players):
        before = list(order[: order.index(player)])
        gains.append(worth([*before, player]) - worth(before))
    return float(np.mean(gains))


def text(results: Results) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    for table in attribution_tables(results):
        console.print(table)
    return console.export_text()


def test_shapley_values_are_relative_to_the_main_view_alone(tmp_path: Path) -> None:
    players = ("eye", "mouth", "nose")
    (found,) = attributions(write_folder(tmp_path, [alone(), *with_face(players)]))
    assert found.players == players
    assert found.empty == "face/linear/none"
    assert found.empty_score.value == pytest.approx(score(counts_of(())))
    for player, estimate in found.shapley.items():
        assert estimate.value == pytest.approx(naive(player, players, score(counts_of(()))))
        assert estimate.low < estimate.value < estimate.high
        assert (estimate.n_units, estimate.n_seeds) == (UNITS, 2)
    assert sum(each.value for each in found.shapley.values()) == pytest.approx(found.total.value)
    together = paired_difference(counts_of(players), counts_of(()))
    assert (found.total.low, found.total.high) == pytest.approx((together.low, together.high))
    assert set(found.interactions) == {("eye", "mouth"), ("eye", "nose"), ("mouth", "nose")}


def test_the_interaction_of_two_views_is_their_joint_gain_beyond_the_single_gains(tmp_path: Path) -> None:
    (found,) = attributions(write_folder(tmp_path, [alone(), *with_face(("eye", "mouth"))]))
    nothing, eye, mouth, both = (score(counts_of(views)) for views in ((), ("eye",), ("mouth",), ("eye", "mouth")))
    assert found.interactions["eye", "mouth"].value == pytest.approx(both - eye - mouth + nothing)


def test_without_a_main_view_they_are_added_to_the_best_constant(tmp_path: Path) -> None:
    players = ("eye", "mouth")
    rows = [Toy({"views": ",".join(v), "main": "none", "fusion": "mlp"}, counts_of(v)) for v in subsets(players)]
    (found,) = attributions(write_folder(tmp_path, rows))
    share = TRUTH.sum(0).max() / TRUTH.sum()
    empty = 2 * share / (1 + share) / CLASSES
    assert found.empty == CONSTANT
    assert found.empty_score.value == pytest.approx(empty)
    assert found.shapley["mouth"].value == pytest.approx(naive("mouth", players, empty))


def test_the_same_fusion_of_the_main_view_alone_is_preferred_to_the_linear_head(tmp_path: Path) -> None:
    own = Toy({"fusion": "concat", "main": "none"}, counts_of(()))
    (found,) = attributions(write_folder(tmp_path, [alone(), own, *with_face(("eye", "mouth"))]))
    assert found.empty == "face/concat/none"


def test_the_largest_complete_sets_are_attributed(tmp_path: Path) -> None:
    whole = with_face(("eye", "mouth", "nose"))
    lacking = [toy for toy in whole if toy.axes["views"] != "face,eye,nose"]
    found = attributions(write_folder(tmp_path / "1", [alone(), *lacking]))
    assert [each.players for each in found] == [("eye", "mouth"), ("mouth", "nose")]
    found = attributions(write_folder(tmp_path / "2", [alone(), *whole]))
    assert [each.players for each in found] == [("eye", "mouth", "nose")]


@pytest.mark.parametrize("lacking", ["face,eye", "face", "seed", "frames"])
def test_an_incomplete_folder_has_no_attribution(tmp_path: Path, lacking: str) -> None:
    rows = [alone(), *with_face(("eye", "mouth"))]
    if lacking == "seed":
        rows[1].counts = [None, rows[1].counts[1]]
        rows[2].counts = [rows[2].counts[0], None]
    elif lacking == "frames":
        rows[1].counts = rows[1].counts + np.eye(CLASSES, dtype=int)
    else:
        rows = [toy for toy in rows if toy.axes.get("views", "face") != lacking]
    results = write_folder(tmp_path, rows)
    assert attributions(results) == []
    assert attribution_tables(results) == []


def test_common_seeds_are_used(tmp_path: Path) -> None:
    rows = [alone(), *with_face(("eye", "mouth"))]
    rows[1].counts = [None, rows[1].counts[1]]
    (found,) = attributions(write_folder(tmp_path, rows))
    assert found.total.n_seeds == 1
    assert found.total.value == pytest.approx(score(counts_of(("eye", "mouth"))[1:]) - score(counts_of(())[1:]))


def test_fusions_and_smoothers_share_a_table_and_backbones_have_separate_tables(tmp_path: Path) -> None:
    rows = [
        toy
        for backbone in ("hog", "timm")
        for smoother in ("none", "window")
        for toy in (
            alone(backbone=backbone, smoother=smoother),
            *with_face(("eye", "mouth"), backbone=backbone, smoother=smoother),
        )
    ]
    results = write_folder(tmp_path, rows)
    assert len(attributions(results)) == 4
    assert len(attribution_tables(results)) == 2
    shown = text(results)
    assert shown.count("Contribution of each view to macro-F1 (Shapley") == 2
    assert re.findall(r"^(\w+) +eye", shown, re.MULTILINE) == ["none", "window", "none", "window"]
    assert "smoother" in shown
    assert "fusion " not in shown


def test_the_caption_names_the_baseline_and_the_number_of_units(tmp_path: Path) -> None:
    results = write_folder(tmp_path, [alone(), *with_face(("eye", "mouth"))])
    (found,) = attributions(results)
    shown = " ".join(text(results).split())
    mouth = found.shapley["mouth"]
    written = [f"{value:+.3f}".replace("0.", ".", 1) for value in (mouth.value, mouth.low, mouth.high)]
    assert "mouth {} [{}, {}]".format(*written) in shown
    assert "eye x mouth (interaction) " in shown
    base = f"{found.empty_score.value:.3f}"[1:]
    assert f"added to face/linear/none ({base})" in shown
    assert f"{UNITS} units, 2 seed(s)" in shown
