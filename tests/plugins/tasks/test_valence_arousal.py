"""``valence-arousal`` against formulas on all frames, and its losses against sums by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from fusionkit.contracts import LossOptions
from fusionkit_tasks.valence_arousal import ValenceArousal

NAMES = ("valence", "arousal")
NAN = float("nan")


def frames(seed: int = 0, count: int = 300, unlabelled: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and units of frames."""
    rng = np.random.default_rng(seed)
    values = np.tanh(rng.normal((0.3, -0.1), 0.6, (count, 2))).astype(np.float32)
    predictions = np.tanh(0.7 * np.arctanh(values) + rng.normal(0.1, 0.3, (count, 2)))
    values[rng.random((count, 2)) < unlabelled] = np.nan
    return values, predictions, rng.integers(0, 5, count)


def pooled(values: np.ndarray, predictions: np.ndarray, unit: np.ndarray) -> np.ndarray:
    counts: np.ndarray = ValenceArousal(NAMES).counts(values, predictions, unit, 5).sum(0)
    return counts


def ccc(y: np.ndarray, p: np.ndarray) -> float:
    """Lin's coefficient as challenges compute it: the correlation times twice the product of deviations."""
    y, p = (np.asarray(each, np.float64) for each in (y, p))
    correlation = pearsonr(y, p).statistic
    return float(2 * correlation * y.std() * p.std() / (y.var() + p.var() + (y.mean() - p.mean()) ** 2))


# -- scores ------------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_all_frames() -> None:
    values, predictions, unit = frames()
    task, counts = ValenceArousal(NAMES), pooled(values, predictions, unit)
    known = ~np.isnan(values)
    columns = [(values[known[:, k], k].astype(float), predictions[known[:, k], k]) for k in (0, 1)]
    expected = [ccc(y, p) for y, p in columns]
    np.testing.assert_allclose(task.scores(counts), expected, rtol=1e-12)
    assert float(task.metric(counts)) == pytest.approx(float(np.mean(expected)))
    assert float(task.metric(counts, np.array([False, True]))) == pytest.approx(expected[1])
    errors = np.concatenate([y - p for y, p in columns])
    assert float(task.measures(counts)["rmse"]) == pytest.approx(float(np.sqrt((errors**2).mean())))
    correlation = np.mean([pearsonr(y, p).statistic for y, p in columns])
    assert float(task.measures(counts)["pcc"]) == pytest.approx(float(correlation))
    np.testing.assert_array_equal(task.support(counts), known.sum(0))
    assert task.labelled(values).tolist() == known.any(1).tolist()


def test_scores_without_a_unit_are_those_of_the_other_frames() -> None:
    values, predictions, unit = frames(unlabelled=0.0)
    task = ValenceArousal(NAMES)
    counts = task.counts(values, predictions, unit, 5)
    for index in range(5):
        rows = unit != index
        expected = [ccc(values[rows, k], predictions[rows, k]) for k in (0, 1)]
        np.testing.assert_allclose(task.scores(counts.sum(0) - counts[index]), expected, rtol=1e-10)


def test_a_perfect_prediction_has_1_and_its_opposite_minus_1() -> None:
    values, _, unit = frames(unlabelled=0.0)
    values -= values.mean(0)
    task = ValenceArousal(NAMES)
    np.testing.assert_array_equal(task.scores(pooled(values, values, unit)), [1, 1])
    np.testing.assert_allclose(task.scores(pooled(values, -values, unit)), [-1, -1], rtol=1e-9)
    nearly = values + np.random.default_rng(0).normal(0, 1e-9, values.shape)
    assert (task.scores(pooled(values, nearly, unit)) <= 1).all()


def test_constant_predictions_have_0_and_no_correlation() -> None:
    values, _, unit = frames()
    task, counts = ValenceArousal(NAMES), pooled(values, np.full(values.shape, 0.1), unit)
    np.testing.assert_allclose(task.scores(counts), 0, atol=1e-12)
    assert np.isnan(task.measures(counts)["pcc"])


