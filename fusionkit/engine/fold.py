"""A trial: one fold of one data set, and who may see what of it. Test labels leave it sealed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fusionkit.config.splits import Fold
from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.contracts.task import SingleLabel
from fusionkit.engine.features import FoldRows
from fusionkit.engine.score import SealedLabels
from fusionkit.engine.source import Source


@dataclass(frozen=True, eq=False)
class FoldData:
    """One fold of one data set."""

    source: Source
    fold: Fold

    @property
    def task(self) -> SingleLabel:
        """What is predicted."""
        return SingleLabel(len(self.source.classes))

    @cached_property
    def rows(self) -> FoldRows:
        """What training may see: rows of every part, labels of train and dev."""
        table = self.source.table
        train = self.fold.rows("train")
        train = train[table.label[train] != UNLABELLED]
        dev = self.fold.rows("dev")
        return FoldRows(
            train=train,
            train_label=table.label[train],
            train_unit=table.unit[train],
            dev=dev,
            dev_label=table.label[dev],
            test=self.fold.rows("test"),
        )

    @cached_property
    def dev_table(self) -> FrameTable:
        """The dev frames, with their labels."""
        return self.source.table.take(self.rows.dev)

    @cached_property
    def test_table(self) -> FrameTable:
        """The test frames, every label -1."""
        table = self.source.table.take(self.rows.test)
        return replace(table, label=np.full(len(table), UNLABELLED))

    @cached_property
    def sealed(self) -> SealedLabels:
        """The test labels, for the scorer."""
        table = self.source.table.take(self.rows.test)
        return SealedLabels(table.label, table.unit, table.clip)

    @cached_property
    def prior(self) -> np.ndarray:
        """(C,) class shares of the training frames."""
        counts = np.bincount(self.rows.train_label, minlength=self.task.num_classes)
        shares: np.ndarray = counts / counts.sum()
        return shares
