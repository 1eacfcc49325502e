"""The frames of each clip, and the input of its smoother."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_faces import Dots, frame_of, place
from toy_videos import write_video

from fusionkit.contracts import FrameTable
from fusionkit.media.align import align
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import DetectionOptions, FaceTracker
from fusionkit.media.inputs import MediaInput, find_inputs, join_numbered_images
from fusionkit.media.video import MediaFrame
from fusionkit.predict.video.result import FaceRow, VideoResult, clip_predictions

IMAGE = np.zeros((2, 2, 3), np.uint8)


def result_of(frames: int, faces: list[tuple[int, int, float]]) -> VideoResult:
    """``faces``: frame, track, and the first of two output values; NaN: a face without a view."""
    found = VideoResult(MediaInput(Path("v.mp4"), "v.mp4", "v", True), ())
    for number in range(1, frames + 1):
        found.add_frame(MediaFrame(number, number / 10, IMAGE))
    for frame, track, value in faces:
        row = FaceRow(frame, track, np.zeros(4), np.eye(2, 3))
        found.add_face(row, {}, [np.array([value, 1 - value], np.float32)])
    return found


def as_given(table: FrameTable, evidence: list[np.ndarray]) -> np.ndarray:
    """Record frame numbers; return one half for missing rows."""
    as_given.tables.append(table.number.tolist())  # type: ignore[attr-defined]
    return np.nan_to_num(evidence[0].astype(float), nan=0.5)


@pytest.fixture(autouse=True)
def no_tables() -> None:
    as_given.tables = []  # type: ignore[attr-defined]


def test_a_single_clip_has_a_row_for_every_frame() -> None:
    (clip,) = clip_predictions(result_of(5, [(1, 0, 0.25), (3, 2, 0.75)]), {0: "", 2: ""}, 2, as_given)
    assert (clip.clip, clip.frames.tolist(), clip.faces.tolist()) == ("v", [0, 1, 2, 3, 4], [-1, 0, -1, 1, -1])
    assert clip.seen.tolist() == [False, True, False, True, False]
    assert clip.probs[:, 0].tolist() == [0.5, 0.25, 0.5, 0.75, 0.5]
    assert as_given.tables == [[1, 2, 3, 4, 5]]  # type: ignore[attr-defined]


def test_faces_of_dropped_tracks_are_ignored() -> None:
    (clip,) = clip_predictions(result_of(3, [(0, 0, 0.25), (1, 1, 0.5), (2, 0, 0.75)]), {0: ""}, 2, as_given)
    assert clip.faces.tolist() == [0, -1, 2]


def test_each_of_three_clips_has_its_frames_from_first_to_last_and_the_rest_is_a_clip() -> None:
    faces = [(1, 0, 0.1), (1, 1, 0.2), (1, 2, 0.3), (3, 1, 0.4)]
    found = clip_predictions(result_of(6, faces), {0: "_1", 1: "_2", 2: "_3"}, 2, as_given)
    assert [(clip.clip, clip.frames.tolist()) for clip in found] == [
        ("v_1", [1]),
        ("v_2", [1, 2, 3]),
        ("v_3", [1]),
        ("v", [0, 4, 5]),
    ]
    assert found[1].seen.tolist() == [True, False, True]
    assert np.isnan(found[3].probs).all()
    assert found[3].probs.shape == (3, 2)


def frames_of_people() -> Iterator[np.ndarray]:
    """Three faces, of which one leaves; none; one."""
    three = [place(60, 60, 0.5), place(160, 160, 0.5), place(260, 60, 0.5)]
    yield from [frame_of(*three)] * 8
    yield from [frame_of(*three[:2])] * 7
    yield from [frame_of()] * 6
    yield from [frame_of(three[1])] * 9


@pytest.mark.parametrize("name", ["v.mkv", "v"])
def test_the_share_of_frames_with_a_face_is_that_of_align(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix:
        write_video(path, frames_of_people(), codec="ffv1")
    else:
        path.mkdir()
        for number, image in enumerate(frames_of_people(), 10):
            cv2.imwrite(str(path / f"{number:04d}.png"), image[..., ::-1])
        (path / "0020.png").write_bytes(b"no image")
    (item,) = join_numbered_images(find_inputs([path])[0])
    options = DetectionOptions(Dots(), rotate=0)
    (outcome,) = align([item], options, {}, tmp_path / "out")
    assert outcome.result is not None
    aligned = {clip.clip: clip.frames / outcome.result.frames for clip in outcome.result.clips}
    tracker, found = FaceTracker(options, Clock(), is_photo=False), VideoResult(item, ())
    for frame in item.open().frames():
        at = found.add_frame(frame)
        for face in tracker(frame):
            found.add_face(FaceRow(at, face.track, face.box, face.to_frame), {}, [np.full(2, 0.5, np.float32)])
    predicted = clip_predictions(found, tracker.clip_suffixes(), 2, as_given)
    total, lost = (30, 0) if path.suffix else (29, 1)
    expected = [(15 - lost) / total, (24 - lost) / total, 8 / total]
    assert len(aligned) == 3
    assert sorted(aligned.values()) == pytest.approx(sorted(expected))
    assert {clip.clip: found.coverage(clip) for clip in predicted if clip.seen.any()} == pytest.approx(aligned)


def test_a_clip_without_a_view_has_no_probabilities() -> None:
    (clip,) = clip_predictions(result_of(2, [(0, 0, np.nan), (1, 0, np.nan)]), {0: ""}, 2, as_given)
    assert clip.faces.tolist() == [0, 1]
    assert not clip.seen.any()
    assert np.isnan(clip.probs).all()
    assert as_given.tables == []  # type: ignore[attr-defined]


def test_an_input_without_faces_has_a_row_per_frame() -> None:
    (clip,) = clip_predictions(result_of(3, []), {}, 2, as_given)
    assert (clip.clip, clip.frames.tolist(), clip.faces.tolist()) == ("v", [0, 1, 2], [-1, -1, -1])
