"""One fold of one data set, and what each stage may see of it. Test labels stay sealed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fusionkit.config.splits import Fold, divide
from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.contracts.task import SingleLabel
from fusionkit.engine.features import FoldRows
from fusionkit.engine.score import SealedLabels
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import DataError
from fusionkit.registry.spec import Spec

_SHOWN = 2  # problems in a warning; each may be as long as two paths


@dataclass(frozen=True, eq=False)
class FoldData:
    """One fold of one data set."""

    source: Source
    fold: Fold

    @property
    def task(self) -> SingleLabel:
        """The prediction task."""
        return SingleLabel(len(self.source.classes))

    @cached_property
    def rows(self) -> FoldRows:
        """Rows of every part, labels of train and dev: what training may use."""
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
            clip=table.clip_index,
            number=table.number,
        )

    @cached_property
    def dev_table(self) -> FrameTable:
        """Dev frames, with their labels."""
        return self.source.table.take(self.rows.dev)

    @cached_property
    def test_table(self) -> FrameTable:
        """Test frames, every label -1."""
        table = self.source.table.take(self.rows.test)
        return replace(table, label=np.full(len(table), UNLABELLED))

    @cached_property
    def sealed(self) -> SealedLabels:
        """Test labels, for the scorer."""
        table = self.source.table.take(self.rows.test)
        return SealedLabels(table.label, table.unit, table.clip)

    @cached_property
    def prior(self) -> np.ndarray:
        """(C,) class shares of the training frames."""
        counts = np.bincount(self.rows.train_label, minlength=self.task.num_classes)
        shares: np.ndarray = counts / counts.sum()
        return shares


def open_folds(dataset: Spec, split: Spec, limit: int | None) -> tuple[tuple[FoldData, ...], list[str]]:
    """Open a data set and divide it.

    Returns:
        Its folds, and warnings about its data and its split.

    Raises:
        ConfigError: if the options of the data set are refused.
        DataError: if data are missing, empty, or cannot be divided.
    """
    source = open_source(dataset, limit)
    try:
        folds, warnings = divide(split, source.table, source.classes, source.composites())
    except DataError as error:
        raise DataError(f"data set {dataset}: {error}") from error
    return tuple(FoldData(source, fold) for fold in folds), [*_data_warnings(source), *warnings]


def _data_warnings(source: Source) -> list[str]:
    """Return the number of problems that ``fusionkit data check`` lists, and the first ones, in one line."""
    problems = list(source.dataset.problems())
    if not problems:
        return []
    more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    check = f"fusionkit data check {source.spec} lists all"
    return [f"{len(problems):,} problem(s) in the data: {'; '.join(problems[:_SHOWN])}{more} ({check})"]
