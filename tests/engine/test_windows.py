"""Windows hold frames of one clip, predict each frame once and with context, and a stream uses the same ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.engine.features import clip_edges
from fusionkit.engine.windows import (
    context,
    described,
    prediction_windows,
    rows_of,
    streamed_start,
    training_windows,
    used,
    window_batches,
)

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)
SIZES = st.integers(1, 12)


def edges_of(lengths: list[int]) -> list[int]:
    return [0, *np.cumsum(lengths).tolist()]


@settings(max_examples=examples(100), deadline=None)
@given(LENGTHS, SIZES, st.booleans())
def test_each_frame_is_predicted_once_in_its_clip_with_its_context(lengths: list[int], size: int, causal: bool) -> None:
    edges = edges_of(lengths)
    clip = np.repeat(np.arange(len(lengths)), lengths)
    before, after = context(size, causal=causal)
    windows = prediction_windows(edges, size, causal=causal)
    predicted: list[int] = []
    for window in windows:
        assert 1 <= len(window) <= size
        assert window.start <= window.first < window.last <= window.stop
        (own,) = set(clip[window.start : window.stop].tolist())
        for row in range(window.first, window.last):
            assert row - window.start >= min(before, row - edges[own])
            assert window.stop - 1 - row >= min(after, edges[own + 1] - 1 - row)
            predicted.append(row)
    assert predicted == list(range(edges[-1]))
    assert clip_edges(clip).tolist() == edges


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(1, 60), SIZES)
def test_a_stream_predicts_each_frame_in_the_window_of_the_whole_clip(length: int, size: int) -> None:
    for window in prediction_windows([0, length], size, causal=True):
        for row in range(window.first, window.last):
            assert streamed_start(row, size) == window.start


@settings(max_examples=examples(100), deadline=None)
@given(LENGTHS, SIZES, st.integers(1, 30))
def test_training_windows_hold_each_frame_once_in_batches(lengths: list[int], size: int, frames: int) -> None:
    edges = edges_of(lengths)
    windows = training_windows(edges, size, torch.Generator().manual_seed(len(lengths)))
    assert sorted(rows_of(windows).tolist()) == list(range(edges[-1]))
    for window in windows:
        assert 1 <= len(window) <= size
        assert any(first <= window.start and window.stop <= end for first, end in pairwise(edges))
    # A clip that fits is one window.
    assert sum(len(window) == length <= size for window in windows for length in lengths) >= sum(
        length <= size for length in lengths
    )
    batches = list(window_batches(windows, frames))
    assert [window for batch in batches for window in batch] == windows
    assert all(sum(map(len, batch[:-1])) < frames for batch in batches)
    assert all(sum(map(len, batch)) >= frames for batch in batches[:-1])


def test_training_windows_of_a_long_clip_start_anywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    starts = {window.start for _ in range(60) for window in training_windows([0, 20], 4, generator)}
    assert starts == set(range(20))


def test_windows_as_a_fusion_gets_them() -> None:
    windows = prediction_windows([0, 6, 7], 4, causal=True)
    assert [(w.start, w.stop, w.first, w.last) for w in windows] == [(0, 4, 0, 4), (2, 6, 4, 6), (6, 7, 6, 7)]
    rows = rows_of(windows)
    assert rows.tolist() == [0, 1, 2, 3, 2, 3, 4, 5, 6]
    assert used(windows).tolist() == [True] * 4 + [False] * 2 + [True] * 3
    found = described(windows, 10 * rows)
    assert found.index.tolist() == [0] * 4 + [1] * 4 + [2]
    assert found.number.tolist() == [0, 10, 20, 30, 20, 30, 40, 50, 60]
    index, position, shape = found.places()
    assert (index.tolist(), position.tolist(), shape) == ([0] * 4 + [1] * 4 + [2], [0, 1, 2, 3, 0, 1, 2, 3, 0], (3, 4))
