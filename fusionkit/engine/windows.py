"""Windows: the neighbouring frames of a clip that a fusion over time gets together, in training and in prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fusionkit.contracts.fusion import Windows

PREDICTED = 1024  # frames per batch of windows where nothing is trained


@dataclass(frozen=True)
class Window:
    """Neighbouring frames of a clip, as a range of rows.

    Attributes:
        start: first row.
        stop: after the last row.
        first: first row whose output is used; the rows before it are context.
        last: after the last row whose output is used.
    """

    start: int
    stop: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.stop - self.start


def context(size: int, *, causal: bool) -> tuple[int, int]:
    """Return the least number of frames before and after a predicted frame, as far as the clip has them.

    Args:
        size: of a window, in frames.
        causal: whether frames after it are not needed.
    """
    if causal:
        return size // 2, 0
    each = max(size // 4, 1) if size > 2 else 0
    return each, each


def prediction_windows(edges: Sequence[int], size: int, *, causal: bool) -> list[Window]:
    """Return overlapping windows in which each row is predicted once.

    Args:
        edges: first row of each clip, and the number of rows.
        size: largest number of rows of a window.
        causal: see :func:`context`.
    """
    before, after = context(size, causal=causal)
    found = []
    for first, end in pairwise(edges):
        for start in range(first, end, size - before - after):
            stop = min(start + size, end)
            found.append(
                Window(start, stop, start if start == first else start + before, stop if stop == end else stop - after)
            )
            if stop == end:
                break
    return found


def streamed_start(last: int, size: int) -> int:
    """Return the first frame of the window in which a causal fusion predicts a frame, as :func:`prediction_windows`.

    Args:
        last: the frame to predict; frames of the clip count from 0.
        size: largest number of frames of a window.
    """
    step = size - context(size, causal=True)[0]
    return -(-max(last - size + 1, 0) // step) * step


def training_windows(edges: Sequence[int], size: int, generator: torch.Generator) -> list[Window]:
    """Return windows that together hold each row once, in random order.

    A clip longer than a window is cut at a random row, and from there after every ``size`` rows.

    Args:
        edges: first row of each clip, and the number of rows.
        size: largest number of rows of a window.
        generator: of the random draws.
    """
    import torch

    found = []
    offsets = torch.randint(1, size + 1, (len(edges) - 1,), generator=generator).tolist()
    for (first, end), offset in zip(pairwise(edges), offsets, strict=True):
        cuts = [first, *range(first + offset, end, size), end] if end - first > size else [first, end]
        found += [Window(start, stop, start, stop) for start, stop in pairwise(cuts)]
    return [found[index] for index in torch.randperm(len(found), generator=generator).tolist()]


def window_batches(windows: Sequence[Window], frames: int) -> Iterator[list[Window]]:
    """Yield the windows in order, in batches of about ``frames`` rows; a window is not divided."""
    batch: list[Window] = []
    count = 0
    for window in windows:
        batch.append(window)
        count += len(window)
        if count >= frames:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def rows_of(windows: Sequence[Window]) -> Tensor:
    """Return the rows of all windows, one after the other: (N,) int64."""
    import torch

    return torch.cat([torch.arange(window.start, window.stop) for window in windows])


def used(windows: Sequence[Window]) -> Tensor:
    """Return which of the rows of all windows are no context: (N,) bool."""
    import torch

    flags = torch.zeros(sum(map(len, windows)), dtype=torch.bool)
    offset = 0
    for window in windows:
        flags[offset + window.first - window.start : offset + window.last - window.start] = True
        offset += len(window)
    return flags


def described(windows: Sequence[Window], number: Tensor) -> Windows:
    """Return the windows as a fusion gets them; ``number`` is (N,), of :func:`rows_of`."""
    import torch

    from fusionkit.contracts.fusion import Windows

    lengths = torch.tensor([len(window) for window in windows])
    return Windows(torch.arange(len(windows)).repeat_interleave(lengths), number)
