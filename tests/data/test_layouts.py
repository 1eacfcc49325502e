"""Layouts: found by name, written completely or not at all, never over existing files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from fusionkit.contracts import FaceDataset
from fusionkit.data import layouts
from fusionkit.data.layouts import find_layout, synthetic_clips, write_layout
from fusionkit.errors import ConfigError, DataError, PluginError, StorageError


def clips(**options: Any) -> FaceDataset:
    return synthetic_clips(**{"clips": 33, "frames": 6, "seed": 3, "faults": True, **options})


def two_files(folder: Path, faces: FaceDataset, *, faults: bool) -> Iterator[int]:
    for name in ("a", "b"):
        (folder / name).write_text(f"{len(faces.frames)} {faults}", encoding="utf-8")
        yield 2


def test_half_of_the_clips_are_for_training_and_each_shows_another_person() -> None:
    faces = clips()
    table = faces.table()
    counts = {split: len(set(table.clip[table.split == split])) for split in ("train", "val", "test")}
    assert counts == {"train": 17, "val": 8, "test": 8}
    assert len(set(table.subject)) == 33
    assert (table.label == -1).any()
    assert clips().fingerprint() == faces.fingerprint()
    assert clips(seed=4).fingerprint() != faces.fingerprint()
    assert clips(difficulty=0.0).fingerprint() != faces.fingerprint()


def test_without_faults_every_frame_has_a_label() -> None:
    assert (clips(clips=32, faults=False).table().label >= 0).all()


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="clips = 31 must be at least 32"):
        clips(clips=31)


def test_the_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    counts: list[int] = []
    for folder in (tmp_path / "deep/out", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        write_layout(two_files, clips(), folder, False, counts.append)
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
        assert (folder / "a").read_text(encoding="utf-8").endswith(" False")
        assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []
    assert counts == [2, 2, 2, 2]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine", encoding="utf-8")
    else:
        out.mkdir()
        (out / "mine").touch()
    with pytest.raises(ConfigError, match="already exists"):
        write_layout(two_files, clips(), out, False, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [DataError("no"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def failing(folder: Path, faces: FaceDataset, *, faults: bool) -> Iterator[int]:
        (folder / "half").touch()
        yield 1
        raise error

    expected = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_layout(failing, clips(), tmp_path / "out", False, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_layouts_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("two", "test_toy_layout:two", layouts.GROUP),
        EntryPoint("names", "fusionkit.data.layouts:find_layout", layouts.GROUP),
    ]
    monkeypatch.setattr(layouts, "entry_points", lambda group: points if group == "fusionkit.layouts" else [])
    assert find_layout("names") is layouts.find_layout
    with pytest.raises(
        ConfigError, match=r"unknown layout 'nams' \(did you mean 'names'\?\); available layouts: names, two"
    ):
        find_layout("nams")
    with pytest.raises(PluginError, match=r"layout 'two' .* cannot be imported: ModuleNotFoundError"):
        find_layout("two")
