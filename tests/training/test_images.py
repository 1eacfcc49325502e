from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import toy_videos
from tiny_training import picture, write_pictures
from toy_components import Blobs, registered, toys
from toy_videos import turn

from fusionkit.config.splits import Holdout
from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit.training.images import Images, data_problems, open_images


def read_all(images: Images) -> list[np.ndarray | None]:
    return [images.read(index) for index in range(len(images))]


def test_a_folder_is_searched_with_its_sub_folders(tmp_path: Path) -> None:
    write_pictures(tmp_path / "b", 2)
    write_pictures(tmp_path / "a" / "deep", 1)
    write_pictures(tmp_path / ".hidden", 1)
    (tmp_path / "notes.md").write_text("no image", encoding="utf-8")
    images = open_images([str(tmp_path)])
    assert [images.where(index) for index in range(3)] == [
        str(tmp_path / name) for name in ("a/deep/000.png", "b/000.png", "b/001.png")
    ]
    for found, number in zip(read_all(images), (0, 0, 1), strict=True):
        assert np.array_equal(found, picture(number))


def test_a_folder_elsewhere_has_the_same_fingerprint_and_a_changed_one_another(tmp_path: Path) -> None:
    first, second = (open_images([str(write_pictures(tmp_path / name, 3))]) for name in "ab")
    assert first.fingerprint == second.fingerprint
    write_pictures(tmp_path / "b", 4)
    assert open_images([str(tmp_path / "b")]).fingerprint != first.fingerprint


def test_images_and_videos_of_one_size_with_other_bytes_are_others(tmp_path: Path) -> None:
    names = ["one.bmp", "two.bmp"]
    for grey, name in enumerate(names):
        cv2.imwrite(str(tmp_path / name), np.full((4, 4, 3), grey, np.uint8))
    (tmp_path / "list.txt").write_text("\n".join(names), encoding="utf-8")
    sources = [tmp_path, tmp_path / "list.txt", tmp_path / "one.bmp"]
    before = [open_images([str(source)]).fingerprint for source in sources]
    one, two = ((tmp_path / name).read_bytes() for name in names)
    (tmp_path / "one.bmp").write_bytes(two)
    (tmp_path / "two.bmp").write_bytes(one)
    after = [open_images([str(source)]).fingerprint for source in sources]
    assert all(first != second for first, second in zip(before, after, strict=True))


def test_unreadable_files_are_none_and_grey_ones_become_rgb(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"")
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8 broken")
    (tmp_path / "2.jpg").symlink_to(tmp_path / "nowhere.jpg")
    cv2.imwrite(str(tmp_path / "3.png"), np.full((4, 5), 9, np.uint8))
    found = read_all(open_images([str(tmp_path)]))
    assert found[:3] == [None] * 3
    assert np.array_equal(found[3], np.full((4, 5, 3), 9))


def test_a_list_names_files_below_its_own_folder_or_anywhere(tmp_path: Path) -> None:
    write_pictures(tmp_path / "faces", 2)
    listed = tmp_path / "train.txt"
    listed.write_text(f"faces/001.png\n\n{tmp_path}/faces/000.png\nfaces/gone.png\n", encoding="utf-8")
    images = open_images([str(listed)])
    found = read_all(images)
    assert np.array_equal(found[0], picture(1))
    assert np.array_equal(found[1], picture(0))
    assert found[2] is None
    assert images.where(2) == f"{tmp_path}/faces/gone.png"


def test_several_sources_are_joined(tmp_path: Path) -> None:
    one = write_pictures(tmp_path / "one", 2)
    images = open_images([str(one), str(one / "001.png")])
    assert [np.array_equal(image, picture(number)) for image, number in zip(read_all(images), (0, 1, 1), strict=True)]
    assert len(images) == 3


