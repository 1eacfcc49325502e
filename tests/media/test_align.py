"""Aligned faces of photos and videos: every frame is counted, faces are told apart, interrupted runs are resumed."""

from __future__ import annotations

import csv
import errno
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_faces import Dots, frame_of, moved, place
from toy_videos import turn, write_video

from fusionkit.contracts import Face
from fusionkit.contracts.extractor import TEMPLATE
from fusionkit.errors import ConfigError, StorageError
from fusionkit.media.align import AlignOutcome, align, check_output
from fusionkit.media.coverage import write_coverage
from fusionkit.media.face_tracking import NO_FACE_HINT, DetectionOptions
from fusionkit.media.inputs import find_inputs, join_numbered_images
from fusionkit.media.video import Video
from fusionkit_faces.template import Template

OPTIONS = DetectionOptions(Dots(), rotate=0)
IDENTITY = {"name": "dots"}
EMPTY = np.full((240, 320, 3), 128, np.uint8)


def run(
    source: Path, out: Path, options: DetectionOptions = OPTIONS, detector: Dots | None = None
) -> dict[str, AlignOutcome]:
    found, _ = find_inputs([source])
    options = replace(options, detector=detector or Dots())
    found = join_numbered_images(found)
    return {outcome.name: outcome for outcome in align(found, options, IDENTITY, out)}


def clips(out: Path) -> dict[str, list[int]]:
    """Frame numbers of each folder of crops."""
    place = out / "cropped_aligned"
    found: dict[str, list[int]] = {}
    for path in sorted(place.rglob("*.jpg")):
        found.setdefault(path.parent.relative_to(place).as_posix(), []).append(int(path.stem))
    return found


def photo(path: Path) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, frame_of(place(160, 120))[..., ::-1])[1].tobytes())
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def story() -> Iterable[np.ndarray]:
    """One face; none; two; one after a cut, elsewhere."""
    yield from (frame_of(place(80 + n, 120, 0.8, 2 * n)) for n in range(8))
    yield from [EMPTY] * 4
    yield from (frame_of(place(80 + n, 120, 0.8), place(240 - n, 110, 0.7)) for n in range(8))
    yield from (frame_of(place(240, 130, 0.8, -20)) for _ in range(6))


def test_every_frame_of_a_video_is_counted(tmp_path: Path):
    video = write_video(tmp_path / "story.mkv", story(), codec="ffv1")
    outcome = run(video, tmp_path / "out")["story"]
    assert outcome.faults == []
    result = outcome.result
    assert result is not None
    assert (result.frames, result.faces, result.dropped) == (26, 8 + 16 + 6, 0)
    assert clips(tmp_path / "out") == {
        "story_left": [*range(1, 9), *range(13, 21)],
        "story_right": [*range(13, 21), *range(21, 27)],
    }
    assert {clip.clip: clip.frames for clip in result.clips} == {"story_left": 16, "story_right": 14}
    assert result.clips[0].runs == [[1, 8], [13, 20]]
    assert result.seconds == pytest.approx(25 / 25, abs=0.01)
    assert result.rate == pytest.approx(25)


def extracted(folder: Path) -> Path:
    """A clip of CK+ style: images 10 to 29 with a face, of which 14 has none, 17 is damaged and 20 is missing."""
    folder.mkdir(parents=True)
    for number in range(10, 30):
        image = EMPTY if number == 14 else frame_of(place(100 + number, 120))
        cv2.imwrite(str(folder / f"{number:08d}.png"), image[..., ::-1])
    (folder / f"{17:08d}.png").write_bytes(b"no image")
    (folder / f"{20:08d}.png").unlink()
    return folder


