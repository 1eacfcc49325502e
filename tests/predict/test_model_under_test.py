"""Trained rows evaluated again: toy fusions with known results, and plain loops over embeddings."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from itertools import combinations, pairwise, permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score
from torch import Tensor, nn
from toy_components import Blobs, carry_out, registered, toy_house, toy_plan  # noqa: F401

import fusionkit
from fusionkit.api import ablate, robust
from fusionkit.contracts import Fusion, FusionOutput
from fusionkit.errors import ConfigError, DataError
from fusionkit.predict.ablation import check_view_count
from fusionkit.predict.model_under_test import ModelUnderTest, Scores
from fusionkit.predict.robustness import ratio
from fusionkit.registry import FUSIONS
from fusionkit.report.ablation import Ablation
from fusionkit.report.run import Results

pytestmark = pytest.mark.usefixtures("toy_house")

QUICK = {"draws": 3, "seed": 5}


class MainOnly(Fusion):
    """Ignores auxiliary views."""

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return views[self.main]


class Added(Fusion):
    """Sum of one linear layer per view; a missing view adds nothing."""

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.layers = nn.ModuleList([nn.Linear(width, num_classes, bias=False) for width in in_dims.values()])

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        logits = [
            layer(views[name]) * present[name][:, None] for name, layer in zip(self.in_dims, self.layers, strict=True)
        ]
        return FusionOutput(logits=sum(logits[1:], logits[0]))


def benched(path: Path, **changes: Any) -> Results:
    plan = toy_plan(**{"reference": "none", "seeds": 2, **changes})
    outcome, results = carry_out(plan, path)
    assert outcome.failed == {}
    return results


class ByHand:
    """Test frames of a row, scored by plain loops over their embeddings."""

    def __init__(self, folder: Path, cell: str) -> None:
        self.predictor = fusionkit.load(folder, cell)
        self.table = Blobs().table()
        self.rows = np.flatnonzero(self.table.split == "test")
        self.truth = self.table.label[self.rows]
        embedded = self.predictor.embed(Blobs().images(np.arange(len(self.table))))
        self.views = {name: values[self.rows].copy() for name, values in embedded.items()}
        self.train = {name: values[self.table.split == "train"] for name, values in embedded.items()}

    def f1(self, views: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> np.ndarray:
        """(S,) of what the heads say of the frames that have any view in ``there``, the nearest frame for others."""
        found = []
        for logits in self.predictor.logits(views).astype(float):
            predicted = np.empty(len(self.rows), int)
            for index in range(len(self.rows)):
                own = [
                    other
                    for other in range(len(self.rows))
                    if self.table.clip[self.rows[other]] == self.table.clip[self.rows[index]]
                    and any(flags[other] for flags in there.values())
                ]
                number = self.table.number[self.rows]
                if own:
                    nearest = min(own, key=lambda n: (abs(number[n] - number[index]), n))
                    predicted[index] = softmax(logits[nearest]).argmax()
                else:
                    predicted[index] = self.predictor.prior.argmax()
            known = self.truth >= 0
            found.append(
                f1_score(self.truth[known], predicted[known], average="macro", labels=np.unique(self.truth[known]))
            )
        return np.array(found)

    @property
    def there(self) -> dict[str, np.ndarray]:
        return {name: ~np.isnan(values[:, 0]) for name, values in self.views.items()}

    def dropped(self, frames: dict[str, np.ndarray]) -> np.ndarray:
        """(S,) with views taken from some frames."""
        views = {name: values.copy() for name, values in self.views.items()}
        for name, lost in frames.items():
            views[name][lost] = np.nan
        return self.f1(views, {name: ~np.isnan(values[:, 0]) for name, values in views.items()})


def effects(found: Ablation, view: str) -> list[float]:
    return [effect.difference.value for effect in found.effects[view].values()]


def records_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


@pytest.mark.slow
def test_a_view_that_the_fusion_ignores_has_the_value_0(tmp_path: Path) -> None:
    with registered(FUSIONS, "toy-main-only", MainOnly):
        benched(tmp_path, fusions=["toy-main-only"], regions=["bottom,top"])
        (found,) = ablate(tmp_path, **QUICK)
    for view in ("bottom", "top"):
        for effect in found.effects[view].values():
            assert (effect.difference.value, effect.difference.low, effect.difference.high) == (0, 0, 0)
        assert (found.shapley[view].value, found.shapley[view].low, found.shapley[view].high) == (0, 0, 0)
    assert found.shapley["face"].value == pytest.approx(found.tested.intact.value - found.nothing.value)
    assert max(effects(found, "face")) < -0.05


@pytest.mark.slow
def test_intact_scores_equal_those_of_the_run(tmp_path: Path) -> None:
    results = benched(
        tmp_path, smoothers=["toy-plain", "toy-box:width=auto"], fusions=["toy-sum", "gated-gru:width=8,window=4"]
    )
    for row, found in zip(results.rows, ablate(tmp_path, **QUICK), strict=True):
        assert found.tested.intact == row.score
        assert found.tested.notes == ()
        assert found.tested.axes == row.axes


@pytest.mark.slow
def test_drop_zero_and_shuffle_are_what_plain_loops_give(tmp_path: Path) -> None:
    with registered(FUSIONS, "toy-added", Added):
        benched(tmp_path, fusions=["toy-added"])
        (found,) = ablate(tmp_path, **QUICK)
        by_hand = ByHand(tmp_path, "toy-added")
        there = by_hand.there
        frames = np.arange(len(by_hand.rows))
        intact = by_hand.f1(by_hand.views, there).mean()
        assert found.tested.intact.value == pytest.approx(intact)
        for view in ("face", "bottom"):
            # zero: the training mean, where the view had been
            means = {name: np.nanmean(by_hand.train[name][_labelled()], axis=0) for name in by_hand.views}
            zero = by_hand.views[view].copy()
            zero[there[view]] = means[view]
            score = by_hand.f1({**by_hand.views, view: zero}, there).mean()
            assert found.effects[view]["zero"].score.value == pytest.approx(score)
            # shuffle: among the frames that have it
            scores = []
            for draw in range(3):
                own = frames[there[view]]
                shuffled = by_hand.views[view].copy()
                shuffled[own] = by_hand.views[view][np.random.default_rng([5, draw]).permutation(own)]
                scores.append(by_hand.f1({**by_hand.views, view: shuffled}, there).mean())
            assert found.effects[view]["shuffle"].score.value == pytest.approx(np.mean(scores))
        # drop: every frame that has a bottom has a face, which is left
        score = by_hand.dropped({"bottom": np.ones(len(frames), bool)}).mean()
        assert found.effects["bottom"]["drop"].score.value == pytest.approx(score)
        assert found.effects["bottom"]["drop"].difference.value == pytest.approx(score - intact)


def _labelled() -> np.ndarray:
    table = Blobs().table()
    flags: np.ndarray = table.label[table.split == "train"] >= 0
    return flags


@pytest.mark.slow
def test_shapley_values_average_over_all_orders(tmp_path: Path) -> None:
    with registered(FUSIONS, "toy-added", Added):
        benched(tmp_path, fusions=["toy-added"], regions=["bottom,top"])
        (found,) = ablate(tmp_path, **QUICK)
        by_hand = ByHand(tmp_path, "toy-added")
    frames = np.any(list(by_hand.there.values()), axis=0)
    weights = [
        {name: head.model.layers[index].weight.detach().numpy() for index, name in enumerate(by_hand.views)}
        for head in by_hand.predictor.heads
    ]

    def score(subset: Sequence[str]) -> float:
        """Logits added up view by view; the nearest frame's where the clip has a frame with a view."""
        scores = []
        for head, layers in zip(by_hand.predictor.heads, weights, strict=True):
            logits = np.zeros((len(frames), 3))
            for name in subset:
                scaling = head.scaling[name]
                values = (by_hand.views[name] - scaling.mean) / scaling.scale
                logits += np.where(by_hand.there[name][:, None], np.nan_to_num(values) @ layers[name].T, 0)
            predicted = logits.argmax(1)
            number, clip = by_hand.table.number[by_hand.rows], by_hand.table.clip[by_hand.rows]
            for index in np.flatnonzero(~frames):
                own = np.flatnonzero((clip == clip[index]) & frames)
                predicted[index] = predicted[min(own, key=lambda n: (abs(number[n] - number[index]), n))]
            known = by_hand.truth >= 0
            scores.append(f1_score(by_hand.truth[known], predicted[known], average="macro"))
        return float(np.mean(scores))

    names = list(by_hand.views)
    worth = {frozenset(each): score(each) for size in range(4) for each in combinations(names, size)}
    for name in names:
        steps = []
        for order in permutations(names):
            before = frozenset(order[: order.index(name)])
            steps.append(worth[before | {name}] - worth[before])
        assert found.shapley[name].value == pytest.approx(np.mean(steps))
    assert found.nothing.value == pytest.approx(worth[frozenset()])
    total = sum(value.value for value in found.shapley.values())
    assert total == pytest.approx(found.tested.intact.value - found.nothing.value)


