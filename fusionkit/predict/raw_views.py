"""Embeddings of new frames as the heads ask for them: each head imputes and scales them in its own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from fusionkit.engine.embeddings import EmbeddingStore
from fusionkit.engine.features import AnyPart
from fusionkit.engine.part import Arrays, Part, aligned
from fusionkit.engine.scaling import Scaling
from fusionkit.engine.streamed import StreamedPart

_WINDOW = 2**28  # bytes that are read at one go where embeddings are stored


class RawViews(ABC):
    """Embeddings of n frames, a view each, before any scaling; a missing view is a row of NaN."""

    @abstractmethod
    def part(self, scaling: dict[str, Scaling]) -> AnyPart:
        """The features that a head works on.

        Args:
            scaling: by view, main view first, as fitted on the head's training frames.
        """


@dataclass(frozen=True, eq=False)
class HeldViews(RawViews):
    """Embeddings in memory: (n, D_v) or (n, K, D_v) by view."""

    values: Arrays

    def part(self, scaling: dict[str, Scaling]) -> Part:
        """A scaled copy."""
        views: Arrays = {}
        present: Arrays = {}
        for name, item in scaling.items():
            views[name] = aligned(self.values[name].shape)
            views[name][:] = self.values[name]
            present[name] = item.apply(views[name])
        return Part(views, present)


@dataclass(frozen=True, eq=False)
class StoredViews(RawViews):
    """Embeddings in the cache.

    Attributes:
        keys: embedding key by view.
        rows: (n,) rows of the embeddings, at least one.
    """

    store: EmbeddingStore
    keys: dict[str, str]
    rows: np.ndarray

    def part(self, scaling: dict[str, Scaling]) -> StreamedPart:
        """Where to find them, and how to bring them to scale: they are read batch by batch."""
        keys = {name: self.keys[name] for name in scaling}
        present = {name: self.store.present(key, self.rows) for name, key in keys.items()}
        layouts = {name: self.store.layout(key, int(self.rows[0])) for name, key in keys.items()}
        return StreamedPart(present, self.store, keys, layouts, self.rows, scaling, _WINDOW)
