"""Scores are counts per unit on every annotated frame, as scikit-learn counts them."""

from __future__ import annotations

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score
from toy_tasks import expression

from fusionkit.engine.score import SealedLabels, score


@settings(max_examples=examples(40))
@given(seed=st.integers(0, 10**6), n=st.integers(1, 80))
def test_counts_of_each_unit_equal_scikit_learns_confusion_matrix(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(-1, 4, n)
    label[0] = 0
    unit = np.array([f"u{k}" for k in rng.integers(0, 5, n)])
    probs = rng.dirichlet([1] * 4, n)
    found = score(expression(4), probs, SealedLabels(label, unit, unit, label >= 0))
    assert found.units.tolist() == sorted(set(unit[label >= 0].tolist()))
    for name, counts in zip(found.units, found.counts, strict=True):
        rows = (unit == name) & (label >= 0)
        expected = confusion_matrix(label[rows], probs[rows].argmax(1), labels=range(4))
        np.testing.assert_array_equal(counts, expected)
    assert found.diagnostics["predicted_classes"] == len(set(probs[label >= 0].argmax(1).tolist()))


def test_calibration_error_is_that_of_the_annotated_frames() -> None:
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    label = np.array([0, 0, 0, -1])
    sealed = SealedLabels(label, np.array(["a", "a", "b", "b"]), np.array(["a"] * 4), label >= 0)
    assert score(expression(2), probs, sealed).diagnostics["ece"] == pytest.approx((0.1 + 0.8 + 0.4) / 3)


def test_the_dev_metric_is_the_macro_f1_of_labelled_frames() -> None:
    rng = np.random.default_rng(0)
    label, probs = rng.integers(-1, 3, 60), rng.dirichlet([1] * 3, 60)
    known = label >= 0
    expected = f1_score(label[known], probs[known].argmax(1), average="macro")
    assert expression(3).dev_metric(label, probs) == pytest.approx(expected)