@pytest.mark.slow
def test_subsets_and_curves_are_what_plain_loops_give(tmp_path: Path) -> None:
    with registered(FUSIONS, "toy-added", Added):
        benched(tmp_path, fusions=["toy-added", "logit-mean"], regions=["bottom,top"])
        found, late = robust(tmp_path, **QUICK)
        rows = {name: ByHand(tmp_path, name) for name in ("toy-added", "logit-mean")}
    everything = np.ones(len(rows["toy-added"].rows), bool)
    names = ("face", "bottom", "top")
    assert [present for present, _ in found.subsets] == [
        tuple(name for bit, name in enumerate(names) if number >> bit & 1) for number in range(8)
    ]
    intact = rows["toy-added"].dropped({}).mean()
    for present, effect in found.subsets:
        score = rows["toy-added"].dropped({name: everything for name in names if name not in present}).mean()
        assert effect.score.value == pytest.approx(score)
        assert effect.difference.value == pytest.approx(score - intact)
    assert [curve.missing for curve in found.curves] == [("bottom",), ("top",), ("bottom", "top")]
    for curve in found.curves:
        heights: dict[str, list[np.ndarray]] = {name: [] for name in rows}
        for level in (0, 0.25, 0.5, 0.75, 1):
            for name, by_hand in rows.items():
                scores = []
                for draw in range(3):
                    order = np.random.default_rng([5, draw]).permutation(len(everything))
                    lost = np.isin(np.arange(len(everything)), order[: round(level * len(everything))])
                    scores.append(by_hand.dropped(dict.fromkeys(curve.missing, lost)))
                heights[name].append(np.mean(scores, axis=0))
        own, other = (np.array(heights[name]) for name in rows)
        for point, height, reference in zip(curve.points, own, other, strict=True):
            assert point.effect.score.value == pytest.approx(height.mean())
            assert point.gain is not None
            assert point.gain.value == pytest.approx((height - reference).mean())

        def area(heights: np.ndarray) -> np.ndarray:
            return sum((low + high) / 2 * 0.25 for low, high in pairwise(heights))

        assert curve.relative is not None
        assert curve.relative.value == pytest.approx((area(own) / own[0]).mean())
        assert curve.gain is not None
        assert curve.gain.value == pytest.approx((area(own) - area(other)).mean())
    assert found.reference == "face,bottom,top/logit-mean/toy-plain"
    assert late.reference == ""
    assert all(point.gain is None for curve in late.curves for point in curve.points)


