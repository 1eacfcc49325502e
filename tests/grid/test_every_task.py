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
from fusionkit.grid.progress import Progress
from fusionkit.predict.model_under_test import ModelUnderTest
from fusionkit.registry import DATASETS
from fusionkit.report.charts.gallery import figures
from fusionkit.report.run import Results
from fusionkit_smoothers.kalman import Kalman

pytestmark = pytest.mark.usefixtures("toy_house")
BOTH = "expression,action-units"
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
    task, table = fold_data.task_text, fold_data.test_table
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


@pytest.mark.parametrize("weighting", ["equal", "1+0.5", "uncertainty"])
def test_scores_are_those_of_each_task_from_its_own_outputs(tmp_path: Path, weighting: str) -> None:
    with registered(DATASETS, "toy-moods", Moods):
        plan = toy_plan(
            datasets=["toy-moods:noise=110.0"],
            task=["expression", BOTH],
            fusions=["toy-sum"],
            smoothers=["none"],
            recipe={"task_weighting": weighting},
            impute="prior",
        )
        _, results = carry_out(plan, tmp_path / "run")
    rows = [row for row in plan.rows if row.axes.fusion == "toy-sum"]
    settings = [("expression", "none"), ("expression", "action-units"), ("action-units", "expression")]
    assert [(row.axes.task, row.axes.learned_with) for row in rows] == settings
    assert rows[1].heads == rows[2].heads
    for row in rows:
        scores = []
        for head in row.heads:
            fold_data = row.fold_data(head)
            logits = results.folder.read_logits(head.id).test
            assert logits.shape[1] == 3 if row.axes.learned_with == "none" else 6
            truth = fold_data.values[fold_data.rows.test]
            kept = fold_data.task.labelled(truth)
            scores.append(of_frames(row.axes.task, truth[kept], logits[kept], fold_data.prior))
        stored = next(each for each in results.rows if each.id == row.id)
        assert stored.score is not None
        assert stored.score.value == pytest.approx(np.mean(scores))
    alone, joint = (results.stored[row.id] for row in rows[:2])
    difference = results.contrasts.difference([joint], [alone])
    assert difference is not None
    assert difference.value == pytest.approx(joint.score - alone.score)
    with registered(DATASETS, "toy-moods", Moods):
        for row in rows:
            model = ModelUnderTest(results, row.id, "cpu", smoothed=True, predict_empty=False, progress=Progress())
            assert model.task.names == model.predictor.classes
            assert model.intact.full[0] > 0
            assert not model.notes  # the stored scores are reproduced


def of_frames(task: str, truth: np.ndarray, logits: np.ndarray, prior: np.ndarray) -> float:
    """The metric from the first three outputs, or the last three; a frame without any view has the prior."""
    seen = ~np.isnan(logits[:, :1])
    if task == "expression":
        return float(f1_score(truth, np.where(seen, logits[:, :3], prior).argmax(1), average="macro"))
    own, scores = np.where(seen, expit(logits[:, -3:].astype(float)), prior) > 0.5, []
    for unit in range(3):
        known = ~np.isnan(truth[:, unit])
        scores.append(f1_score(truth[known, unit], own[known, unit]))
    return float(np.mean(scores))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "expression", "recipe": {"task_weighting": "uncertainty"}}, "needs tasks that are learned together"),
        ({"task": BOTH, "recipe": {"task_weighting": "1+2+3"}}, "has 3 weights; task expression,action-units has 2"),
        ({"task": BOTH, "recipe": {"task_weighting": "1+0"}}, "must be equal, uncertainty, or a weight above 0"),
        ({"task": []}, "no task given"),
        ({"task": BOTH, "fusions": ["stacking"]}, "stacking gives one distribution over classes"),
        ({"task": "expression,valence-arousal", "smoothers": ["mode"]}, "task valence-arousal has none"),
        ({"task": "valence-arousal,valence-arousal:loss=mse"}, "valence-arousal is given several times"),
    ],
)
def test_what_does_not_go_with_several_tasks_is_refused(changes: dict[str, Any], message: str) -> None:
    with registered(DATASETS, "toy-moods", Moods), pytest.raises(ConfigError, match=message):
        toy_plan(datasets=["toy-moods"], **changes)


def test_figures_and_ranks_compare_rows_of_one_task(tmp_path: Path) -> None:
    with registered(DATASETS, "toy-moods", Moods):
        settings = {"fusions": ["toy-sum", "mlp:hidden=4"], "smoothers": ["none"], "seeds": 1}
        plan = toy_plan(datasets=["toy-moods:noise=110.0"], task=["expression", "valence-arousal"], **settings)
        _, results = carry_out(plan, tmp_path / "run")
    parts = results.by_task()
    assert {task: part.metric for task, part in parts.items()} == {
        "expression": "macro-F1",
        "valence-arousal": "mean CCC",
    }
    assert [row.id for part in parts.values() for row in part.rows] == [row.id for row in results.rows]
    drawn = [figure for title, section in figures(results) if title == "Scores" for figure in section]
    titles = [figure.title for figure in drawn if "Rows by" in figure.title]
    assert titles == ["Rows by macro-F1 (expression)", "Rows by mean CCC (valence-arousal)"]
    assert len({figure.name for figure in drawn}) == len(drawn)
    for figure, part in zip(drawn, parts.values(), strict=False):
        assert len(figure.rows) == len(part.rows)