@pytest.mark.parametrize("count", [1, 2, 1000, 100_000])
def test_equal_constants_have_no_score_however_they_are_rounded(count: int) -> None:
    """Sums of 0.1 in single and double precision differ by rounding only, which is no agreement."""
    values = np.full((count, 2), 0.1, np.float32)
    task, unit = ValenceArousal(NAMES), np.arange(count) % 5
    for predictions in (values.astype(float), np.full((count, 2), 0.1)):
        assert np.isnan(task.scores(pooled(values, predictions, unit))).all()
        assert np.isnan(task.metric(pooled(values, predictions, unit)))
    np.testing.assert_allclose(task.scores(pooled(values, np.full((count, 2), 0.3), unit)), 0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_constant_answer_is_better_than_that_of_constant(seed: int) -> None:
    values, predictions, unit = frames(seed, 40)
    task = ValenceArousal(NAMES)
    counts = np.stack([task.counts(values, predictions, unit, 5)] * 2)  # seeds and units
    constant = task.constant(counts)
    answer = np.broadcast_to(np.nanmean(values.astype(float), axis=0), values.shape)
    np.testing.assert_allclose(constant[1], task.counts(values, answer, unit, 5), atol=1e-12)
    best = float(task.metric(constant.sum(1))[0])
    others = [float(task.metric(pooled(values, np.full(values.shape, each), unit))) for each in np.linspace(-1, 1, 21)]
    assert best == pytest.approx(max(others), abs=1e-12) == 0
    error = task.measures(constant[0].sum(0))["rmse"]
    assert all(task.measures(pooled(values, answer + each, unit))["rmse"] > error for each in (-0.01, 0.01))


def test_truth_is_number_sum_and_sum_of_squares_of_labels() -> None:
    values, predictions, unit = frames()
    counts = ValenceArousal(NAMES).counts(values, predictions, unit, 5)
    for index in range(5):
        rows = values[unit == index].astype(float)
        expected = [[(~np.isnan(y)).sum(), np.nansum(y), np.nansum(y**2)] for y in rows.T]
        np.testing.assert_allclose(ValenceArousal(NAMES).truth(counts)[index], np.ravel(expected))


def test_sums_of_many_frames_are_exact_enough() -> None:
    rng = np.random.default_rng(0)
    values = (0.9 + rng.normal(0, 1e-3, (200_000, 1))).astype(np.float32)  # far from 0 and nearly constant
    predictions = values + rng.normal(0, 1e-3, values.shape)
    task = ValenceArousal(["valence"])
    counts = task.counts(values, predictions, np.zeros(len(values), int), 1)[0]
    assert task.scores(counts)[0] == pytest.approx(ccc(values[:, 0], predictions[:, 0]), abs=1e-6)


# -- labels and distributions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0, 1], [NAN, -1]], ""),
        ([[0, 0], [0.5, -5]], "arousal -5 of row 1 is not in -1..1; unlabelled is NaN"),
        ([[float("inf"), 0]], "valence inf of row 0 is not in -1..1; unlabelled is NaN"),
        ([[0.5]], "labels are (1, 1), not (N, 2): one column per name"),
        ([0.5, 0.5], "labels are (2,), not (N, 2): one column per name"),
    ],
)
def test_wrong_values_are_named(values: list[Any], message: str) -> None:
    assert ValenceArousal(NAMES).problem(np.array(values, np.float32)) == message


def test_strata_are_the_quadrants() -> None:
    values = np.array([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, NAN], [NAN, NAN]], np.float32)
    assert ValenceArousal(NAMES).strata(values).tolist() == [0, 1, 2, 3, 1, -1]


def test_predictions_are_hyperbolic_tangents_of_outputs() -> None:
    outputs = np.random.default_rng(0).normal(0, 2, (7, 2))
    task, probabilities = ValenceArousal(NAMES), []
    for logits in task.distributions(outputs):
        odds = np.exp(logits)
        probabilities.append(odds / odds.sum(1, keepdims=True))
    np.testing.assert_allclose(task.joined(probabilities), np.tanh(outputs), atol=1e-12)


# -- losses ------------------------------------------------------------------------------------------------------------


def loss_of(task: ValenceArousal, outputs: np.ndarray, values: np.ndarray) -> float:
    loss = task.criterion(torch.from_numpy(values), LossOptions())
    return loss(torch.from_numpy(outputs).float(), torch.from_numpy(values)).item()


def test_the_loss_is_one_minus_the_coefficient_of_the_batch() -> None:
    values, predictions, _ = frames(count=40)
    known = ~np.isnan(values)
    expected = np.mean([1 - ccc(values[known[:, k], k], predictions[known[:, k], k]) for k in (0, 1)])
    assert loss_of(ValenceArousal(NAMES), np.arctanh(predictions), values) == pytest.approx(float(expected), rel=1e-4)


def test_a_dimension_without_label_in_a_batch_is_left_out() -> None:
    values, predictions, _ = frames(count=40, unlabelled=0.0)
    values[:, 1] = np.nan
    expected = 1 - ccc(values[:, 0], predictions[:, 0])
    assert loss_of(ValenceArousal(NAMES), np.arctanh(predictions), values) == pytest.approx(expected, rel=1e-4)


def test_the_squared_error_is_the_mean_over_labels() -> None:
    values, predictions, _ = frames(count=40)
    expected = float(np.nanmean((values - predictions) ** 2))
    assert loss_of(ValenceArousal(NAMES, loss="mse"), np.arctanh(predictions), values) == pytest.approx(
        expected, rel=1e-4
    )
