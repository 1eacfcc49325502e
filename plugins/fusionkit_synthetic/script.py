"""The script of one synthetic clip: expressions over time, labels, and frames without an image.

The label of a frame is the current expression if it is at ``VISIBLE`` of its apex or more, as annotators see it, and
Neutral otherwise. So an expressive clip often begins or ends Neutral.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit_synthetic.expression import CLASSES

VISIBLE = 0.4
NEUTRAL = CLASSES.index("Neutral")


@dataclass(frozen=True)
class Episode:
    """One expression: it rises before ``start``, is full until ``end``, and fades after it; all in frames."""

    label: int
    start: float
    end: float
    onset: float
    offset: float

    def envelope(self, length: int) -> np.ndarray:
        """Return (T,) fraction of the apex, 0..1."""
        t = np.arange(length, dtype=np.float64)
        rise = np.clip(1 - (self.start - t) / self.onset, 0.0, 1.0)
        fall = np.clip(1 - (t - self.end) / self.offset, 0.0, 1.0)
        ramp = np.minimum(rise, fall)
        smooth: np.ndarray = ramp * ramp * (3 - 2 * ramp)
        return smooth


@dataclass(frozen=True)
class Script:
    """One clip of T frames.

    Attributes:
        length: T.
        episodes: the expressions, in order; the first has the class of the clip.
        label: (T,) int64, -1 if unlabelled.
        image: (T,) bool, False if the frame has no image.
    """

    length: int
    episodes: tuple[Episode, ...]
    label: np.ndarray
    image: np.ndarray


def draw_script(rng: np.random.Generator, wanted: int, length: int, missing: float, unlabelled: float) -> Script:
    """Draw one clip that shows the class ``wanted``, which is the label of at least one frame.

    Args:
        rng: random numbers.
        wanted: number of the class.
        length: T, at least 4 frames.
        missing: fraction of frames without an image.
        unlabelled: fraction of frames without a label.
    """
    episodes = _episodes(rng, wanted, length)
    label = np.full(length, NEUTRAL)
    strongest = np.full(length, VISIBLE)
    for episode in episodes:
        share = episode.envelope(length)
        shows = share >= strongest
        label[shows], strongest[shows] = episode.label, share[shows]
    shown = np.flatnonzero(label == wanted)
    keep = int(shown[len(shown) // 2])
    label[_span(rng, length, keep, unlabelled)] = -1
    return Script(length, episodes, label, ~_dropped(rng, length, missing))


def _episodes(rng: np.random.Generator, wanted: int, length: int) -> tuple[Episode, ...]:
    """Return one expression; in long clips sometimes a second one that follows without a pause."""
    if wanted == NEUTRAL:
        return ()
    begin, finish = 0.28 * float(rng.random()), 1.0 - 0.28 * float(rng.random())
    onset, offset = (float(value) for value in rng.uniform(0.08, 0.3, 2) * length)
    first = Episode(wanted, begin * length, finish * length - 1, onset, offset)
    if length < 12 or rng.random() > 0.22:
        return (first,)
    second = int(rng.choice([label for label in range(len(CLASSES)) if label not in (NEUTRAL, wanted)]))
    turn = float(rng.uniform(0.45, 0.62)) * length
    quick = 0.12 * length
    return (
        Episode(wanted, 0.5 * begin * length, turn - quick, onset, quick),
        Episode(second, turn + quick, finish * length - 1, quick, offset),
    )


def _span(rng: np.random.Generator, length: int, keep: int, share: float) -> slice:
    """Return a run of frames at the start or end of some clips, without the frame ``keep``."""
    if rng.random() >= min(1.0, 3.0 * share):
        return slice(0, 0)
    size = round(length * float(rng.uniform(0.15, 0.5)))
    if rng.random() < 0.5:
        return slice(0, min(size, keep))
    return slice(max(length - size, keep + 1), length)


def _dropped(rng: np.random.Generator, length: int, share: float) -> np.ndarray:
    """Return single frames and some bursts: a face detector often fails on several frames in a row."""
    dropped = rng.random(length) < 0.5 * share
    if rng.random() < min(1.0, 0.5 * share * length / 4.0):
        start = int(rng.integers(length))
        dropped[start : start + int(rng.integers(2, 7))] = True
    return dropped
