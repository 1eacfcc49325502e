"""What a head is trained on: the stored embeddings of one fold, standardised as fitted on its training frames.

They are held in memory, or, where they are more than the limit, read from the maps of the store batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from fusionkit.engine.embeddings import EmbeddingStore, Layout
from fusionkit.engine.part import Arrays, Part, aligned
from fusionkit.engine.scaling import Blocks, Scaling
from fusionkit.engine.streamed import StreamedPart
from fusionkit.engine.treated import TreatedPart
from fusionkit.errors import CellError

AnyPart = Part | StreamedPart | TreatedPart

_BLOCK = 2048  # rows that mean and spread are taken over at one go
_WINDOW = 2**28  # bytes that are read at one go where features are streamed


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
class Features:
    """Train, dev and test features of one fold, with the mean and scale that were taken from train.

    Attributes:
        size: bytes that all of them take in memory.
        limit: bytes that they may take; where they would take more, they are streamed.
    """

    train: AnyPart
    dev: AnyPart
    test: AnyPart
    mean: Arrays
    scale: Arrays
    size: int = 0
    limit: int = 0

    @property
    def widths(self) -> dict[str, int]:
        """D_v by view, main view first."""
        return {name: shape[-1] for name, shape in self.train.shapes.items()}


def load_features(
    store: EmbeddingStore, keys: dict[str, str], rows: FoldRows, *, standardize: bool, memory: int
) -> Features:
    """Read, impute and standardise. No value depends on whether there is memory for all of them.

    Args:
        store: where the embeddings are.
        keys: embedding key by view name, main view first.
        rows: the fold.
        standardize: bring each feature to mean 0 and variance 1 over the training frames that have the view.
        memory: bytes that the features may take; if they need more they are read when they are asked for.

    Raises:
        CellError: if no training frame has one of the views.
        DataError: if stored embeddings are missing or damaged.
    """
    layouts = {name: store.layout(key, int(rows.train[0])) for name, key in keys.items()}
    frames = len(rows.train) + len(rows.dev) + len(rows.test)
    size = 4 * frames * sum(int(np.prod(shape)) for shape, _ in layouts.values())
    stored = _Stored(store, keys, layouts, (rows.train, rows.dev, rows.test), standardize)
    (train, dev, test), scaling = stored.held() if size <= memory else stored.streamed(min(memory, _WINDOW))
    mean = {name: item.mean for name, item in scaling.items()}
    scale = {name: item.scale for name, item in scaling.items()}
    return Features(train, dev, test, mean, scale, size, memory)


@dataclass(frozen=True, eq=False)
class _Stored:
    """The embeddings of a fold where they lie; ``parts`` are the rows of train, dev and test."""

    store: EmbeddingStore
    keys: dict[str, str]
    layouts: dict[str, Layout]
    parts: tuple[np.ndarray, np.ndarray, np.ndarray]
    standardize: bool

    def held(self) -> tuple[list[Part], dict[str, Scaling]]:
        """All of them in memory."""
        found = [Part({}, {}) for _ in self.parts]
        scaling = {}
        for name, key in self.keys.items():
            for part, rows in zip(found, self.parts, strict=True):
                part.views[name] = aligned((len(rows), *self.layouts[name][0]))
                self.store.read_into(part.views[name], key, rows)
            scaling[name] = self._scaling(name, partial(_cut, found[0].views[name]))
            for part in found:
                part.present[name] = scaling[name].apply(part.views[name])
        return found, scaling

    def streamed(self, window: int) -> tuple[list[StreamedPart], dict[str, Scaling]]:
        """Where to find them, and how to bring them to scale."""
        scaling = {name: self._scaling(name, partial(self._blocks, key)) for name, key in self.keys.items()}
        found = []
        for rows in self.parts:
            present = {name: self.store.present(key, rows) for name, key in self.keys.items()}
            found.append(StreamedPart(present, self.store, self.keys, self.layouts, rows, scaling, window))
        return found, scaling

    def _blocks(self, key: str) -> Iterator[np.ndarray]:
        return (self.store.read(key, rows) for rows in _cut(self.parts[0]))

    def _scaling(self, name: str, blocks: Blocks) -> Scaling:
        found = Scaling.of(blocks, standardize=self.standardize)
        if found is None:
            raise CellError(f"view {name!r} is missing in every training frame: nothing to learn from")
        return found


def _cut(values: np.ndarray) -> Iterator[np.ndarray]:
    return (values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK))
