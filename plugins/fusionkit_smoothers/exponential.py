"""The exponentially weighted mean of what has been seen so far."""

from __future__ import annotations

from math import exp2
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import CausalSmoother, require_number
from fusionkit_smoothers.option_checks import settled
from fusionkit_smoothers.tracking import track

Past = tuple[np.ndarray, float, int]


class Exponential(CausalSmoother):
    """Mean of this frame and all before, each weighted by ``2^(-age / half_life)``.

    Age is counted in frame numbers, so that a gap lets all before it grow old, and missing frames take no part. The
    weights of the frames that there are sum to one, from the first frame on. A clip without change stays as it is.

    Args:
        half_life: in frames: as old as a frame is that counts half; ``0`` changes nothing, ``'auto'`` is chosen on dev.

    Reference: Wright 1986, "Forecasting data published at irregular time intervals using an extension of Holt's method"
    (https://doi.org/10.1287/mnsc.32.4.499), for a level without trend. The default half-life is our reading.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"half_life": (0, 1, 2, 5, 10, 25, 50, 100)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"half_life": 2}, {"half_life": 0.5})

    def __init__(self, half_life: float | Literal["auto"] = 15) -> None:
        if half_life != "auto":
            require_number("exponential: half_life", half_life, least=0)
        self.half_life = half_life

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Past | None) -> tuple[np.ndarray, Past]:
        """The next piece of a clip.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.
            past: the mean (C,), the sum of weights and the frame number so far; None at the start of a clip.

        Returns:
            (T, C) means, never negative, and the past of the next piece.

        Raises:
            PluginError: if the half-life is still ``'auto'``.
        """
        half_life = settled("exponential", "half_life", self.half_life)
        level, weight, last = past or (np.zeros(x.shape[1]), 0.0, int(frame_numbers[0]))
        gains = []
        for number in frame_numbers.tolist():
            weight = 1.0 + (weight * exp2((last - number) / half_life) if half_life else 0.0)
            gains.append(1.0 / weight)
            last = number
        means = track(x, gains, level)
        return means, (means[-1].copy(), weight, last)
