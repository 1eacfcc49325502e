"""A smoother: the predictions of a clip to better ones."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import Smoother, require_count


class ExampleWindow(Smoother):
    """The mean of the frames near by, those further away counting less, down to nothing at half the width.

    Distance is in frame numbers, so a gap in a clip is a gap in time.

    Args:
        width: of the window in frames, 1 or more; ``auto`` takes the one that is best on dev.

    Reference: the triangular window, e.g. Harris 1978, "On the use of windows for harmonic analysis with the discrete
    Fourier transform" (https://doi.org/10.1109/PROC.1978.10837).
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5, 15, 51)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"width": 15})

    def __init__(self, width: int | str = 5) -> None:
        require_count("example-window: width", width)
        self.width = width

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """(T, C) probabilities to (T, C) weights."""
        distance = np.abs(frame_numbers[:, None] - frame_numbers)
        weights = np.maximum(1 - 2 * distance / (self.width + 1), 0)
        smoothed: np.ndarray = weights @ x / weights.sum(1, keepdims=True)
        return smoothed
