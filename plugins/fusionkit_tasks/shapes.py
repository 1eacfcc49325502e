"""Shapes of labels."""

from __future__ import annotations

import numpy as np


def wrong_columns(values: np.ndarray, columns: int) -> str:
    """Return what is wrong with labels that are not (N, ``columns``); an empty text if they are."""
    if values.ndim == 2 and values.shape[1] == columns:
        return ""
    return f"labels are {values.shape}, not (N, {columns}): one column per name"
