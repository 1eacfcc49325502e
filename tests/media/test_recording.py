"""Photos, videos and folders of numbered images as things with frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_videos import write_video

from fusionkit.errors import DataError
from fusionkit.media.inputs import find_inputs
from fusionkit.media.recording import Recording, recordings


def write(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((4, 4, 3), value, np.uint8))
    return path


def found(*paths: Path) -> dict[str, Recording]:
    return {recording.name: recording for recording in recordings(find_inputs(paths)[0])}


def test_numbered_images_of_a_folder_are_a_clip(tmp_path: Path) -> None:
    for number in (12, 3, 5):
        write(tmp_path / f"crops/sub/clip_left/{number:05d}.png", number)
    write(tmp_path / "crops/photo.png", 99)
    got = found(tmp_path / "crops")
    assert sorted(got) == ["photo", "sub/clip_left"]
    frames = list(got["sub/clip_left"].frames())
    assert [(frame.number, int(frame.image[0, 0, 0])) for frame in frames] == [(3, 3), (5, 5), (12, 12)]
    assert (got["photo"].still, got["sub/clip_left"].still, got["sub/clip_left"].expected()) == (True, False, 3)
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
        (["000001", "000002"], False),
    ],
)
def test_only_counted_images_are_a_clip(tmp_path: Path, names: list[str], clip: bool) -> None:
    for name in names:
        write(tmp_path / f"in/{name}.png")
    assert sorted(found(tmp_path / "in")) == (["in"] if clip else sorted(names))


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for where in ("a/x", "b/x"):
        for number in (1, 2):
            write(tmp_path / where / f"{number:05d}.png")
    one, other = found(tmp_path / "a/x", tmp_path / "b/x")
    assert (one, other) == ("x", "b/x")


def test_an_image_that_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    for number in range(1, 6):
        write(tmp_path / f"c/{number:05d}.png")
    for number in (2, 4):
        (tmp_path / f"c/{number:05d}.png").write_bytes(b"no")
    (recording,) = found(tmp_path / "c").values()
    assert [frame.number for frame in recording.frames()] == [1, 3, 5]
    (fault,) = recording.faults
    assert fault == f"{tmp_path}/c/00002.png is no JPEG, PNG, BMP, WebP or TIFF image, and so it is with 1 more"
    for number in (1, 3, 5):
        (tmp_path / f"c/{number:05d}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"00001\.png is empty"):
        list(recording.frames())


def test_a_video_says_about_how_many_frames_there_are(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [np.zeros((16, 16, 3), np.uint8)] * 7)
    (tmp_path / "none.mp4").write_bytes(b"")
    got = found(video, tmp_path / "none.mp4")
    assert (got["v"].expected(), got["none"].expected(), got["v"].moving) == (7, 1, True)
    assert len(list(got["v"].frames())) == 7
