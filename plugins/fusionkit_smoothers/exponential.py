"""The exponentially weighted mean of the frames so far."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp2, log
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import CausalSmoother
from fusionkit.contracts.option_types import NonNegative
from fusionkit_smoothers.shared_options import chosen

Past = tuple[np.ndarray, float, int]


class Exponential(CausalSmoother):
    """Mean of this frame and all before, each weighted by ``2^(-age / half_life)``.

    Age is counted in frame numbers, so that a gap ages all frames before it. Missing frames have no weight. The
    weights of the existing frames sum to one, from the first frame on. A constant clip is unchanged.

    Args:
        half_life: age in frames at which a frame has half the weight. ``0`` changes nothing; ``'auto'`` is chosen on
            dev.

    Reference: Wright 1986, "Forecasting data published at irregular time intervals using an extension of Holt's method"
    (https://doi.org/10.1287/mnsc.32.4.499), for a level without trend. The default half-life is our reading.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"half_life": (0, 1, 2, 5, 10, 25, 50, 100)}
    examples = ({"half_life": 2}, {"half_life": 0.5})

    def __init__(self, half_life: NonNegative | Literal["auto"] = 15) -> None:
        self.half_life = half_life

    @property
    def span(self) -> float | None:
        """See :attr:`Smoother.span`; None if the half-life is chosen on dev."""
        return None if isinstance(self.half_life, str) else max(1.0, 2 / log(2) * self.half_life)

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Past | None) -> tuple[np.ndarray, Past]:
        """Smooth the next piece of a clip.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.
            past: mean (C,), sum of weights and frame number so far; None at the start of a clip.

        Returns:
            (T, C) means, at least 0, and the past of the next piece.

        Raises:
            PluginError: if the half-life is still ``'auto'``.
        """
        half_life = chosen(self, "half_life")
        level, weight, last = past or (np.zeros(x.shape[1]), 0.0, int(frame_numbers[0]))
        gains = []
        for number in frame_numbers.tolist():
            weight = 1.0 + (weight * exp2((last - number) / half_life) if half_life else 0.0)
            gains.append(1.0 / weight)
            last = number
        means = track(x, gains, level)
        return means, (means[-1].copy(), weight, last)


def track(x: np.ndarray, gains: Sequence[float], level: np.ndarray) -> np.ndarray:
    """Move a level towards each frame by its gain; frame by frame, so that pieces of a clip give the same bits.

    Args:
        x: (T, C).
        gains: (T,) between 0 and 1; a gain of 1 discards all frames before.
        level: (C,) before the first frame.

    Returns:
        (T, C) the level after each frame.
    """
    levels = np.empty(x.shape)
    for frame, gain, after in zip(x, gains, levels, strict=True):
        np.multiply(frame, gain, out=after)
        np.add(after, (1.0 - gain) * level, out=after)
        level = after
    return levels
