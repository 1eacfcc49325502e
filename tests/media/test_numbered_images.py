"""Frames of photos, videos and folders of numbered images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_videos import write_video

from fusionkit.errors import DataError
from fusionkit.media.inputs import MediaInput, find_inputs, join_numbered_images


def write(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((4, 4, 3), value, np.uint8))
    return path


def found(*paths: Path) -> dict[str, MediaInput]:
    return {item.clip_name: item for item in join_numbered_images(find_inputs(paths)[0])}


def test_numbered_images_of_a_folder_are_a_clip(tmp_path: Path) -> None:
    for number in (12, 3, 5):
        write(tmp_path / f"crops/sub/clip_left/{number:05d}.png", number)
    write(tmp_path / "crops/photo.png", 99)
    got = found(tmp_path / "crops")
    assert sorted(got) == ["photo", "sub/clip_left"]
    frames = list(got["sub/clip_left"].open().frames())
    assert [(frame.number, int(frame.image[0, 0, 0])) for frame in frames] == [(3, 3), (5, 5), (12, 12)]
    assert (got["photo"].is_photo, got["sub/clip_left"].is_photo, got["sub/clip_left"].expected_frames()) == (
        True,
        False,
        3,
    )
    assert list(found(tmp_path / "crops/sub/clip_left")) == ["clip_left"]


@pytest.mark.parametrize(
    ("names", "clip"),
    [
        (["00001", "00002"], True),
        (["00007", "12345"], True),
        (["99999", "100000", "100002"], True),
        (["10000", "20000", "300000"], False),  # names that happen to be numbers
        (["1", "2", "3"], False),
        (["00001", "a"], False),
        (["00001"], True),
        (["10001"], False),
        (["000001", "000002"], True),
        (["010", "011", "013"], True),
        (["000", "001"], True),
        (["010", "011", "016"], False),  # more than half are missing
        (["010", "011", "0012"], False),
        (["08", "09"], False),
        (["frame_0001", "frame_0002"], True),
        (["S010_001_00000001", "S010_001_00000002"], True),
        (["frame_0001", "frame_0002", "0003"], False),
        (["left_0001", "right_0002"], False),
        (["frame_00007", "frame_12345"], False),
        (["frame_1", "frame_2"], False),
        (["frame_0001"], False),
    ],
)
def test_only_images_numbered_as_frames_are_a_clip(tmp_path: Path, names: list[str], clip: bool) -> None:
    for name in names:
        write(tmp_path / f"in/{name}.png")
    assert sorted(found(tmp_path / "in")) == (["in"] if clip else sorted(names))


def faces(folder: Path, numbers: range, step: float, prefix: str = "") -> None:
    """Smooth pictures, of which each is turned by ``step`` radians of phase from the one before."""
    y, x = np.mgrid[:24, :32] / 24
    folder.mkdir(parents=True)
    for number in numbers:
        wave = np.sin(6 * x + step * number) * np.cos(5 * y - 2 * step * number)
        cv2.imwrite(
            str(folder / f"{prefix}{number:04d}.png"), np.repeat((127 + 120 * wave).astype(np.uint8)[..., None], 3, 2)
        )


def test_photos_that_differ_stay_photos_however_they_are_named(tmp_path: Path) -> None:
    faces(tmp_path / "clip", range(20), 0.1)
    faces(tmp_path / "happy", range(30, 50), 2.0)
    faces(tmp_path / "named", range(20), 0.1, "frame-")
    faces(tmp_path / "camera", range(3), 0.4, "IMG_")  # correlation .7, enough for names that are numbers only
    write(tmp_path / "sizes/001.png")
    cv2.imwrite(str(tmp_path / "sizes/002.png"), np.zeros((4, 5, 3), np.uint8))
    got = found(tmp_path)
    photos = [f"camera/IMG_000{number}" for number in range(3)] + [f"happy/{number:04d}" for number in range(30, 50)]
    assert sorted(got) == sorted(["clip", "named", *photos, "sizes/001", "sizes/002"])
    assert [frame.number for frame in got["clip"].open().frames()] == list(range(20))


def test_folders_of_frames_have_different_reports(tmp_path: Path) -> None:
    for folder in ("a/x", "b/x", "a_x"):
        write(tmp_path / folder / "001.png")
        write(tmp_path / folder / "002.png")
    got = found(tmp_path)
    assert sorted(got) == ["a/x", "a_x", "b/x"]
    assert len({item.report_name for item in got.values()}) == 3


def test_folders_with_the_same_name_get_different_clip_names(tmp_path: Path) -> None:
    for where in ("a/x", "b/x"):
        for number in (1, 2):
            write(tmp_path / where / f"{number:05d}.png")
    one, other = found(tmp_path / "a/x", tmp_path / "b/x")
    assert (one, other) == ("x", "b/x")


def test_an_image_that_cannot_be_read_is_skipped_and_reported(tmp_path: Path) -> None:
    for number in range(1, 6):
        write(tmp_path / f"c/{number:05d}.png")
    for number in (2, 4):
        (tmp_path / f"c/{number:05d}.png").write_bytes(b"no")
    (item,) = found(tmp_path / "c").values()
    reader = item.open()
    assert [frame.number for frame in reader.frames()] == [1, 3, 5]
    (fault,) = reader.faults
    assert f"{tmp_path}/c: 2 of 5 images" in fault
    assert f"{tmp_path}/c/00002.png is no image" in fault
    for number in (1, 3, 5):
        (tmp_path / f"c/{number:05d}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"00001\.png is empty"):
        list(reader.frames())


def test_the_number_of_frames_of_a_video_is_known_before_it_is_read(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [np.zeros((16, 16, 3), np.uint8)] * 7)
    (tmp_path / "none.mp4").write_bytes(b"")
    got = found(video, tmp_path / "none.mp4")
    assert (got["v"].expected_frames(), got["none"].expected_frames(), got["v"].is_video) == (7, 1, True)
    assert len(list(got["v"].open().frames())) == 7
