"""Drawn clips on disk: the exact layout, every fault, and nothing lost between the faces and the reader."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.errors import DataError
from fusionkit_datasets.affwild2 import AffWild2
from fusionkit_datasets.affwild2_labels import CLASSES
from fusionkit_datasets.affwild2_writer import write_affwild2

EXPR = "6th ABAW Annotations/EXPR_Recognition_Challenge"
TEST_LIST = "names_of_videos_in_each_test_set/Expression_Recognition_Challenge_test_set_release.txt"
TEMPLATE = "test_set_examples/CVPR_6th_ABAW_Expr_test_set_example.txt"
HEADER = b"Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
CLIPS, FRAMES = 8, 6


class Shades(FaceDataset):
    """Eight clips of six frames a split; classes stand in another order; the shade says which frame of all it is."""

    classes = tuple(sorted(CLASSES))

    @property
    def frames(self) -> FrameTable:
        clip = np.repeat([f"{split}{c}" for split in ("train", "val", "test") for c in range(CLIPS)], FRAMES)
        rows = np.arange(len(clip))
        return FrameTable.of(
            clip,
            rows % FRAMES + 1,
            np.where(rows % 7 == 3, -1, rows % 8),
            split=np.repeat(["train", "val", "test"], CLIPS * FRAMES),
        )

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        return [None if row % 11 == 5 else np.full((8, 8, 3), row, np.uint8) for row in rows]


def written(folder: Path, faults: bool) -> tuple[FrameTable, FrameTable, AffWild2]:
    """The faces' table and the read one, test set included."""
    folder.mkdir()
    faces = Shades()
    assert sum(write_affwild2(folder, faces, faults=faults)) == len(faces.frames)
    data = AffWild2(str(folder), test=True)
    assert list(data.problems()) == []
    return faces.frames, data.table(), data


def names(table: FrameTable, classes: tuple[str, ...]) -> list[str]:
    return [classes[label] if label >= 0 else "" for label in table.label.tolist()]


def shades(data: AffWild2) -> list[int | None]:
    images = data.images(np.arange(len(data.frames)))
    return [None if image is None else int(image[4, 4, 0]) for image in images]


def test_without_faults_every_frame_comes_back_in_its_place(tmp_path):
    faces, table, data = written(tmp_path / "out", faults=False)
    expected = {
        (f"video{1 + row // FRAMES:03d}", row % FRAMES + 1): (
            "" if split == "test" else name,
            split,
            None if row % 11 == 5 else row,
        )
        for row, (name, split) in enumerate(zip(names(faces, Shades.classes), faces.split.tolist(), strict=True))
        if split != "test" or row % 11 != 5
    }
    found = {
        (clip, number): (name, split, shade)
        for clip, number, name, split, shade in zip(
            table.clip.tolist(),
            table.number.tolist(),
            names(table, CLASSES),
            table.split.tolist(),
            shades(data),
            strict=True,
        )
    }
    assert found == expected
    assert set(table.unit) == set(table.clip)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "6th ABAW Annotations",
        "cropped_aligned",
        "names_of_videos_in_each_test_set",
        "test_set_examples",
    }
    for path in (tmp_path / "out" / EXPR).rglob("*.txt"):
        assert path.read_bytes().startswith(HEADER + b"\n")
        assert b"\r" not in path.read_bytes()


def test_with_faults_no_label_and_no_crop_moves(tmp_path):
    faces, table, data = written(tmp_path / "out", faults=True)
    by_shade = dict(enumerate(names(faces, Shades.classes)))
    seen = []
    for shade, name, number, split, clip in zip(
        shades(data),
        names(table, CLASSES),
        table.number.tolist(),
        table.split.tolist(),
        table.clip.tolist(),
        strict=True,
    ):
        if shade is None:
            continue
        seen.append(shade)
        late = shade >= 2 * CLIPS * FRAMES and number > FRAMES
        assert number == shade % FRAMES + (99_998 if late else 1)
        lost = split == "test" or (number == FRAMES and shade // FRAMES % CLIPS == 5)  # a line fewer than frames
        assert name == ("" if lost else by_shade[shade]), clip
    assert sorted(seen) == [row for row in range(len(faces)) if row % 11 != 5]


def lines_less_frames(folder: Path) -> Iterator[int]:
    for path in (folder / EXPR).rglob("*.txt"):
        yield len(path.read_text(encoding="utf-8-sig").strip().splitlines()) - 1 - FRAMES


def test_every_fault_of_the_real_files_is_there(tmp_path):
    out = tmp_path / "out"
    _, table, _ = written(out, faults=True)
    annotations = [path.read_bytes() for path in (out / EXPR).rglob("*.txt")]
    assert sorted(set(lines_less_frames(out))) == [-1, 0, 1, 2]
    assert any(text.startswith(b"\xef\xbb\xbf") for text in annotations)
    assert any(b"\r\n" in text for text in annotations)
    assert any(text.endswith(b"\n\n\n") for text in annotations)
    assert any(b"-1" in text for text in annotations)
    roots = {path.name: {clip.name for clip in path.iterdir()} for path in out.glob("cropped_*")}
    assert set(roots) == {"cropped_aligned", "cropped_aligned_new_50_vids"}
    assert not set.intersection(*roots.values())
    clips = {unit: set(table.clip[table.unit == unit]) for unit in set(table.unit)}
    kinds = {frozenset(clip.removeprefix(unit) for clip in group) for unit, group in clips.items()}
    assert kinds == {frozenset({""}), frozenset({"_left", "_right"}), frozenset({"", "_left", "_right"})}
    assert all(len(set(table.split[table.unit == unit])) == 1 for unit in clips)
    assert {len(path.stem) for path in out.rglob("*.jpg")} == {5, 6}


@pytest.mark.parametrize("faults", [False, True])
def test_the_test_set_is_listed_and_has_a_template_of_every_frame(tmp_path, faults):
    out = tmp_path / "out"
    _, table, _ = written(out, faults)
    listed = (out / TEST_LIST).read_text(encoding="utf-8").splitlines()
    assert sorted(listed) == sorted(set(table.clip[table.split == "test"]))
    header, *rows = (out / TEMPLATE).read_text(encoding="utf-8").splitlines()
    assert header == "image_location," + HEADER.decode()
    assert len(rows) == CLIPS * FRAMES
    first = {clip: 99_998 if faults and index == 7 else 1 for index, clip in enumerate(listed)}
    assert rows == [f"{clip}/{first[clip] + k:05d}.jpg,0" for clip in listed for k in range(FRAMES)]
    assert not list((out / EXPR).glob("Test*"))


def test_faces_of_other_classes_are_refused(tmp_path):
    class Fewer(Shades):
        classes = CLASSES[:7]

    with pytest.raises(DataError, match="classes must be Neutral"):
        list(write_affwild2(tmp_path, Fewer(), faults=False))
    assert not list(tmp_path.iterdir())
