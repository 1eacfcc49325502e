"""How ten people's votes become one label in FER+."""

from __future__ import annotations

import numpy as np

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
COLUMNS = (*EMOTIONS, "unknown", "NF")
UNKNOWN = len(EMOTIONS)


def majority(votes: np.ndarray) -> np.ndarray:
    """The majority vote: a lone vote counts for nothing; of what remains, more than half must agree.

    Votes for unknown and for NF (no face) count in the whole and can win.

    Args:
        votes: (N, 10) int, 0 or more, in the order of ``COLUMNS``.

    Returns:
        (N,) int64: the column that won; ``UNKNOWN`` where none has a majority.

    Reference: E. Barsoum et al., Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
    Distribution, ICMI 2016, arXiv:1608.01041; the rules as in https://github.com/microsoft/FERPlus (src/ferplus.py).
    """
    counted = np.where(votes > 1, votes, 0)
    winner = counted.argmax(axis=1)
    won = 2 * counted.max(axis=1) > counted.sum(axis=1)
    return np.where(won, winner, UNKNOWN).astype(np.int64)
