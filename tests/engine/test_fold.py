"""A trial hands out labels of train and dev; those of test stay sealed."""

from __future__ import annotations

import numpy as np
import pytest
from toy_components import toy_house  # noqa: F401

from fusionkit.config.splits import divide
from fusionkit.engine.fold import FoldData
from fusionkit.engine.source import open_source
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")


@pytest.fixture
def trial(toy_house: None) -> FoldData:  # noqa: F811
    source = open_source(Spec("toy-blobs"), None)
    folds, _ = divide(Spec("official"), source.table, source.classes)
    return FoldData(source, folds[0])


def test_training_rows_are_labelled_and_dev_and_test_rows_are_all_there(trial: FoldData) -> None:
    table, rows = trial.source.table, trial.rows
    assert rows.train.tolist() == np.flatnonzero((table.split == "train") & (table.label >= 0)).tolist()
    assert rows.train_label.tolist() == table.label[rows.train].tolist()
    assert rows.train_unit.tolist() == table.subject[rows.train].tolist()
    assert rows.dev.tolist() == np.flatnonzero(table.split == "val").tolist()
    assert rows.test.tolist() == np.flatnonzero(table.split == "test").tolist()
    assert trial.dev_table.label.tolist() == rows.dev_label.tolist() == table.label[rows.dev].tolist()
    assert -1 in rows.dev_label


def test_the_test_table_has_no_label_and_all_else(trial: FoldData) -> None:
    table = trial.source.table
    assert set(trial.test_table.label.tolist()) == {-1}
    assert trial.test_table.label.dtype == np.int64
    assert trial.test_table.number.tolist() == table.number[trial.rows.test].tolist()
    assert trial.test_table.clip.tolist() == table.clip[trial.rows.test].tolist()


def test_the_sealed_labels_know_what_is_annotated(trial: FoldData) -> None:
    table = trial.source.table
    assert trial.sealed.annotated.tolist() == (table.label[trial.rows.test] >= 0).tolist()
    assert trial.sealed.unit.tolist() == table.subject[trial.rows.test].tolist()
    assert trial.sealed.clip.tolist() == table.clip[trial.rows.test].tolist()


def test_the_prior_is_the_class_shares_of_the_training_frames(trial: FoldData) -> None:
    labels = trial.rows.train_label
    assert trial.prior.tolist() == [float(np.mean(labels == c)) for c in range(3)]
    assert trial.task.num_classes == 3
