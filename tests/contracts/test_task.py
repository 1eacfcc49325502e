"""Counts and F1 against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from fusionkit.contracts import SingleLabel

LABELS = st.integers(2, 6).flatmap(
    lambda c: st.tuples(st.just(c), st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1))
)


@given(LABELS)
def test_counts_and_f1_equal_those_of_scikit_learn(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = drawn
    truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    task = SingleLabel(classes)
    counts = task.counts(truth, predicted)
    names = list(range(classes))
    np.testing.assert_array_equal(counts, confusion_matrix(truth, predicted, labels=names))
    theirs = f1_score(truth, predicted, labels=names, average=None, zero_division=np.nan)
    np.testing.assert_allclose(task.per_class_f1(counts), theirs)
    present = sorted(set(truth.tolist()))
    assert task.metric(counts) == pytest.approx(f1_score(truth, predicted, labels=present, average="macro"))


@given(LABELS, LABELS)
def test_counts_add_up(one: tuple[int, list[tuple[int, int]]], other: tuple[int, list[tuple[int, int]]]) -> None:
    task = SingleLabel(6)
    parts = [np.array(pairs).T for _, pairs in (one, other)]
    together = np.concatenate(parts, axis=1)
    np.testing.assert_array_equal(sum(task.counts(*part) for part in parts), task.counts(*together))


def test_many_matrices_at_once_are_scored_one_by_one() -> None:
    counts = np.random.default_rng(0).integers(0, 5, (7, 2, 4, 4))
    task = SingleLabel(4)
    got = task.per_class_f1(counts)
    assert got.shape == (7, 2, 4)
    np.testing.assert_array_equal(got[3, 1], task.per_class_f1(counts[3, 1]))


def test_an_absent_class_is_nan_and_a_class_only_predicted_is_not_averaged() -> None:
    task = SingleLabel(3)
    counts = task.counts(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]))
    f1 = task.per_class_f1(counts)
    assert f1[0] == pytest.approx(6 / 7)
    assert f1[1] == 0
    assert math.isnan(f1[2])
    assert task.metric(counts) == pytest.approx(6 / 7)
    assert math.isnan(task.metric(np.zeros((3, 3), np.int64)))
