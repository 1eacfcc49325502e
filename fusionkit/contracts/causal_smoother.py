"""The contract of a smoother that looks at no later frame, and can therefore go frame by frame."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts.smoother import Smoother


class CausalSmoother(Smoother):
    """Smooths a clip piece by piece: a plugin writes :meth:`advance`, and both ways of use are made of it.

    A whole clip is one piece and a stream is pieces of one frame, so they give the same bits wherever ``advance``
    treats its frames one after the other.
    """

    causal: ClassVar[bool] = True
    _past: Any = None

    @abstractmethod
    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
        """Smooth the next piece of a clip.

        Args:
            x: (T, C) float64, T >= 1: what the smoother ``needs``.
            frame_numbers: (T,) int64, rising, above those of the piece before.
            past: what this gave with the piece before; None at the start of a clip. It is not written to.

        Returns:
            (T, C) weights as :meth:`smooth` gives them, and what the next piece needs to know of all so far.
        """

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """The clip as one piece: (T, C) to (T, C)."""
        return self.advance(x, frame_numbers, None)[0] if len(x) else x

    def step(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        """The next frame as a piece of its own: (C,) to (C,)."""
        weights, self._past = self.advance(x[None], np.array([frame_number], dtype=np.int64), self._past)
        row: np.ndarray = weights[0]
        return row

    def reset(self) -> None:
        """The next frame begins a clip."""
        self._past = None
