"""Boxes keep their track while they move, are missed for some frames, and pass each other."""

import numpy as np

from fusionkit.media.face_tracking import BoxTracker


def box(x: float, y: float = 50, size: float = 40) -> np.ndarray:
    return np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], float)


def test_a_moving_face_is_one_track_with_its_runs():
    tracker = BoxTracker(patience=3)
    seen = [1, 2, 3, 6, 7]  # missed in 4 and 5
    for frame in seen:
        assert tracker.follow(frame, [box(100 + 5 * frame)]) == [0]
    (track,) = tracker.tracks
    assert track.runs == [[1, 3], [6, 7]]
    assert (track.first, track.last, track.frames) == (1, 7, 5)
    assert track.x == 100 + 5 * np.mean(seen)


def test_a_face_that_is_missed_for_longer_than_the_patience_is_a_new_track():
    tracker = BoxTracker(patience=3)
    assert tracker.follow(1, [box(100)]) == [0]
    assert tracker.follow(4, [box(100)]) == [0]
    assert tracker.follow(8, [box(100)]) == [1]


def test_two_faces_keep_their_tracks_in_any_order_of_detection():
    tracker = BoxTracker()
    assert tracker.follow(1, [box(50), box(150)]) == [0, 1]
    assert tracker.follow(2, [box(152), box(53)]) == [1, 0]
    assert tracker.follow(3, [box(155)]) == [1]
    assert tracker.follow(4, [box(58), box(158)]) == [0, 1]


def test_the_best_overlap_continues_a_track_and_only_once():
    tracker = BoxTracker()
    tracker.follow(1, [box(100)])
    assert tracker.follow(2, [box(110), box(101)]) == [1, 0]


def test_a_small_fast_face_is_followed_by_distance_up_to_a_limit():
    tracker = BoxTracker()
    tracker.follow(1, [box(100, size=20)])
    assert tracker.follow(2, [box(109, size=20)]) == [0]
    assert tracker.follow(3, [box(150, size=20)]) == [1]


def test_a_face_of_a_very_different_size_is_a_new_track():
    tracker = BoxTracker()
    tracker.follow(1, [box(100, size=20)])
    assert tracker.follow(2, [box(100, size=80)]) == [1]


def test_a_frame_without_faces_does_not_end_a_track():
    tracker = BoxTracker()
    tracker.follow(1, [box(100)])
    assert tracker.follow(2, []) == []
    assert tracker.follow(3, [box(100)]) == [0]
