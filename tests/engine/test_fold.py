"""Fold data gives labels of train and dev; those of test stay sealed."""

from __future__ import annotations

import numpy as np
import pytest
from toy_components import registered, toy_house  # noqa: F401
from toy_tasks import divided, expression

from fusionkit.engine.fold import FoldData, TaskLabels, open_folds
from fusionkit.engine.source import open_source
from fusionkit.errors import DataError
from fusionkit.registry import TASKS
from fusionkit.registry.spec import Spec
from fusionkit_tasks.expression import Expression

pytestmark = pytest.mark.usefixtures("toy_house")


@pytest.fixture
def fold_data(toy_house: None) -> FoldData:  # noqa: F811
    source = open_source(Spec("toy-blobs"), None)
    folds, _ = divided(Spec("official"), source.table, source.classes)
    task = TaskLabels(Spec("expression"), expression(source.classes), source.table.label)
    return FoldData(source, folds[0], (task,))


def test_training_rows_are_labelled_and_dev_and_test_rows_are_all_there(fold_data: FoldData) -> None:
    table, rows = fold_data.source.table, fold_data.rows
    assert rows.train.tolist() == np.flatnonzero((table.split == "train") & (table.label >= 0)).tolist()
    assert rows.train_label.tolist() == table.label[rows.train].tolist()
    assert rows.train_unit.tolist() == table.subject[rows.train].tolist()
    assert rows.dev.tolist() == np.flatnonzero(table.split == "val").tolist()
    assert rows.test.tolist() == np.flatnonzero(table.split == "test").tolist()
    assert fold_data.dev_table.label.tolist() == rows.dev_label.tolist() == table.label[rows.dev].tolist()
    assert -1 in rows.dev_label


def test_the_test_table_has_no_label_and_all_else(fold_data: FoldData) -> None:
    table = fold_data.source.table
    assert set(fold_data.test_table.label.tolist()) == {-1}
    assert fold_data.test_table.label.dtype == np.int64
    assert fold_data.test_table.number.tolist() == table.number[fold_data.rows.test].tolist()
    assert fold_data.test_table.clip.tolist() == table.clip[fold_data.rows.test].tolist()


def test_the_sealed_labels_know_the_annotated_frames(fold_data: FoldData) -> None:
    table = fold_data.source.table
    assert fold_data.sealed.annotated.tolist() == (table.label[fold_data.rows.test] >= 0).tolist()
    assert fold_data.sealed.unit.tolist() == table.subject[fold_data.rows.test].tolist()
    assert fold_data.sealed.clip.tolist() == table.clip[fold_data.rows.test].tolist()


def test_the_prior_is_the_class_shares_of_the_training_frames(fold_data: FoldData) -> None:
    labels = fold_data.rows.train_label
    assert fold_data.prior.tolist() == [float(np.mean(labels == c)) for c in range(3)]
    assert fold_data.task.outputs == 3


def test_another_task_on_the_labels_of_one_that_data_sets_know() -> None:
    class Strict(Expression):
        """Macro-F1 counts only classes that are always right."""

        labels = "expression"

        def scores(self, counts: np.ndarray) -> np.ndarray:
            return (super().scores(counts) == 1).astype(float)

    with registered(TASKS, "toy-strict", Strict):
        folds, _ = open_folds(Spec("toy-blobs"), Spec("official"), None, [Spec("toy-strict")])
    usual, _ = open_folds(Spec("toy-blobs"), Spec("official"), None)
    assert type(folds[0].task) is Strict
    np.testing.assert_array_equal(folds[0].values, usual[0].values)
    with pytest.raises(DataError, match=r"no labels of task votes \(it has those of expression"):
        open_folds(Spec("toy-blobs"), Spec("official"), None, [Spec("votes")])
