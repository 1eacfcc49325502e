"""Motion in one synthetic clip: intensities of the facial actions and the pose of the head, frame by frame."""

from __future__ import annotations

import numpy as np

from fusionkit_synthetic.action import COLUMN, UNITS, Pose
from fusionkit_synthetic.expression import CLASSES, draw_expression
from fusionkit_synthetic.identity import Identity
from fusionkit_synthetic.script import Script


def wander(rng: np.random.Generator, length: int, pace: float) -> np.ndarray:
    """Return (T,) a smooth random walk of about unit size that turns about every ``pace`` frames."""
    knots = int(np.ceil(length / pace)) + 3
    values = rng.normal(0.0, 1.0, knots)
    t = np.arange(length) / pace + float(rng.random())
    left = t.astype(np.int64)
    share = t - left
    ease = share * share * (3 - 2 * share)
    path: np.ndarray = values[left] * (1 - ease) + values[left + 1] * ease
    return path


def draw_actions(
    rng: np.random.Generator, person: Identity, script: Script, habit: np.ndarray, blur: float
) -> np.ndarray:
    """Draw the intensities (T, 2, A) of one clip, 0..1: :func:`draw_expressive`, speech and blinks."""
    total = draw_expressive(rng, person, script, habit, blur)
    _speak(rng, total, blur)
    _blink(rng, total)
    bounded: np.ndarray = np.clip(total, 0.0, 1.0)
    return bounded


def draw_expressive(
    rng: np.random.Generator, person: Identity, script: Script, habit: np.ndarray, blur: float
) -> np.ndarray:
    """Draw the intensities (T, 2, A) of one clip, 0 or more: habit and expressions, without speech and blinks.

    Args:
        rng: random numbers.
        person: the person.
        script: expressions of the clip.
        habit: (A,) intensities of this person at rest.
        blur: 0..1; weakness and mixture of expressions.
    """
    length = script.length
    total = np.broadcast_to(habit, (length, 2, len(UNITS))).copy()
    drift = np.stack([wander(rng, length, 9.0) for _ in range(4)], 1)
    for column, unit in enumerate((4, 7, 12, 17)):
        total[:, :, COLUMN[unit]] += np.clip(0.07 * drift[:, column], 0, None)[:, None]
    rest = draw_expression(rng, "Neutral", 1.0, 0.5 * blur)
    total += rest
    for episode in script.episodes:
        apex = draw_expression(rng, CLASSES[episode.label], person.expressivity, blur)
        tremor = 1 + 0.09 * wander(rng, length, 3.5)
        share = episode.envelope(length) * tremor
        total = np.maximum(total * (1 - 0.6 * np.clip(share, 0, 1)[:, None, None]), share[:, None, None] * apex)
    return total


def draw_habit(rng: np.random.Generator, blur: float) -> np.ndarray:
    """Draw (A,) intensities at rest: some persons look stern, some sad, some amused."""
    habit = np.zeros(len(UNITS))
    for unit in rng.choice([1, 2, 4, 7, 12, 15, 17, 23], size=2, replace=False).tolist():
        habit[COLUMN[unit]] = 0.3 * blur * float(rng.random())
    return habit


def draw_poses(rng: np.random.Generator, length: int, unrest: float) -> list[Pose]:
    """Draw the pose in every frame of one clip: slow movement of the head, plus the jitter of a face aligner."""
    slow = np.stack([wander(rng, length, 8.0) for _ in range(8)], 1)
    base = rng.normal(0.0, 1.0, 8)
    jitter = rng.normal(0.0, 1.0, (length, 4)) * unrest
    path = 0.6 * slow + 0.7 * base
    gaze = np.clip(0.45 * path[:, 6:8], -1, 1)
    return [
        Pose(
            yaw=float(np.clip(0.9 * unrest * p[0], -1.6, 1.6)),
            pitch=float(np.clip(0.7 * unrest * p[1], -1.4, 1.4)),
            gaze=(float(g[0]), float(g[1])),
            shift=(float(1.2 * unrest * p[2] + 1.2 * j[0]), float(1.2 * unrest * p[3] + 1.2 * j[1])),
            turn=float(2.4 * unrest * p[4] + 1.7 * j[2]),
            zoom=float(1.0 + 0.022 * unrest * p[5] + 0.014 * j[3]),
        )
        for p, g, j in zip(path, gaze, jitter, strict=True)
    ]


def _speak(rng: np.random.Generator, total: np.ndarray, blur: float) -> None:
    """Add speech to some clips: lips and jaw move at the rate of syllables."""
    if rng.random() >= 0.6 * blur + 0.05:
        return
    length = len(total)
    talks = np.clip(0.5 + 1.2 * wander(rng, length, 7.0), 0, 1)
    jaw = np.clip(0.35 + 0.35 * wander(rng, length, 1.6), 0, 1) * talks
    total[:, :, COLUMN[25]] = np.maximum(total[:, :, COLUMN[25]], 0.6 * jaw[:, None])
    total[:, :, COLUMN[26]] = np.maximum(total[:, :, COLUMN[26]], 0.45 * jaw[:, None])
    rounded = np.clip(wander(rng, length, 2.5), 0, 1) * talks
    total[:, :, COLUMN[18]] += 0.3 * rounded[:, None]


def _blink(rng: np.random.Generator, total: np.ndarray) -> None:
    """Add blinks of two frames, about every 25 frames."""
    starts = np.flatnonzero(rng.random(len(total)) < 0.04)
    total[starts, :, COLUMN[43]] = np.maximum(total[starts, :, COLUMN[43]], 0.95)
    after = starts[starts + 1 < len(total)] + 1
    total[after, :, COLUMN[43]] = np.maximum(total[after, :, COLUMN[43]], 0.5)
