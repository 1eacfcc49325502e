"""Perturbations: which frames are permuted, and which lose a view, by plain counting."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.contracts import FrameTable
from fusionkit.engine.perturb import (
    PATTERNS,
    Blank,
    Intact,
    Missing,
    Occlusion,
    Pattern,
    Shuffle,
    Shuffled,
    Without,
    Zero,
)


def table_of(lengths: list[int], subjects: int = 3) -> FrameTable:
    clip = [f"c{index:02d}" for index, length in enumerate(lengths) for _ in range(length)]
    number = [n for length in lengths for n in range(length)]
    subject = [f"s{index % subjects}" for index, length in enumerate(lengths) for _ in range(length)]
    return FrameTable.of(clip, number, [-1] * len(clip), subject=subject)


def lost(
    table: FrameTable, level: float, pattern: Pattern, draw: int = 0, views: tuple[str, ...] = ("a",)
) -> np.ndarray:
    found = Occlusion(views, level, pattern, 7, draw).views(table, {})
    assert set(found) == set(views)
    views = list(found.values())
    assert all(isinstance(each, Missing) for each in views)
    frames = [each.frames for each in views if isinstance(each, Missing)]
    assert all(np.array_equal(frames[0], each) for each in frames)
    return frames[0]


def test_a_shuffle_moves_only_frames_that_have_the_view() -> None:
    present = {"a": np.array([True, False, True, True, True, False]), "b": np.ones(6, bool)}
    sources = []
    for draw in range(20):
        found = Shuffle("a", 3, draw).views(table_of([6]), present)
        assert set(found) == {"a"}
        change = found["a"]
        assert isinstance(change, Shuffled)
        assert change.source[[1, 5]].tolist() == [1, 5]
        assert sorted(change.source.tolist()) == list(range(6))
        sources.append(tuple(change.source.tolist()))
    assert len(set(sources)) > 10
    again = Shuffle("a", 3, 0).views(table_of([6]), present)["a"]
    assert isinstance(again, Shuffled)
    assert tuple(again.source.tolist()) == sources[0]


def test_intact_zero_and_without() -> None:
    table = table_of([4])
    assert Intact().views(table, {}) == {}
    assert isinstance(Zero("b").views(table, {})["b"], Blank)
    assert {name: each.frames.all() for name, each in Without(("a", "b")).views(table, {}).items()} == {  # type: ignore[attr-defined]
        "a": True,
        "b": True,
    }


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    level=st.sampled_from([0.25, 0.5, 0.75]),
    draw=st.integers(0, 5),
)
def test_the_fraction_is_met_as_nearly_as_the_pattern_allows(lengths: list[int], level: float, draw: int) -> None:
    table = table_of(lengths)
    n = sum(lengths)
    assert lost(table, level, "frame", draw).sum() == round(level * n)
    by_clip = np.split(lost(table, level, "run", draw), np.cumsum(lengths)[:-1])
    for own, length in zip(by_clip, lengths, strict=True):
        assert abs(own.sum() - level * length) < 1
        assert np.abs(np.diff(own.astype(int))).sum() + own[0] + own[-1] in (0, 2)  # one run, or none
    units = lost(table, level, "unit", draw)
    for unit in np.unique(table.unit):
        assert units[table.unit == unit].all() or not units[table.unit == unit].any()
    sizes = [int((table.unit == unit).sum()) for unit in np.unique(table.unit)]
    assert abs(units.sum() - level * n) <= max(sizes) / 2


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_level_loses_nothing_and_the_full_one_everything(pattern: Pattern) -> None:
    table = table_of([1, 4, 7, 2])
    for draw in range(5):
        assert not lost(table, 0.0, pattern, draw).any()
        assert lost(table, 1.0, pattern, draw).all()


@pytest.mark.parametrize("pattern", ["frame", "unit"])
def test_what_is_lost_stays_lost_at_higher_levels(pattern: Pattern) -> None:
    table = table_of([3, 5, 2, 8, 1, 6], subjects=6)
    levels = [lost(table, level, pattern, 2) for level in (0.25, 0.5, 0.75)]
    assert all((lower <= higher).all() for lower, higher in pairwise(levels))
    assert levels[0].sum() < levels[2].sum()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_draws_differ_and_do_not_depend_on_the_view(pattern: Pattern) -> None:
    table = table_of([5] * 20, subjects=20)
    assert len({lost(table, 0.5, pattern, draw).tobytes() for draw in range(8)}) > 4
    np.testing.assert_array_equal(lost(table, 0.5, pattern, 1, ("a",)), lost(table, 0.5, pattern, 1, ("x", "y")))


def test_runs_of_still_images_come_to_the_fraction_on_average() -> None:
    table = table_of([1] * 400)
    shares = [lost(table, 0.25, "run", draw).mean() for draw in range(20)]
    assert np.mean(shares) == pytest.approx(0.25, abs=0.02)
