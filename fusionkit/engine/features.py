"""What a head is trained on: the stored embeddings of one fold, standardised as fitted on its training frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit.engine.embeddings import EmbeddingStore
from fusionkit.errors import CellError

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class FoldRows:
    """The rows of one fold. Labels of the test rows are not in it.

    Attributes:
        train: (n,) labelled rows only.
        train_label: (n,) int64 in 0..C-1.
        train_unit: (n,) str.
        dev: (m,) rows, unlabelled ones too.
        dev_label: (m,) int64, -1 unlabelled.
        test: (k,) rows, unlabelled ones too.
    """

    train: np.ndarray
    train_label: np.ndarray
    train_unit: np.ndarray
    dev: np.ndarray
    dev_label: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Part:
    """Features of some frames.

    Attributes:
        views: (n, D_v) or (n, K, D_v) float32 by view; a missing view holds the training mean.
        present: (n,) bool by view.
    """

    views: Arrays
    present: Arrays

    @property
    def seen(self) -> np.ndarray:
        """(n,) bool: at least one view is there."""
        anything: np.ndarray = np.any(list(self.present.values()), axis=0)
        return anything

    @property
    def whole(self) -> np.ndarray:
        """(n,) bool: every view is there."""
        everything: np.ndarray = np.all(list(self.present.values()), axis=0)
        return everything

    def take(self, rows: np.ndarray) -> Part:
        """Some of the frames."""
        return Part(
            {name: value[rows] for name, value in self.views.items()},
            {name: value[rows] for name, value in self.present.items()},
        )


@dataclass(frozen=True, eq=False)
class Features:
    """Train, dev and test features of one fold, with the mean and scale that were taken from train."""

    train: Part
    dev: Part
    test: Part
    mean: Arrays
    scale: Arrays

    @property
    def widths(self) -> dict[str, int]:
        """D_v by view, main view first."""
        return {name: value.shape[-1] for name, value in self.train.views.items()}


def load_features(store: EmbeddingStore, keys: dict[str, str], rows: FoldRows, *, standardize: bool) -> Features:
    """Read, impute and standardise.

    Args:
        store: where the embeddings are.
        keys: embedding key by view name, main view first.
        rows: the fold.
        standardize: bring each feature to mean 0 and variance 1 over the training frames that have the view.

    Raises:
        CellError: if no training frame has one of the views.
        DataError: if stored embeddings are missing or damaged.
    """
    read: dict[str, list[np.ndarray]] = {}
    present: dict[str, list[np.ndarray]] = {}
    mean: Arrays = {}
    scale: Arrays = {}
    for name, key in keys.items():
        # In one go: reading a part by itself would open and check the shards that it shares with the others again.
        everything = store.read(key, np.concatenate([rows.train, rows.dev, rows.test]))
        values = np.split(everything, np.cumsum([len(rows.train), len(rows.dev)]))
        there = [_present(part) for part in values]
        if not there[0].any():
            raise CellError(f"view {name!r} is missing in every training frame: nothing to learn from")
        seen = values[0][there[0]].astype(np.float64)
        axes = tuple(range(seen.ndim - 1))
        center, spread = seen.mean(axes), seen.std(axes)
        mean[name] = center.astype(np.float32)
        spread[spread < 1e-6 * np.maximum(np.abs(center), 1e-6)] = 1.0  # a constant feature stays constant
        scale[name] = spread.astype(np.float32) if standardize else np.ones_like(mean[name])
        for matrix, flags in zip(values, there, strict=True):
            matrix[~flags] = mean[name]
            if standardize:
                np.subtract(matrix, mean[name], out=matrix)
                np.divide(matrix, scale[name], out=matrix)
        read[name], present[name] = values, there
    train, dev, test = (
        Part({name: read[name][i] for name in keys}, {name: present[name][i] for name in keys}) for i in range(3)
    )
    return Features(train, dev, test, mean, scale)


def _present(values: np.ndarray) -> np.ndarray:
    flags: np.ndarray = ~np.isnan(values.reshape(len(values), -1)[:, 0])
    return flags
