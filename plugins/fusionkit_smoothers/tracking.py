"""Following a moving level: each frame moves it by its gain towards what the frame shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def track(x: np.ndarray, gains: Sequence[float], level: np.ndarray) -> np.ndarray:
    """The level after each frame; frame by frame, so that pieces of a clip give the bits of the whole.

    Args:
        x: (T, C).
        gains: (T,) between 0 and 1; a gain of 1 forgets all before.
        level: (C,) before the first frame.

    Returns:
        (T, C).
    """
    levels = np.empty(x.shape)
    for shown, gain, after in zip(x, gains, levels, strict=True):
        np.multiply(shown, gain, out=after)
        np.add(after, (1.0 - gain) * level, out=after)
        level = after
    return levels