def test_extracted_frames_are_one_clip_with_their_numbers(tmp_path: Path):
    folder = extracted(tmp_path / "in/S130/012")
    outcome = run(tmp_path / "in", tmp_path / "out")["S130_012"]
    numbers = [number for number in range(10, 30) if number not in {14, 17, 20}]
    assert clips(tmp_path / "out") == {"S130/012": numbers}
    assert outcome.result is not None
    result = outcome.result
    assert (result.frames, result.clips[0].frames, result.first, result.end) == (18, 17, 10, 29)
    (fault,) = outcome.faults
    assert fault.startswith(f"{folder}: 1 of 19 images cannot be read")
    write_coverage([outcome], tmp_path / "out")
    with (tmp_path / "out/coverage.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["frames_read"], row["coverage"], row["first"], row["longest_gap"]) == ("18", "0.9444", "10", "1")
    assert run(tmp_path / "in", tmp_path / "out")["S130_012"].reused
    cv2.imwrite(str(folder / f"{14:08d}.png"), frame_of(place(114, 120))[..., ::-1])
    assert not run(tmp_path / "in", tmp_path / "out")["S130_012"].reused
    assert 14 in clips(tmp_path / "out")["S130/012"]


def test_an_image_that_gets_no_crop_since_its_face_is_in_few_is_told(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(20):
        at = place(60, 60, 0.6) if number in {12, 13} else place(240, 160, 0.9)
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame_of(at)[..., ::-1])
    outcome = run(folder, tmp_path / "out")["in"]
    assert clips(tmp_path / "out") == {"in": [number for number in range(20) if number not in {12, 13}]}
    told = "2 of 20 images have faces, but in too few images for a clip, and get no crop; the first is number 12"
    assert outcome.faults == [f"{folder}: {told} (--min-frames 1 keeps them)"]
    outcome = run(folder, tmp_path / "all", replace(OPTIONS, min_frames=1))["in"]
    assert outcome.faults == []
    assert sum(map(len, clips(tmp_path / "all").values())) == 20


def test_crops_are_faces_on_the_template(tmp_path: Path):
    video = write_video(
        tmp_path / "a.mkv", [frame_of(place(90, 100, 0.8, 6 * n - 30)) for n in range(10)], codec="ffv1"
    )
    run(video, tmp_path / "out")
    expected = frame_of(place(55.5, 60), height=112, width=112)
    for number in range(1, 11):
        crop = cv2.imread(str(tmp_path / f"out/cropped_aligned/a/{number:05d}.jpg"))[..., ::-1]
        assert np.abs(crop[10:-10, 10:-10].astype(int) - expected[10:-10, 10:-10]).mean() < 7
        (face,) = Dots().detect(np.ascontiguousarray(crop))
        np.testing.assert_allclose(face.points, TEMPLATE, atol=1.5)


def test_the_position_of_each_face_is_reported(tmp_path: Path):
    times = [0.0, 0.04, 0.5, 0.54, 1.9, 2.0]
    video = write_video(tmp_path / "a.mkv", [frame_of(place(90 + n, 100)) for n in range(6)], codec="ffv1", times=times)
    run(video, tmp_path / "out")
    with (tmp_path / "out/align/a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["clip"], int(row["frame"])) for row in rows] == [("a", n) for n in range(1, 7)]
    np.testing.assert_allclose([float(row["seconds"]) for row in rows], times, atol=0.001)
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    for n, row in enumerate(rows):
        points = [[float(row[f"{name}_{axis}"]) for axis in "xy"] for name in names]
        np.testing.assert_allclose(points, moved(TEMPLATE, place(90 + n, 100)), atol=0.6)


def test_a_video_that_was_taken_upright_is_aligned_as_it_is_shown(tmp_path: Path):
    frames = [np.rot90(frame_of(place(160, 120)), 1)] * 6  # as a phone stores a frame that is to be rotated clockwise
    video = turn(write_video(tmp_path / "a.mp4", map(np.ascontiguousarray, frames)), 90)
    outcome = run(video, tmp_path / "out")["a"]
    assert outcome.result is not None
    crop = cv2.imread(str(tmp_path / "out/cropped_aligned/a/00003.jpg"))[..., ::-1]
    (face,) = Dots().detect(np.ascontiguousarray(crop))
    np.testing.assert_allclose(face.points, TEMPLATE, atol=2)
    assert next(Video(video).frames()).image.shape == (240, 320, 3)


def test_folders_of_the_inputs_stay_and_photos_are_clips_of_one_frame(tmp_path: Path):
    for name in ("train/glad/one photo.png", "train/sad/ünï.jpg", "val/glad/three.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(path)
    run(tmp_path / "photos", tmp_path / "out")
    assert clips(tmp_path / "out") == {
        "train/glad/one photo": [1], "train/sad/ünï": [1], "val/glad/three": [1],
    }  # fmt: skip


@pytest.mark.parametrize(("people", "x"), [("left", 80), ("right", 240), ("largest", 240), ("central", 150)])
def test_one_of_several_faces_can_be_chosen(tmp_path: Path, people, x: int):
    frame = frame_of(place(80, 60, 0.5), place(150, 130, 0.4), place(240, 120, 0.7))
    video = write_video(tmp_path / "a.mkv", [frame] * 6, codec="ffv1")
    run(video, tmp_path / "out", replace(OPTIONS, people=people))
    assert clips(tmp_path / "out") == {"a": [1, 2, 3, 4, 5, 6]}
    with (tmp_path / "out/align/a.csv").open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert (float(row["left"]) + float(row["right"])) / 2 == pytest.approx(x, abs=6)


def test_more_than_two_faces_are_numbered_and_a_short_track_is_dropped(tmp_path: Path):
    three = [place(80, 60, 0.5), place(160, 180, 0.5), place(240, 60, 0.5)]
    frames = [frame_of(*three)] * 6 + [frame_of(*three, place(60, 190, 0.4))] * 2
    outcome = run(write_video(tmp_path / "a.mkv", frames, codec="ffv1"), tmp_path / "out")["a"]
    assert clips(tmp_path / "out") == {f"a_{place}": list(range(1, 9)) for place in (1, 2, 3)}
    assert outcome.result is not None
    assert (outcome.result.faces, outcome.result.dropped) == (26, 2)


def test_the_side_of_crops(tmp_path: Path):
    run(photo(tmp_path / "a.png"), tmp_path / "out", replace(OPTIONS, side=224))
    assert cv2.imread(str(tmp_path / "out/cropped_aligned/a/00001.jpg")).shape == (224, 224, 3)


class Stopping(Dots):
    """Raises, as Ctrl-C does, after a number of frames."""

    def __init__(self, after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        super().__init__()
        self.left, self.error = after, error

    def faces(self, frame: np.ndarray) -> list[Face]:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().faces(frame)


class Counting(Dots):
    """Counts the frames."""

    calls = 0

    def faces(self, frame: np.ndarray) -> list[Face]:
        self.calls += 1
        return super().faces(frame)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 10, 17])
def test_an_interrupted_video_is_resumed_with_the_same_result(tmp_path: Path, after: int):
    video = write_video(tmp_path / "story.mp4", story())
    run(video, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(video, tmp_path / "out", detector=Stopping(after))
    assert clips(tmp_path / "out") == {}
    detector = Counting()
    outcome = run(video, tmp_path / "out", detector=detector)["story"]
    assert not outcome.reused
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    last_with_a_face = after if after <= 8 or after > 12 else 8
    assert detector.calls == 26 - max(last_with_a_face - 1, 0)  # the last frame may have been half done


@pytest.mark.slow
def test_a_line_that_a_killed_process_left_incomplete_is_redone(tmp_path: Path):
    video = write_video(tmp_path / "story.mp4", story())
    run(video, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(video, tmp_path / "out", detector=Stopping(16))
    lines = tmp_path / "out/.partial/story/faces.csv"
    for cut in (3, 200, 0):
        lines.write_bytes(lines.read_bytes()[: -cut or None])
        with pytest.raises(KeyboardInterrupt):
            run(video, tmp_path / "out", detector=Stopping(0))
    run(video, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_with_other_options_is_not_resumed(tmp_path: Path):
    video = write_video(tmp_path / "story.mp4", story())
    with pytest.raises(KeyboardInterrupt):
        run(video, tmp_path / "out", detector=Stopping(16))
    options = replace(OPTIONS, people="left")
    detector = Counting()
    run(video, tmp_path / "out", options, detector)
    assert detector.calls == 26
    run(video, tmp_path / "whole", options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_finished_input_is_reused_until_file_options_or_crops_change(tmp_path: Path):
    video = write_video(tmp_path / "story.mp4", story())
    out = tmp_path / "out"
    assert not run(video, out)["story"].reused
    again = run(video, out, detector=Stopping(0))["story"]
    assert again.reused
    assert again.result is not None
    shutil.rmtree(out / "cropped_aligned/story_left")
    assert not run(video, out)["story"].reused
    write_video(video, [frame_of(place(160, 120))] * 6)
    assert not run(video, out)["story"].reused
    assert clips(out) == {"story": [1, 2, 3, 4, 5, 6]}  # the earlier clips are removed
    assert not run(video, out, replace(OPTIONS, side=56))["story"].reused


def test_a_detector_that_fails_on_one_input_is_a_fault_and_the_others_go_on(tmp_path: Path):
    for name, frame in (("a", EMPTY), ("b", frame_of(place(160, 120)))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame)

    outcomes = run(tmp_path, tmp_path / "out", detector=Stopping(1, ZeroDivisionError))
    assert outcomes["a"].faults == [f"{tmp_path}/a.png: no face found in 1 frame(s) ({NO_FACE_HINT})"]
    (fault,) = outcomes["b"].faults
    assert all(fact in fault for fact in (f"{tmp_path}/b.png frame 1", "Stopping", "320 x 240 px", "ZeroDivisionError"))
    assert not (tmp_path / "out/.partial").exists()


def test_an_extractor_without_face_detection_raises():
    with pytest.raises(ConfigError, match=r"Template does not detect faces .*yunet or insightface"):
        DetectionOptions(Template())


def test_two_inputs_with_the_same_clip_name_are_a_fault(tmp_path: Path):
    two = [frame_of(place(80, 120, 0.6), place(240, 120, 0.6))] * 6
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/a.mkv", two, codec="ffv1")
    photo(tmp_path / "in/a_left.png")
    outcomes = run(tmp_path / "in", tmp_path / "out")
    assert outcomes["a"].faults == []
    (fault,) = outcomes["a_left"].faults
    assert f"{tmp_path}/in/a_left.png: input 'a' already has a clip 'a_left'" in fault
    assert len(clips(tmp_path / "out")["a_left"]) == 6


def test_every_frame_is_reported_to_the_caller(tmp_path: Path):
    video = write_video(tmp_path / "a.mp4", story())
    calls: list[tuple[int, int | None]] = []
    found, _ = find_inputs([video])
    list(align(found, OPTIONS, IDENTITY, tmp_path / "out", lambda _, *frame: calls.append(frame)))
    assert calls == [(number, 26) for number in range(1, 27)]


def test_an_output_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(StorageError, match="out cannot be written: "):
        check_output(tmp_path / "out")


def test_a_disk_that_is_full_ends_the_run_and_leaves_nothing_half_written(tmp_path: Path, monkeypatch):
    for name in ("a", "b"):
        photo(tmp_path / f"{name}.png")
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".jpg" and "b" in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="out cannot be written: the disk is full"):
        run(tmp_path, tmp_path / "out")
    assert clips(tmp_path / "out") == {"a": [1]}
    assert not (tmp_path / "out/.partial").exists()
