"""Predictions of some frames, and of frames between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.engine.impute import impute
from fusionkit.engine.smooth import clips


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a cell says of some frames.

    Attributes:
        classes: the C class names.
        table: (n,) the frames.
        probs: (n, C) float64, rows sum to one.
        seen: (n,) bool: the frames that have a view; the others are imputed.
        prior: (C,) what frames of a clip without any view get.
        impute: what the other frames without a view get.
    """

    classes: tuple[str, ...]
    table: FrameTable
    probs: np.ndarray
    seen: np.ndarray
    prior: np.ndarray
    impute: str

    @property
    def labels(self) -> np.ndarray:
        """(n,) str: the most probable class of each frame."""
        found: np.ndarray = np.asarray(self.classes)[self.probs.argmax(1)]
        return found

    def has(self, clip: str) -> bool:
        """Whether a frame of the clip has a view."""
        return len(self._seen_rows.get(clip, ())) > 0

    def at(self, clip: str, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames of a clip, those that the table lacks too.

        Args:
            clip: one that may not be in the table.
            numbers: (k,) of its frames, in any order.

        Returns:
            (k, C) probabilities, and (k,) bool: which frames have a view.
        """
        rows = self._seen_rows.get(clip, np.empty(0, np.int64))
        have = self.table.number[rows]
        return impute(self.impute, self.probs[rows], have, numbers, self.prior), np.isin(numbers, have)

    @cached_property
    def _seen_rows(self) -> dict[str, np.ndarray]:
        """By clip, the rows that have a view."""
        return {
            str(self.table.clip[span.start]): np.flatnonzero(self.seen[span]) + span.start for span in clips(self.table)
        }
