"""A grid of each task: scores, intervals and differences are those computed from its logits by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive_stats import naive_estimate
from scipy.special import expit
from sklearn.metrics import f1_score
from toy_components import Blobs, carry_out, registered, toy_house, toy_plan  # noqa: F401

from fusionkit.contracts import Labels
from fusionkit.engine.smooth import clips
from fusionkit.errors import ConfigError
from fusionkit.registry import DATASETS
from fusionkit.report.run import Results
from fusionkit_smoothers.kalman import Kalman

pytestmark = pytest.mark.usefixtures("toy_house")
NAMES = {"action-units": ("AU1", "AU2", "AU4"), "valence-arousal": ("valence", "arousal")}


class Moods(Blobs):
    """Action units and values that follow the expression, with entries that have no label."""

    def labels(self, task: str) -> Labels | None:
        if task not in NAMES:
            return super().labels(task)
        rng = np.random.default_rng(5)
        units = np.eye(3)[self._truth]
        values = units if task == "action-units" else units @ np.array([[0.8, -0.6], [-0.7, 0.1], [0.2, 0.7]])
        values = values.astype(np.float32) if task == "action-units" else values + rng.normal(0, 0.05, (len(units), 2))
        values = np.where(rng.random(values.shape) < 0.1, np.nan, values)
        values[self._table.label < 0] = np.nan
        return Labels(NAMES[task], values.astype(np.float32))


@pytest.fixture(params=list(NAMES))
def done(request: pytest.FixtureRequest, tmp_path: Path, toy_house: None) -> Any:  # noqa: F811
    with registered(DATASETS, "toy-moods", Moods):
        plan = toy_plan(
            datasets=["toy-moods:noise=110.0"], task=request.param, fusions=["toy-sum"], smoothers=["none", "kalman"]
        )
        yield request.param, plan, carry_out(plan, tmp_path / "run")[1]


def predictions(task: str, logits: np.ndarray) -> np.ndarray:
    return expit(logits.astype(float)) if task == "action-units" else np.tanh(logits.astype(float))


def by_hand(task: str, truth: np.ndarray, found: np.ndarray) -> float:
    """The metric of pooled frames."""
    scores = []
    for part in range(truth.shape[1]):
        known = ~np.isnan(truth[:, part])
        y, p = truth[known, part].astype(float), found[known, part]
        if task == "action-units":
            scores.append(f1_score(y, p > 0.5))
        else:
            scores.append(2 * np.cov(y, p, bias=True)[0, 1] / (y.var() + p.var() + (y.mean() - p.mean()) ** 2))
    return float(np.mean(scores))


def of_test(plan: Any, results: Results, smoother: str) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Truth, predictions of each seed and units of the annotated test frames of the row of all views."""
    row = next(row for row in plan.rows if row.axes.fusion == "toy-sum" and row.axes.smoother == smoother)
    (fold_data,) = {head.fold_data for head in row.heads}
    task, table = str(fold_data.task_spec), fold_data.test_table
    truth = fold_data.values[fold_data.rows.test]
    found = []
    for head in sorted(row.heads, key=lambda head: head.seed):
        logits = results.folder.read_logits(head.id).test
        seen = ~np.isnan(logits[:, 0])
        values = np.tile(fold_data.prior, (len(table), 1)).astype(float)
        for clip in clips(table):
            there = np.flatnonzero(seen[clip]) + clip.start
            if not len(there):
                continue
            own = logits[there].astype(float)
            if smoother == "kalman":  # of each part by itself, as two classes
                scale = 1 if task == "action-units" else 2
                smoothed = [Kalman()(np.stack([0 * z, scale * z], 1), table.number[there])[:, 1] for z in own.T]
                made = np.stack(smoothed, 1) if task == "action-units" else 2 * np.stack(smoothed, 1) - 1
            else:
                made = predictions(task, own)
            for at in range(clip.start, clip.stop):  # of two frames as near, the earlier
                nearest = min(range(len(there)), key=lambda n: (abs(table.number[there[n]] - table.number[at]), n))
                values[at] = made[nearest]
        found.append(values)
    kept = ~np.isnan(truth).all(1)
    return truth[kept], [values[kept] for values in found], table.unit[kept]


@pytest.mark.parametrize("smoother", ["none", "kalman"])
def test_scores_and_intervals_are_those_of_pooled_frames(done: Any, smoother: str) -> None:
    task, plan, results = done
    truth, found, unit = of_test(plan, results, smoother)
    row = next(row for row in results.rows if row.axes.fusion == "toy-sum" and row.axes.smoother == smoother)
    names = sorted(set(unit.tolist()))

    def score(seed: int, kept: Any) -> float:
        rows = np.isin(unit, [names[index] for index in kept])
        return by_hand(task, truth[rows], found[seed][rows])

    assert row.score is not None
    assert row.score.value == pytest.approx(np.mean([by_hand(task, truth, each) for each in found]))
    own = results.stored[row.id]
    for seed, (full, left) in own.statistics.items():
        assert full[0] == pytest.approx(score(seed, range(len(names))))
        for unit_left in (0, len(names) - 1):
            assert left[unit_left, 0] == pytest.approx(score(seed, [u for u in range(len(names)) if u != unit_left]))
    alone = results.contrasts.score(own, seeds=[0])  # of one seed, so that no other row lends a variance
    low, high, se, _ = naive_estimate(score, 1, len(names))
    assert alone.se == pytest.approx(se)
    least = 0 if task == "action-units" else -1
    assert (alone.low, alone.high) == pytest.approx((max(low, least), min(high, 1)))


def test_a_task_of_values_refuses_what_decides_for_classes(toy_house: None) -> None:  # noqa: F811
    with registered(DATASETS, "toy-moods", Moods):
        for changes, message in [
            ({"smoothers": ["mode"]}, "smoothers: mode decides for classes; task valence-arousal has none"),
            ({"fusions": ["stacking"]}, "fusions: stacking gives one distribution over classes"),
            ({"recipe": {"label_smoothing": 0.1}}, "recipe: option label_smoothing has no effect with task"),
        ]:
            with pytest.raises(ConfigError, match=message):
                toy_plan(datasets=["toy-moods"], task="valence-arousal", **changes)
