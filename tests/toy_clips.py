"""Clips for the tests of smoothers: probabilities or logits, and frame numbers with gaps."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

Clip = tuple[np.ndarray, np.ndarray]


@st.composite
def probability_clips(draw: st.DrawFn, longest: int = 60, widest_gap: int = 40) -> Clip:
    """Probabilities (T, C), some of them exactly 0, and rising frame numbers with gaps."""
    length, classes = draw(st.integers(1, longest)), draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.05, 1.0]))), size=length)
    x[rng.random(x.shape) < 0.2] = 0.0
    x[x.sum(1) == 0, 0] = 1.0
    return x / x.sum(1, keepdims=True), draw(frame_numbers(length, widest_gap))


@st.composite
def logit_clips(draw: st.DrawFn, longest: int = 60, widest_gap: int = 40) -> Clip:
    """Logits (T, C), small or large, and rising frame numbers with gaps."""
    length, classes = draw(st.integers(1, longest)), draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.normal(scale=draw(st.sampled_from([1.0, 30.0])), size=(length, classes)), draw(
        frame_numbers(length, widest_gap)
    )


@st.composite
def frame_numbers(draw: st.DrawFn, length: int, widest_gap: int) -> np.ndarray:
    """(T,) rising: each step another, or all steps alike but for a few."""
    steps = st.integers(1, widest_gap)
    usual = draw(st.one_of(st.none(), steps))
    if usual is None:
        gaps = draw(st.lists(steps, min_size=length, max_size=length))
    else:
        gaps = [usual] * length
        for place in draw(st.lists(st.integers(0, length - 1), max_size=3)):
            gaps[place] = draw(steps)
    return np.cumsum(gaps)


def sticky_clips(count: int, frames: int, classes: int, seed: int) -> tuple[list[Clip], list[np.ndarray]]:
    """Logits of clips whose class lasts, seen through noise, and the classes: something that smoothing helps."""
    rng = np.random.default_rng(seed)
    clips, labels = [], []
    for _ in range(count):
        lasting = np.repeat(rng.integers(0, classes, frames // 20 + 1), 20)[:frames]
        logits = rng.normal(size=(frames, classes))
        logits[np.arange(frames), lasting] += 1.0
        clips.append((logits, np.arange(frames)))
        labels.append(lasting)
    return clips, labels
