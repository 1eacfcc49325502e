"""A smoother at work on frames as they come, one clip's at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusionkit.errors import DataError

if TYPE_CHECKING:
    from fusionkit.contracts.smoother import Smoother


class Stream:
    """Gives each frame of a clip its probabilities when it arrives: those that the smoother gives the whole clip.

    Args:
        smoother: steps for this stream alone; made by :meth:`Smoother.stream`.
    """

    def __init__(self, smoother: Smoother) -> None:
        self._smoother = smoother
        self.reset()

    def reset(self) -> None:
        """A new clip begins with the next frame."""
        self._smoother.reset()
        self._last: int | None = None

    def __call__(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        """The next frame of the clip.

        Args:
            x: (C,) what the smoother ``needs``.
            frame_number: above that of the frame before; a gap is a gap in time.

        Returns:
            (C,) float64, probabilities.

        Raises:
            DataError: if the frame number does not rise.
            PluginError: if the smoother cannot go frame by frame, or breaks its contract.
        """
        if self._last is not None and frame_number <= self._last:
            raise DataError(
                f"frame {frame_number} comes after frame {self._last}: the frames of a clip come in order",
                hint="reset() begins a new clip",
            )
        row = np.asarray(x, dtype=np.float64)
        weights = self._smoother.step(row, frame_number)
        self._last = int(frame_number)
        probabilities: np.ndarray = self._smoother.rows_to_one(np.asarray(weights)[None], row[None])[0]
        return probabilities
