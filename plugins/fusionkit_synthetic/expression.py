"""Expressions as facial actions: prototypes of the eight classes, and random variation around them.

Reference: W. V. Friesen, P. Ekman, EMFACS-7: Emotional Facial Action Coding System, 1983 (the units of each
emotion); S. Du, Y. Tao, A. M. Martinez, Compound facial expressions of emotion, PNAS 2014 (the compounds in Other).
The mean intensities and probabilities are our choice.
"""

from __future__ import annotations

import numpy as np

from fusionkit_synthetic.action import COLUMN, LEFT, RIGHT, UNITS

CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")

# unit: (mean intensity, probability of occurrence)
Prototype = dict[int, tuple[float, float]]
PROTOTYPES: dict[str, Prototype] = {
    "Anger": {4: (0.8, 0.9), 5: (0.45, 0.4), 7: (0.65, 0.7), 9: (0.3, 0.15), 10: (0.4, 0.2), 15: (0.3, 0.2),
              17: (0.5, 0.4), 23: (0.75, 0.6), 24: (0.6, 0.45), 25: (0.4, 0.15), 38: (0.6, 0.5)},
    "Disgust": {4: (0.45, 0.45), 6: (0.35, 0.3), 7: (0.45, 0.45), 9: (0.75, 0.8), 10: (0.75, 0.75), 15: (0.45, 0.35),
                16: (0.45, 0.25), 17: (0.5, 0.45), 25: (0.45, 0.35), 26: (0.25, 0.15)},
    "Fear": {1: (0.75, 0.85), 2: (0.5, 0.65), 4: (0.6, 0.7), 5: (0.75, 0.8), 7: (0.35, 0.25), 20: (0.7, 0.7),
             25: (0.55, 0.7), 26: (0.35, 0.45), 38: (0.5, 0.3)},
    "Happiness": {6: (0.65, 0.75), 7: (0.25, 0.2), 12: (0.8, 0.97), 25: (0.6, 0.6), 26: (0.3, 0.25)},
    "Sadness": {1: (0.75, 0.8), 4: (0.5, 0.65), 6: (0.3, 0.15), 7: (0.3, 0.2), 15: (0.75, 0.8), 17: (0.55, 0.5),
                25: (0.3, 0.15), 43: (0.3, 0.3)},
    "Surprise": {1: (0.8, 0.85), 2: (0.8, 0.85), 5: (0.65, 0.7), 25: (0.5, 0.6), 26: (0.65, 0.7)},
}  # fmt: skip
# Class Other: compounds, and states that are not basic expressions.
OTHERS: tuple[Prototype, ...] = (
    {12: (0.5, 1.0), 14: (0.8, 1.0), 7: (0.3, 0.4)},  # contempt, on one side
    {2: (0.75, 1.0), 4: (0.5, 0.7), 14: (0.4, 0.4), 23: (0.4, 0.4)},  # doubt, on one side
    {
        4: (0.6, 1.0),
        6: (0.6, 0.8),
        7: (0.7, 0.8),
        10: (0.5, 0.6),
        20: (0.5, 0.6),
        25: (0.6, 0.7),
        43: (0.7, 0.7),
    },  # pain
    {18: (0.85, 1.0), 4: (0.3, 0.4), 1: (0.3, 0.3), 2: (0.3, 0.3)},  # pondering
    {25: (0.6, 1.0), 26: (0.95, 1.0), 43: (0.8, 0.9), 4: (0.3, 0.5), 7: (0.5, 0.6)},  # yawn
    {1: (0.7, 0.9), 2: (0.7, 0.9), 5: (0.5, 0.7), 12: (0.7, 1.0), 25: (0.6, 1.0), 26: (0.4, 0.6)},  # happily surprised
    {4: (0.7, 1.0), 7: (0.5, 0.7), 15: (0.6, 1.0), 17: (0.5, 0.6)},  # sadly angry
    {9: (0.5, 0.7), 10: (0.5, 0.9), 12: (0.6, 1.0), 25: (0.5, 0.6)},  # happily disgusted
    {1: (0.6, 0.8), 12: (0.5, 1.0), 15: (0.4, 0.6), 17: (0.4, 0.5)},  # sadly happy
)
_ONE_SIDED = 2  # number of OTHERS, from the first, that are one-sided


def draw_expression(rng: np.random.Generator, name: str, strength: float, blur: float) -> np.ndarray:
    """Draw one expression of one person.

    Args:
        rng: random numbers.
        name: the class.
        strength: expressivity of the person, about 1.
        blur: 0..1; weakness, incompleteness and mixture with other actions.

    Returns:
        (2, A) intensities at the apex, 0..1.
    """
    prototype, one_sided = _prototype(rng, name)
    scale = 1.15 * strength * (1.0 - 0.5 * blur * float(rng.beta(1.6, 1.6)))
    intensity = np.zeros(len(UNITS))
    for unit, (mean, _) in _subset(rng, prototype).items():
        weight = mean * float(rng.normal(1.0, 0.08 + 0.16 * blur))
        intensity[COLUMN[unit]] = scale * weight
    _mix_in(rng, intensity, blur)
    both = np.clip(np.stack([intensity, intensity]), 0.0, 1.0)
    uneven = rng.normal(0.0, 0.05 + 0.06 * blur, both.shape)
    both *= 1.0 + uneven
    if one_sided:
        both[LEFT if rng.random() < 0.5 else RIGHT] *= 0.12
    _couple(both)
    return np.clip(both, 0.0, 1.0)


def _prototype(rng: np.random.Generator, name: str) -> tuple[Prototype, bool]:
    if name == "Neutral":
        return {}, False
    if name == "Other":
        kind = int(rng.integers(len(OTHERS)))
        return OTHERS[kind], kind < _ONE_SIDED
    return PROTOTYPES[name], False


def _subset(rng: np.random.Generator, prototype: Prototype) -> Prototype:
    """Return a random subset of a prototype, with at least two of its units."""
    chosen = {unit: entry for unit, entry in prototype.items() if rng.random() < entry[1]}
    for unit in sorted(prototype, key=lambda unit: -prototype[unit][1])[:2]:
        if len(chosen) < 2:
            chosen[unit] = prototype[unit]
    return chosen


def _mix_in(rng: np.random.Generator, intensity: np.ndarray, blur: float) -> None:
    """Add some actions that are not in the prototype."""
    for unit in rng.choice([1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 20, 23, 25, 26], size=3, replace=False).tolist():
        intensity[COLUMN[unit]] += blur * 0.36 * float(rng.beta(1.2, 2.6))


def _couple(both: np.ndarray) -> None:
    """Couple actions: jaw and lids are the same on both sides, and a dropped jaw parts the lips."""
    for unit in (16, 17, 18, 23, 24, 25, 26):
        both[:, COLUMN[unit]] = both[:, COLUMN[unit]].mean()
    both[:, COLUMN[25]] = np.maximum(both[:, COLUMN[25]], 0.6 * both[:, COLUMN[26]])
    both[:, COLUMN[24]] *= 1.0 - np.minimum(1.0, 1.5 * both[:, COLUMN[25]])
