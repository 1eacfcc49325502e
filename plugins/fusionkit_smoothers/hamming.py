"""A Hamming window over time."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fusionkit_smoothers.shared_options import WindowSmoother
from fusionkit_smoothers.time_grid import weighted_means


class Hamming(WindowSmoother):
    """Mean of the probabilities around a frame, weighted by a raised cosine of the distance in frames.

    The weight falls from 1 at the frame to .08 at the ends of the window. A missing frame has none; at the ends of a
    clip and beside gaps the mean is of the existing frames. A constant clip is unchanged.

    Reference: the weights are ``scipy.signal.windows.hamming``. Dresvyanskiy et al. 2024 smooth by it in the expression
    challenge of ABAW-6 (https://arxiv.org/abs/2403.12609), over half a second, which is 15 frames of most videos. The
    default width, a part of the clip, is our reading.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5, 15, 25, 51, 101, 201)}

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Average over time: (T, C) probabilities to (T, C) means, at least 0."""
        half = self.half(frame_numbers)
        if half == 0:
            return x
        return weighted_means(x, frame_numbers, half, lambda distance: 0.54 + 0.46 * np.cos(np.pi * distance / half))
