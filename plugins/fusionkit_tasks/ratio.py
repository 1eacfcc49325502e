"""Ratio of counts."""

from __future__ import annotations

import numpy as np


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, broadcast; NaN where the whole is not above 0."""
    shape = np.broadcast_shapes(np.shape(part), np.shape(whole))
    found: np.ndarray = np.divide(part, whole, out=np.full(shape, np.nan), where=whole > 0)
    return found
