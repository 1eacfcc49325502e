"""Frames of a registered data set as images; their labels are not looked at."""

from __future__ import annotations

import threading
from functools import cached_property

import numpy as np

from fusionkit.contracts.dataset import FaceDataset
from fusionkit.engine.source import Source
from fusionkit.errors import ConfigError, DataError
from fusionkit.identity import digest
from fusionkit.splits import Holdout
from fusionkit.training.images import Images


class DatasetImages(Images):
    """Rows of a data set.

    Args:
        source: the data set.
        rows: (n,) int64, rows of the source.

    Raises:
        ConfigError: if the data set brings embeddings and no images.
    """

    def __init__(self, source: Source, rows: np.ndarray) -> None:
        if type(source.dataset).read is FaceDataset.read:
            raise ConfigError(f"data set {source.spec} has ready embeddings and no images")
        self.source = source
        self.rows = rows
        self._lock = threading.Lock()  # the contract of a data set does not promise that threads may share it

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> np.ndarray | None:
        """The image of a row."""
        with self._lock:
            return self.source.images(self.rows[index : index + 1])[0]

    def where(self, index: int) -> str:
        """As the data set names it."""
        return self.source.where(int(self.rows[index]))

    @cached_property
    def fingerprint(self) -> str:
        """Of the data and of the choice of rows."""
        return digest([self.source.fingerprint, self.rows.tolist()])


def training_rows(source: Source) -> np.ndarray:
    """(n,) int64: the rows that no benchmark tests on: the official train split, else what ``holdout`` does not test.

    Raises:
        DataError: if there is no official split and none can be carved.
    """
    split = source.table.split
    if (split == "train").any():
        return np.flatnonzero(split == "train")
    if (split != "").any():
        raise DataError(
            f"data set {source.spec} has official splits but no train", hint="split = all takes every frame"
        )
    (fold,) = Holdout().folds(source.table)
    return np.flatnonzero(fold.part != "test")
