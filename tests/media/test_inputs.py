"""Photos and videos are found in any folder, once each, and have different names."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fusionkit.errors import ConfigError
from fusionkit.media.inputs import MediaInput, find_inputs

PNG = cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes()


def files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    return root


def names(inputs: list[MediaInput]) -> dict[str, str]:
    return {item.relative_path: item.name for item in inputs}


def test_folders_are_searched_and_other_files_are_skipped(tmp_path: Path):
    files(tmp_path, "b/one.JPG", "a/two.mp4", "three.MOV", "notes.txt", ".hidden/four.png", "b/.five.png", "six")
    found, faults = find_inputs([tmp_path])
    assert faults == []
    assert [(item.relative_path, item.is_video) for item in found] == [
        ("three.MOV", True), ("a/two.mp4", True), ("b/one.JPG", False),
    ]  # fmt: skip


def test_a_given_file_is_read_whatever_its_ending(tmp_path: Path):
    files(tmp_path, "picture.dat")
    (tmp_path / "movie.dat").write_bytes(b"something else")
    found, _ = find_inputs([tmp_path / "picture.dat", str(tmp_path / "movie.dat")])
    assert [item.is_video for item in found] == [False, True]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/x.mp4", "b/y.mp4"], {"a/x.mp4": "x", "b/y.mp4": "y"}),
        (["x.mp4", "x.png", "y.png"], {"x.mp4": "x.mp4", "x.png": "x.png", "y.png": "y"}),
        (["a/x.mp4", "b/x.mp4", "c/x.png"], {"a/x.mp4": "a_x.mp4", "b/x.mp4": "b_x.mp4", "c/x.png": "x.png"}),
        (["ünï ćode.mp4", "with space.png"], {"ünï ćode.mp4": "ünï ćode", "with space.png": "with space"}),
    ],
)
def test_inputs_have_the_shortest_names_that_differ(tmp_path: Path, paths: list[str], expected: dict[str, str]):
    assert names(find_inputs([files(tmp_path, *paths)])[0]) == expected


def test_two_folders_with_the_same_names_get_different_names(tmp_path: Path):
    files(tmp_path, "one/clips/a.mp4", "two/clips/a.mp4")
    found, _ = find_inputs([tmp_path / "one/clips", tmp_path / "two/clips"])
    assert [item.name for item in found] == ["one_clips_a.mp4", "two_clips_a.mp4"]


def test_inputs_without_different_names_raise(tmp_path: Path):
    files(tmp_path, "d/a/b/c.mp4", "e/a/b/c.mp4")
    with pytest.raises(ConfigError, match=r"'a_b_c\.mp4': .*d/a/b/c\.mp4, .*e/a/b/c\.mp4"):
        find_inputs([tmp_path / "d", tmp_path / "e"])


def test_the_same_file_counts_once(tmp_path: Path):
    files(tmp_path, "a/x.mp4")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    found, _ = find_inputs([tmp_path, tmp_path / "a", tmp_path / "a/x.mp4", tmp_path / "b"])
    assert [item.path for item in found] == [tmp_path / "a/x.mp4"]


def test_links_that_loop_are_followed_once(tmp_path: Path):
    files(tmp_path, "a/b/x.png")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")  # leads nowhere
    (tmp_path / "a/gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    found, _ = find_inputs([tmp_path])
    assert [item.relative_path for item in found] == ["a/gone.mp4", "a/b/x.png"]  # reading the first raises


@pytest.mark.slow
def test_thousands_of_files_are_listed_in_order(tmp_path: Path):
    for number in range(2000):
        (tmp_path / f"{number:05d}.png").touch()
    found, _ = find_inputs([tmp_path])
    assert [item.name for item in found] == [f"{number:05d}" for number in range(2000)]


def test_a_folder_that_cannot_be_listed_is_reported_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files(tmp_path, "closed/x.png", "open/y.png")
    listed = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, faults = find_inputs([tmp_path])
    assert [item.name for item in found] == ["y"]
    assert faults == [f"{tmp_path}/closed cannot be listed: Permission denied"]


def test_all_paths_without_inputs_are_reported_at_once(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as raised:
        find_inputs([tmp_path / "empty", tmp_path / "gone.mp4", "~nobody-of-this-name/x.jpg"])
    assert raised.value.problems == [
        f"{tmp_path}/empty contains no photo or video",
        f"{tmp_path}/gone.mp4 does not exist",
        "~nobody-of-this-name/x.jpg does not exist",
    ]


def test_files_that_are_not_read_are_counted_and_named(tmp_path: Path):
    files(tmp_path, "a.png", "b/c.raw", "b/d.raw", "e.jxl", "notes.txt")
    found, messages = find_inputs([tmp_path])
    assert [item.relative_path for item in found] == ["a.png"]
    unread = "1 .jxl (the first: e.jxl), 2 .raw (the first: b/c.raw)"
    assert messages == [f"{tmp_path}: files that are neither photo nor video are not read: {unread}"]
    with pytest.raises(ConfigError, match=r"b contains no photo or video; not read: 2 \.raw"):
        find_inputs([tmp_path / "b"])


def test_a_gif_is_a_photo_or_a_video(tmp_path: Path):
    pictures = [Image.fromarray(np.full((8, 8, 3), grey, np.uint8)) for grey in (0, 128, 255)]
    pictures[0].save(tmp_path / "still.gif")
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:], duration=40)
    moving, still = find_inputs([tmp_path])[0]
    assert (moving.is_video, still.is_video) == (True, False)
    assert [int(frame.image[4, 4, 0]) for frame in moving.open().frames()] == [0, 128, 255]
    assert [int(frame.image[4, 4, 0]) for frame in still.open().frames()] == [0]
