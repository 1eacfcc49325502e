"""Writing a layout: found by name, whole or not at all, and never over something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fusionkit.contracts import FaceDataset
from fusionkit.data import layouts
from fusionkit.data.layouts import Drawing, draw, find_layout, write_layout
from fusionkit.errors import ConfigError, DataError, PluginError, StorageError

DRAWING = Drawing(clips=33, frames=6, seed=3, faults=True)


def two_files(folder: Path, faces: FaceDataset, *, faults: bool) -> Iterator[int]:
    for name in ("a", "b"):
        (folder / name).write_text(f"{len(faces.frames)} {faults}")
        yield 2


def test_a_drawing_is_half_for_training_and_shows_another_person_in_each_clip() -> None:
    faces = draw(DRAWING)
    table = faces.table()
    clips = {split: len(set(table.clip[table.split == split])) for split in ("train", "val", "test")}
    assert clips == {"train": 17, "val": 8, "test": 8}
    assert len(set(table.subject)) == 33
    assert (table.label == -1).any()
    assert draw(DRAWING).fingerprint() == faces.fingerprint()
    assert draw(Drawing(33, 6, 4, faults=True)).fingerprint() != faces.fingerprint()
    assert draw(replace(DRAWING, difficulty=0.0)).fingerprint() != faces.fingerprint()


def test_without_faults_every_frame_has_a_label() -> None:
    assert (draw(Drawing(32, 6, 0, faults=False)).table().label >= 0).all()


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="31 clips are too few"):
        draw(Drawing(31, 6, 0, faults=True))


def test_the_folder_is_there_when_it_is_whole(tmp_path: Path) -> None:
    told: list[int] = []
    for place in (tmp_path / "deep/out", tmp_path / "empty"):
        if place.name == "empty":
            place.mkdir()
        write_layout(two_files, draw(DRAWING), place, False, told.append)
        assert sorted(path.name for path in place.iterdir()) == ["a", "b"]
        assert (place / "a").read_text().endswith(" False")
        assert [path.name for path in place.parent.iterdir() if path.name.startswith(".")] == []
    assert told == [2, 2, 2, 2]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_nothing_is_written_over(tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    if what == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").touch()
    with pytest.raises(ConfigError, match="is there already"):
        write_layout(two_files, draw(DRAWING), out, False, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [DataError("no"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def failing(folder: Path, faces: FaceDataset, *, faults: bool) -> Iterator[int]:
        (folder / "half").touch()
        yield 1
        raise error

    expected = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_layout(failing, draw(DRAWING), tmp_path / "out", False, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_layouts_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("two", "test_toy_layout:two", layouts.GROUP),
        EntryPoint("names", "fusionkit.data.layouts:layout_names", layouts.GROUP),
    ]
    monkeypatch.setattr(layouts, "entry_points", lambda group: points if group == "fusionkit.layouts" else [])
    assert layouts.layout_names() == ["names", "two"]
    assert find_layout("names") is layouts.layout_names
    with pytest.raises(ConfigError, match=r"unknown layout 'nams' \(did you mean 'names'\?\); known: names, two"):
        find_layout("nams")
    with pytest.raises(PluginError, match=r"layout 'two' .* cannot be imported: ModuleNotFoundError"):
        find_layout("two")
