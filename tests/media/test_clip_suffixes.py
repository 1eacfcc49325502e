"""Suffixes of clip names: none, left and right, or numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.media.face_tracking import Track, clip_suffixes


def track(number: int, first: int, last: int, x: float = 100) -> Track:
    made = Track(number, np.zeros(4), [[first, last]], frames=last - first + 1)
    made.x = np.float64(x)  # as a mean of NumPy's numbers is
    return made


def test_one_track_at_a_time_is_one_clip_also_after_a_cut():
    assert clip_suffixes([track(0, 1, 50), track(1, 51, 90, 300), track(2, 100, 120)], 5) == {0: "", 1: "", 2: ""}


def test_no_track_gives_no_clip():
    assert clip_suffixes([], 5) == {}


def test_short_tracks_are_dropped_unless_all_are_short():
    assert clip_suffixes([track(0, 1, 50), track(1, 20, 22, 300)], 5) == {0: ""}
    assert clip_suffixes([track(0, 1, 2), track(1, 9, 9)], 5) == {0: "", 1: ""}


def test_of_two_tracks_the_smaller_mean_x_is_left():
    assert clip_suffixes([track(0, 1, 50, 300), track(1, 10, 40, 80)], 5) == {0: "_right", 1: "_left"}


def test_a_track_alone_gets_the_nearer_side():
    tracks = [track(0, 1, 50, 80), track(1, 1, 50, 300), track(2, 60, 90, 280), track(3, 95, 120, 100)]
    assert clip_suffixes(tracks, 5) == {0: "_left", 1: "_right", 2: "_right", 3: "_left"}


def test_a_later_track_gets_the_side_that_is_free():
    tracks = [track(0, 1, 100, 80), track(1, 1, 40, 300), track(2, 45, 100, 310)]
    assert clip_suffixes(tracks, 5) == {0: "_left", 1: "_right", 2: "_right"}


def test_three_tracks_at_a_time_are_numbered_by_appearance_then_from_the_left():
    tracks = [track(0, 1, 50, 300), track(1, 1, 50, 80), track(2, 20, 60, 10), track(3, 70, 99, 200)]
    assert clip_suffixes(tracks, 5) == {1: "_1", 0: "_2", 2: "_3", 3: "_4"}


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30), st.floats(0, 500)), max_size=12))
def test_no_two_tracks_of_one_clip_share_a_frame(drawn):
    tracks = [track(number, first, first + length, x) for number, (first, length, x) in enumerate(drawn)]
    suffixes = clip_suffixes(tracks, 1)
    assert suffixes.keys() == {one.number for one in tracks}
    for one in tracks:
        for other in tracks[one.number + 1 :]:
            if suffixes[one.number] == suffixes[other.number]:
                assert one.last < other.first or other.last < one.first