def test_undefined_columns_are_empty(tmp_path: Path) -> None:
    benched(tmp_path)
    robust(tmp_path, **QUICK)
    records = records_of(tmp_path / "robustness.csv")
    assert [(each["measure"], each["present"], each["missing"], each["level"]) for each in records] == [
        *(("subset", present, "", "") for present in ("", "face", "bottom", "face,bottom")),
        *(("occlusion", "", "bottom", level) for level in ("0", "0.25", "0.5", "0.75", "1")),
        ("area", "", "bottom", ""),
    ]
    assert {each[name] for each in records for name in ("gain", "gain_lo", "gain_hi", "reference")} == {""}
    assert {each["relative"] == "" for each in records[:-1]} == {True}
    assert float(records[-1]["relative"]) > 0


def test_a_row_with_intact_score_0_has_no_relative_robustness() -> None:
    area = Scores(np.array([0.2, 0.1]), np.full((2, 3), 0.1))
    assert ratio(area, Scores(np.array([0.4, 0.0]), np.full((2, 3), 0.2))) is None
    found = ratio(area, Scores(np.array([0.4, 0.4]), np.full((2, 3), 0.2)))
    assert found is not None
    assert found.value == pytest.approx((0.5 + 0.25) / 2)


@pytest.mark.slow
def test_folds_are_pooled_and_a_seed_or_a_cell_can_be_named(tmp_path: Path) -> None:
    results = benched(tmp_path, split="kfold:k=3", datasets=["toy-blobs:official=false"])
    (row,) = results.rows
    cells = results.grid["rows"][0]["cells"]
    whole, seed, cell = ablate(tmp_path, ["toy-sum", "toy-sum/toy-plain/1", cells[0]["id"]], **QUICK)
    assert whole.tested.intact == row.score
    assert (whole.tested.seeds, seed.tested.seeds, cell.tested.seeds) == ([0, 1], [1], [0])
    assert seed.tested.intact.n_units == whole.tested.intact.n_units > cell.tested.intact.n_units
    stored = results.folder.read_cell(cells[0]["id"])
    assert stored is not None
    assert cell.tested.intact.value == pytest.approx(stored.info["score"])
    assert whole.effects["face"]["drop"].difference.value < 0


