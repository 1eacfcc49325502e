"""Valence and arousal of the drawn face, from its action units.

Reference: J. A. Russell, A circumplex model of affect, Journal of Personality and Social Psychology 39 (1980),
1161-1178: affects lie on a circle, at 0 degrees pleasure, 45 excitement, 90 arousal, 135 distress, 180 displeasure, 225
depression, 270 sleepiness and 315 relaxation. The places of the six expressions on it are our choice.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from fusionkit_synthetic.action import COLUMN, UNITS
from fusionkit_synthetic.expression import PROTOTYPES

DIMENSIONS = ("valence", "arousal")
ANGLES = {"Happiness": 22.5, "Surprise": 90.0, "Fear": 112.5, "Anger": 135.0, "Disgust": 157.5, "Sadness": 202.5}


def valence_arousal(intensity: np.ndarray) -> np.ndarray:
    """Return valence and arousal of frames: continuous in the intensities, and 0 for a face at rest.

    The actions of a frame are approximated, by least squares, with a mixture of the six expressions, with weights of at
    least 0. Its valence and arousal are the same mixture of their places on the circle. Weights that sum to more than 1
    are scaled to 1, so that the result lies in the unit circle.

    Args:
        intensity: (n, 2, A) of both sides, 0..1.

    Returns:
        (n, 2) float64 in -1..1.
    """
    prototypes, places = _prototypes(), circle()
    weights = _mixture(prototypes, intensity.mean(1))
    mixed: np.ndarray = weights @ places / np.maximum(weights.sum(1, keepdims=True), 1.0)
    return mixed


def _mixture(columns: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return the weights (n, C), 0 or more, with which columns (A, C) approximate frames (n, A) best.

    The best solution is the least-squares solution of the columns that it uses, so all 2**C choices are compared.
    """
    best, weights = (frames**2).sum(1), np.zeros((len(frames), columns.shape[1]))
    for size in range(1, columns.shape[1] + 1):
        for chosen in map(list, combinations(range(columns.shape[1]), size)):
            found = frames @ np.linalg.pinv(columns[:, chosen]).T
            error = ((frames - found @ columns[:, chosen].T) ** 2).sum(1)
            better = (found >= 0).all(1) & (error < best)
            best[better], weights[better] = error[better], 0.0
            weights[np.ix_(better, chosen)] = found[better]
    return weights


def circle() -> np.ndarray:
    """Return the place of each expression of ``ANGLES``: (6, 2) valence and arousal."""
    angles = np.radians(list(ANGLES.values()))
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _prototypes() -> np.ndarray:
    """Return the expected intensities of each expression of ``ANGLES``, as columns: (A, 6)."""
    columns = np.zeros((len(UNITS), len(ANGLES)))
    for number, name in enumerate(ANGLES):
        for unit, (mean, probability) in PROTOTYPES[name].items():
            columns[COLUMN[unit], number] = mean * probability
    return columns