def write_video(path: Path, frames: int) -> Path:
    """Frame n is grey of level 20 n; a key frame every four frames, with frames between that look both ways."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25), options={"g": "4", "bf": "2", "qscale": "1"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            image = np.full((32, 32, 3), 20 * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("stride", [1, 3])
def test_frames_of_a_video_are_reached_in_any_order(tmp_path: Path, stride: int) -> None:
    path = write_video(tmp_path / "clip.mp4", 12)
    images = open_images([str(path)], stride=stride)
    assert len(images) == len(range(0, 12, stride))
    for index in np.random.default_rng(0).permutation(len(images)).tolist():
        image = images.read(index)
        assert image is not None
        assert image.shape == (32, 32, 3)
        assert image.mean() == pytest.approx(20 * index * stride, abs=9)
    assert images.where(1) == f"{path} frame {stride + 1}"


def test_frames_of_a_rotated_video_are_upright(tmp_path: Path) -> None:
    sky = np.zeros((32, 48, 3), np.uint8)
    sky[:, :24] = 250  # the left side of what is stored is the top of what is shown
    path = turn(toy_videos.write_video(tmp_path / "clip.mp4", [sky] * 3), 90)
    image = open_images([str(path)]).read(1)
    assert image is not None
    assert image.shape == (48, 32, 3)
    assert image[:20].mean() > 200 > 50 > image[28:].mean()


def test_a_folder_may_hold_videos_too(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 4)
    assert len(open_images([str(tmp_path)])) == 4
    write_pictures(tmp_path, 2)
    assert len(open_images([str(tmp_path)])) == 6


def test_a_damaged_video_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("no video", encoding="utf-8")
    with pytest.raises(DataError, match=r"clip\.mp4 cannot be read as a video: Invalid data"):
        open_images([str(tmp_path / "clip.mp4")])


def test_of_a_data_set_with_splits_only_train_is_used_by_default() -> None:
    with toys():
        table = Blobs().frames
        train = np.flatnonzero(table.split == "train")
        images = open_images(["toy-blobs"])
        assert len(images) == len(train) < len(table)
        found = read_all(images)
        assert [image is None for image in found] == (train % 11 == 5).tolist()
        expected = Blobs().read(train)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True) if b is not None)
        assert len(open_images(["toy-blobs"], every_split=True)) == len(table)


def test_of_a_data_set_without_splits_the_test_frames_of_a_benchmark_are_left_out() -> None:
    with toys():
        table = Blobs(official=False).frames
        (fold,) = Holdout().folds(table)
        kept = open_images(["toy-blobs:official=false"])
        tested = set(table.unit[fold.part == "test"].tolist())
        assert len(kept) == (fold.part != "test").sum() < len(table)
        assert tested
        assert not set(table.unit[kept.rows].tolist()) & tested


class Ready(FaceDataset):
    classes = ("a", "b")
    frames = FrameTable.of(["x", "y"], [1, 1], [0, 1], split=["train", "val"])
    views = ("face",)


class Untrained(Blobs):
    @property
    def frames(self) -> FrameTable:
        return FrameTable.of(["x", "y"], [1, 1], [0, 1], split=["test", "val"])


def test_unusable_data_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("gone.png\n", encoding="utf-8")
    (tmp_path / "blank.txt").write_text("\n", encoding="utf-8")
    (tmp_path / "table.csv").write_text("x", encoding="utf-8")
    with registered(DATASETS, "ready", Ready), registered(DATASETS, "untrained", Untrained):
        for text, error, line in (
            (str(tmp_path / "empty"), DataError, "no images in .*empty"),
            (str(tmp_path / "list.txt"), DataError, "none of the listed files exists"),
            (str(tmp_path / "blank.txt"), DataError, "lists no images"),
            (str(tmp_path / "table.csv"), ConfigError, "unknown ending; expected a data set, a folder"),
            ("syntetic:seed=1", ConfigError, r"neither a data set \(did you mean 'synthetic'\?\) nor an existing path"),
            ("synthetic:sed=1", ConfigError, r"unknown option 'sed' \(did you mean 'seed'\?\)"),
            ("ready", ConfigError, "has ready embeddings and no images"),
            ("untrained", DataError, "official splits but no train"),
        ):
            with pytest.raises(error, match=line):
                open_images([text])


def test_a_registered_name_takes_precedence_over_a_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "synthetic", 2)
    assert data_problems("synthetic") == []
    assert len(open_images(["./synthetic"])) == 2
    assert len(open_images(["synthetic:train=2,val=2,test=2,clips=4,clip_length=6"])) > 2