def test_unsmoothed_scores_equal_those_of_a_row_without_smoother(tmp_path: Path) -> None:
    results = benched(tmp_path, smoothers=["none", "toy-box:width=3"])
    plain, smoothed = (row.score for row in results.rows)
    (found,) = ablate(tmp_path, ["toy-box"], draws=1, smoothed=False)
    assert found.tested.intact == plain != smoothed
    assert not found.tested.smoothed


@pytest.mark.slow
def test_missing_embeddings_are_recomputed_and_others_are_read(tmp_path: Path, own_cache: Path) -> None:
    benched(tmp_path / "run")
    Blobs.reads.clear()
    before = ablate(tmp_path / "run", **QUICK)
    assert Blobs.reads == []
    shutil.rmtree(own_cache)
    after = ablate(tmp_path / "run", **QUICK)
    assert Blobs.reads != []
    assert [list(each.lines()) for each in before] == [list(each.lines()) for each in after]


@pytest.mark.slow
def test_features_that_exceed_memory_are_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benched(tmp_path, split="kfold:k=2", datasets=["toy-blobs:official=false"])
    (held,) = ablate(tmp_path, **QUICK)
    monkeypatch.setattr("fusionkit.predict.model_under_test.feature_limit", lambda *_: 0)
    (streamed,) = ablate(tmp_path, **QUICK)
    assert list(held.lines()) == list(streamed.lines())


