"""Checks of smoothers: gaps, shifts of frame numbers, and who may look ahead."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.smoother import Smoother
from fusionkit.testing.check import Skipped, Suite
from fusionkit.testing.comparison import is_close, require_close
from fusionkit.testing.smoother_clips import frame_numbers, ready, values
from fusionkit.testing.subject import Subject

CHECKS = Suite()
_LENGTH = 24


@CHECKS.check
def gaps_in_frame_numbers(subject: Subject) -> None:
    """Frame numbers may leave gaps, short and very long ones."""
    smoother = ready(subject)
    numbers = frame_numbers(_LENGTH, gaps=True)
    smoother(values(smoother, _LENGTH), numbers)
    smoother(values(smoother, _LENGTH), np.where(np.arange(_LENGTH) < 12, numbers, numbers + 1_000_000))


@CHECKS.check
def shift_of_frame_numbers(subject: Subject) -> None:
    """Where a clip was cut out of its video does not matter: only distances between frame numbers do."""
    smoother = ready(subject)
    x, numbers = values(smoother, _LENGTH), frame_numbers(_LENGTH, gaps=True)
    for shift in (-1, 5000):
        moved = smoother(x, numbers + shift)
        require_close(moved, smoother(x, numbers), f"frame numbers moved by {shift} change the result", atol=1e-8)


@CHECKS.check
def causal_looks_at_no_later_frame(subject: Subject) -> None:
    """Where ``causal`` is True, what is cut off behind a frame does not change the frame's result."""
    smoother = _causal(subject)
    x, numbers = values(smoother, _LENGTH), frame_numbers(_LENGTH, gaps=True)
    whole = smoother(x, numbers)
    for end in range(1, _LENGTH):
        what = f"causal = True, and the first {end} frames alone are not what they are in the clip"
        require_close(smoother(x[:end], numbers[:end]), whole[:end], what, atol=1e-8)


@CHECKS.check
def frame_by_frame_is_the_clip(subject: Subject) -> None:
    """A causal smoother that gets a clip frame by frame gives what it gives the clip, and so after a reset."""
    smoother = _causal(subject)
    x, numbers = values(smoother, _LENGTH), frame_numbers(_LENGTH, gaps=True)
    whole = smoother(x, numbers)
    if not is_close(smoother(x[:12], numbers[:12]), whole[:12]):
        raise Skipped("causal_looks_at_no_later_frame fails")
    stream = smoother.stream()
    for _ in range(2):
        rows = [stream(row, int(number)) for row, number in zip(x, numbers, strict=True)]
        require_close(np.stack(rows), whole, "frame by frame, the result is not that of the clip", atol=1e-8)
        stream.reset()


@CHECKS.check
def streams_do_not_disturb_each_other(subject: Subject) -> None:
    """Two clips that come frame by frame in turn are smoothed as one after the other."""
    smoother = _causal(subject)
    clips = [(values(smoother, _LENGTH, seed), frame_numbers(_LENGTH, gaps=seed == 1)) for seed in (0, 1)]
    alone = [_streamed(smoother, *clip) for clip in clips]
    streams = [smoother.stream(), smoother.stream()]
    together: list[list[np.ndarray]] = [[], []]
    for index in range(_LENGTH):
        for kept, stream, (x, numbers) in zip(together, streams, clips, strict=True):
            kept.append(stream(x[index], int(numbers[index])))
    for kept, wanted in zip(together, alone, strict=True):
        require_close(np.stack(kept), wanted, "a stream changes another one's result", atol=1e-8)


def _causal(subject: Subject) -> Smoother:
    smoother = ready(subject)
    if not smoother.causal:
        raise Skipped("it looks at later frames")
    return smoother


def _streamed(smoother: Smoother, x: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    stream = smoother.stream()
    return np.stack([stream(row, int(number)) for row, number in zip(x, numbers, strict=True)])
