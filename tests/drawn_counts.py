"""Confusion counts that are drawn around a wanted skill, for folders with clear and unclear differences."""

from __future__ import annotations

import numpy as np


def drawn(skill: float, *, units: int = 24, seeds: int = 1, classes: int = 3, draw: int = 0) -> list[np.ndarray]:
    """For each seed (U, C, C): units of 30 frames of one truth, of which about a share is right."""
    truth = np.random.default_rng(5).dirichlet(np.full(classes, 4.0), units)
    frames = np.maximum(np.round(truth * 30).astype(int), 1)
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng([draw, seed])
        counts = np.zeros((units, classes, classes), int)
        for u in range(units):
            for c in range(classes):
                shares = np.full(classes, (1 - skill) / classes)
                shares[c] += skill
                counts[u, c] = rng.multinomial(frames[u, c], shares)
        found.append(counts)
    return found
