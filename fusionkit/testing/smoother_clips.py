"""Clips that smoothers are tried on, and smoothers made ready for them."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.smoother import Smoother
from fusionkit.testing.subject import Subject

CLASSES = 4
Clip = tuple[np.ndarray, np.ndarray]


def frame_numbers(length: int, *, gaps: bool = False) -> np.ndarray:
    """Frame numbers from 1 on; with gaps every fourth is far from the one before."""
    steps = np.ones(length, dtype=np.int64)
    if gaps:
        steps[3::4] = 5
        steps[7::8] = 40
    return np.cumsum(steps)


def values(smoother: Smoother, length: int, seed: int = 0) -> np.ndarray:
    """(T, C) of a class that lasts and noise: probabilities, logits or embeddings, as the smoother needs."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(rng.integers(CLASSES, size=length // 5 + 1), 5)[:length]
    logits = rng.normal(size=(length, CLASSES)) + 1.5 * np.eye(CLASSES)[classes]
    if smoother.needs in ("logits", "embeddings"):
        return logits
    weights = np.exp(logits)
    probs: np.ndarray = weights / weights.sum(1, keepdims=True)
    return probs


def training(smoother: Smoother) -> tuple[list[Clip], list[np.ndarray]]:
    """Clips and labels to fit on: of several lengths, one of them a single frame, some frames unlabelled."""
    rng = np.random.default_rng(8)
    lengths = (30, 1, 24, 40, 30)
    clips = [
        (values(smoother, length, seed), frame_numbers(length, gaps=seed % 2 == 1))
        for seed, length in enumerate(lengths)
    ]
    labels = []
    for x, _ in clips:
        found = x[:, :CLASSES].argmax(1).astype(np.int64)
        found[rng.random(len(x)) < 0.1] = -1
        labels.append(found)
    return clips, labels


def ready(subject: Subject, seed: int = 0) -> Smoother:
    """A smoother, fitted where it learns something."""
    smoother: Smoother = subject.build()
    if smoother.fitted:
        smoother.fit(*training(smoother), seed)
    return smoother