@pytest.mark.slow
def test_the_gain_is_split_if_the_folder_has_the_equal_parameter_control(tmp_path: Path) -> None:
    benched(tmp_path, reference="main", regions=["bottom", "face", "bottom,top"])
    results = Results(tmp_path)
    rows = {row.axes.views: row.score for row in results.rows}
    found = {each.tested.axes.views: each for each in ablate(tmp_path, **QUICK)}
    gain = found["face,bottom"].gain
    assert gain is not None
    assert (gain.alone, gain.control) == ("face/linear/toy-plain", "face,face#2/toy-sum/toy-plain")
    scores = [score.value for views in ("face", "face,face#2", "face,bottom") if (score := rows[views])]
    assert gain.parameters.value == pytest.approx(scores[1] - scores[0])
    assert gain.region.value == pytest.approx(scores[2] - scores[1])
    assert gain.together.value == pytest.approx(scores[2] - scores[0])
    assert gain.region == results.compare("face,bottom", "face,face#2").overall.difference
    assert found["face,face#2"].gain is None
    assert found["face,bottom,top"].gain is None
    # the same fusion on the main view alone goes before the linear head
    benched(tmp_path, main="none", regions=["face"])
    (again,) = ablate(tmp_path, ["face,bottom/toy-sum"], **QUICK)
    assert again.gain is not None
    assert again.gain.alone == "face/toy-sum/toy-plain"


def test_the_file_has_all_results(tmp_path: Path) -> None:
    benched(tmp_path, reference="main", regions=["bottom", "face"])
    (found,) = ablate(tmp_path, ["face,bottom"], **QUICK)
    records = records_of(tmp_path / "attribution.csv")
    assert [(each["view"], each["measure"]) for each in records] == [
        ("", "intact"),
        ("", "all dropped"),
        *((view, name) for view in ("face", "bottom") for name in ("shuffle", "zero", "drop", "masked Shapley")),
        *(("", f"gain: {part}") for part in ("parameters", "region", "together")),
    ]
    by_name = {(each["view"], each["measure"]): each for each in records}
    assert float(by_name["bottom", "masked Shapley"]["effect"]) == pytest.approx(
        found.shapley["bottom"].value, rel=1e-5
    )
    assert float(by_name["face", "drop"]["effect_lo"]) == pytest.approx(
        found.effects["face"]["drop"].difference.low, rel=1e-5
    )
    assert by_name["face", "masked Shapley"]["score"] == ""
    assert {each["views"] for each in records} == {"face,bottom"}
    assert {(each["draws"], each["draw_seed"], each["seeds"]) for each in records} == {("3", "5", "0 1")}


def test_invalid_requests_raise_one_line(tmp_path: Path) -> None:
    benched(tmp_path, reference="main")
    with pytest.raises(ConfigError, match="face/linear/toy-plain has no auxiliary view"):
        robust(tmp_path, ["linear"])
    with pytest.raises(ConfigError, match=r"draws = 0 must be at least 1\n.*seed = -1 must be at least 0"):
        ablate(tmp_path, draws=0, seed=-1)
    with pytest.raises(ConfigError, match="no row matches 'nope'"):
        ablate(tmp_path, ["nope"])
    with pytest.raises(ConfigError, match="pattern = 'clip' must be one of: frame, run, unit"):
        robust(tmp_path, pattern="clip")  # type: ignore[arg-type]
    (alone,) = ablate(tmp_path, ["linear"], **QUICK)
    assert alone.shapley["face"].value == pytest.approx(alone.tested.intact.value - alone.nothing.value)
    benched(tmp_path / "alone", regions=["face"], main="none")
    with pytest.raises(DataError, match="has no finished row with an auxiliary view"):
        ablate(tmp_path / "alone")
    assert not (tmp_path / "alone" / "attribution.csv").exists()


def test_changed_data_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benched(tmp_path)
    monkeypatch.setattr(Blobs, "content", lambda _: "other images")
    with pytest.raises(DataError, match=r"the data of .* have changed since the run"):
        ablate(tmp_path)


def test_too_many_views_raise() -> None:
    row = SimpleNamespace(name="many", views=tuple("abcdefghijk"))
    with pytest.raises(ConfigError, match="many has 11 views; at most 10 can be tested"):
        check_view_count(cast("ModelUnderTest", row))
    check_view_count(cast("ModelUnderTest", SimpleNamespace(name="ten", views=tuple("abcdefghij"))))
