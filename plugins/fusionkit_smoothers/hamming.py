"""A Hamming window over time."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Clip
from fusionkit.contracts.option_types import Count, Positive
from fusionkit.errors import ConfigError
from fusionkit_smoothers.shared_options import WindowSmoother
from fusionkit_smoothers.time_grid import weighted_means


class Hamming(WindowSmoother):
    """Mean of the probabilities around a frame, weighted by a raised cosine of the distance in frames.

    The weight falls from 1 at the frame to .08 at the ends of the window. A missing frame has none; at the ends of a
    clip and beside gaps the mean is of the existing frames. A constant clip is unchanged.

    Args:
        seconds: length of the window in place of ``width``, in clips whose frames per second are known: the nearest odd
            number of frames. ``0.5`` is 15 frames at 30 per second.

    Raises:
        ConfigError: if ``width`` is given, too.

    Reference: the weights are ``scipy.signal.windows.hamming``. Dresvyanskiy et al. 2024 smooth by it in the expression
    challenge of ABAW-6 (https://arxiv.org/abs/2403.12609), over half a second, which is 15 frames of most videos. The
    default width, a part of the clip, is our reading.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5, 15, 25, 51, 101, 201)}

    def __init__(self, width: Count | Literal["clip", "auto"] = "clip", seconds: Positive | None = None) -> None:
        super().__init__(width)
        if seconds is not None and width != "clip":
            raise ConfigError(f"smoother Hamming: options width = {width} and seconds = {seconds:g} exclude each other")
        self.seconds = seconds
        self.needs_rate = seconds is not None

    def smooth(self, x: np.ndarray, clip: Clip) -> np.ndarray:
        """Average over time: (T, C) probabilities to (T, C) means, at least 0."""
        half = self.half(clip.number) if self.seconds is None else int(self.seconds * (clip.rate or 0) / 2)
        if half == 0:
            return x
        return weighted_means(x, clip.number, half, lambda distance: 0.54 + 0.46 * np.cos(np.pi * distance / half))
