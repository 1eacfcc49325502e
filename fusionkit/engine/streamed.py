"""Features of some frames, read from the maps of the store when they are asked for: for more than memory holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fusionkit.engine.embeddings import EmbeddingStore, Layout
from fusionkit.engine.part import Arrays, Part, Presence, aligned
from fusionkit.engine.scaling import Scaling


@dataclass(frozen=True, eq=False)
class StreamedPart(Presence):
    """Features of some frames that stay where they are stored, and are made when they are asked for.

    Attributes:
        present: (n,) bool by view.
        store: where the embeddings are.
        keys: embedding key by view, main view first.
        layouts: shape of one frame, (D_v,) or (K, D_v), and the type that is stored, by view.
        rows: (n,) rows of the embeddings.
        scaling: by view.
        window: bytes that are read at one go.
    """

    present: Arrays
    store: EmbeddingStore
    keys: dict[str, str]
    layouts: dict[str, Layout]
    rows: np.ndarray
    scaling: dict[str, Scaling]
    window: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(n, D_v) or (n, K, D_v) by view, main view first."""
        return {name: (len(self.rows), *shape) for name, (shape, _) in self.layouts.items()}

    def take(self, rows: np.ndarray) -> Part:
        """Some of the frames."""
        return next(self.batches([rows]))

    def batches(self, batches: Iterable[np.ndarray]) -> Iterator[Part]:
        """Frames batch by batch.

        As many batches as fit into the window are read together, so that a shard is opened once for all of them.

        Args:
            batches: (b,) frames of each batch.
        """
        frame = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self.layouts.values())
        waiting: list[np.ndarray] = []
        for batch in batches:
            if waiting and (sum(map(len, waiting)) + len(batch)) * frame > self.window:
                yield from self._read(waiting)
                waiting = []
            waiting.append(batch)
        if waiting:
            yield from self._read(waiting)

    def _read(self, batches: list[np.ndarray]) -> Iterator[Part]:
        rows = self.rows[np.concatenate(batches)]
        stored = {}
        for name, key in self.keys.items():
            shape, dtype = self.layouts[name]
            stored[name] = np.empty((len(rows), *shape), dtype)
            self.store.read_into(stored[name], key, rows)
        start = 0
        for batch in batches:
            views, present = {}, {}
            for name, values in stored.items():
                views[name] = aligned((len(batch), *values.shape[1:]))
                views[name][:] = values[start : start + len(batch)]
                present[name] = self.scaling[name].apply(views[name])
            start += len(batch)
            yield Part(views, present)
