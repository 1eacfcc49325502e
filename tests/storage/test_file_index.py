"""Index of image files: only what changed is read again, and a change is never missed."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.contracts.file_hash import ABSENT, content_hash, file_hash, file_hashes, stamp_of
from fusionkit.storage import file_index
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.file_index import FileIndex, data_fingerprint


class Files(FaceDataset):
    """One image per file of a folder; it says where they are, and no more."""

    def __init__(self, root: Path) -> None:
        self.files = sorted(root.rglob("*.bin"))

    @property
    def classes(self) -> tuple[str, ...]:
        return ("a", "b")

    @property
    def frames(self) -> FrameTable:
        count = len(self.files)
        return FrameTable.of([f"{row:04d}" for row in range(count)], [1] * count, [row % 2 for row in range(count)])

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        raise AssertionError("no image is decoded")

    def where(self, row: int) -> str:
        return str(self.files[row])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for row in range(8):
        path = tmp_path / f"data/{row % 2}/{row}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([row]) * 10)
    return tmp_path / "data"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets some seconds pass, after which the files count as settled."""
    now = [time.time_ns()]
    monkeypatch.setattr("fusionkit.contracts.file_hash.time.time_ns", lambda: max(now[0], time.monotonic_ns()))

    def wait() -> None:
        now[0] += 10_000_000_000

    return wait


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []

    def noted(path: str) -> bytes:
        names.append(Path(path).name)
        return content_hash(path)

    monkeypatch.setattr(file_index, "content_hash", noted)
    return names


def fingerprint(root: Path, rows: list[int] | None = None) -> str:
    data = Files(root)
    return data_fingerprint(data, np.arange(len(data.files)) if rows is None else np.array(rows, np.int64))


def index_file() -> Path:
    (path,) = (cache_folder() / "images").iterdir()
    return path


def test_files_are_read_once_and_the_index_gives_the_hash_of_their_bytes(
    root: Path, later: Callable[[], None], opened: list[str]
) -> None:
    later()
    first = fingerprint(root)
    assert first == Files(root).fingerprint()
    assert sorted(opened) == [f"{row}.bin" for row in range(8)]
    opened.clear()
    assert fingerprint(root) == first
    assert opened == []


@pytest.mark.parametrize("how", ["written", "written under its old time", "moved", "linked"])
def test_images_of_one_size_that_are_exchanged_are_noticed_and_only_they_are_read(
    root: Path, later: Callable[[], None], opened: list[str], how: str
) -> None:
    one, two = root / "0/2.bin", root / "1/5.bin"
    os.utime(two, ns=(one.stat().st_atime_ns, one.stat().st_mtime_ns))  # as from an archive
    later()
    before = fingerprint(root)
    opened.clear()
    states, contents = [path.stat() for path in (one, two)], [path.read_bytes() for path in (one, two)]
    if how.startswith("written"):
        for path, content, state in zip((one, two), contents[::-1], states, strict=True):
            path.write_bytes(content)
            if "old time" in how:
                os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
                assert (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) == (
                    *(state.st_ino, state.st_size),
                    state.st_mtime_ns,
                )
    else:
        one.rename(root / "x")
        two.rename(one)
        (root / "x").rename(two)
        if how == "linked":
            two.rename(root / "elsewhere")
            two.symlink_to(root / "elsewhere")
    after = fingerprint(root)
    assert after == Files(root).fingerprint()
    assert after != before
    assert sorted(opened) == ["2.bin", "5.bin"]


def test_a_file_that_was_just_written_is_not_trusted(root: Path, later: Callable[[], None], opened: list[str]) -> None:
    fingerprint(root)
    opened.clear()
    fingerprint(root)
    assert len(opened) == 8
    later()
    fingerprint(root)
    opened.clear()
    fingerprint(root)
    assert opened == []


def test_two_writes_in_one_tick_are_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second write leaves the same stamp, as a coarse clock may."""
    stamps = {path: stamp_of(path) for path in map(str, Files(root).files)}
    monkeypatch.setattr(file_index, "stamp_of", stamps.get)
    before = fingerprint(root)
    (root / "0/2.bin").write_bytes(b"other byte")
    assert fingerprint(root) != before


def test_a_copy_elsewhere_is_the_same_data(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "deep/copy")
    assert fingerprint(tmp_path / "deep/copy") == fingerprint(root)


def test_images_of_other_rows_do_not_count_and_are_not_read(
    root: Path, later: Callable[[], None], opened: list[str]
) -> None:
    later()
    before = fingerprint(root, [0, 1])
    assert sorted(opened) == ["0.bin", "2.bin"]  # sorted by folder
    (root / "1/7.bin").write_bytes(b"changed")
    assert fingerprint(root, [0, 1]) == before
    (root / "0/2.bin").write_bytes(b"changed")
    assert fingerprint(root, [0, 1]) != before


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "removed"])
def test_a_damaged_index_is_made_again(root: Path, later: Callable[[], None], opened: list[str], damage: str) -> None:
    later()
    before = fingerprint(root)
    path, data = index_file(), bytearray(index_file().read_bytes())
    data[-3] ^= 1
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes({"cut": bytes(data[:-7]), "flipped": bytes(data), "emptied": b""}[damage])
    opened.clear()
    assert fingerprint(root) == before
    assert len(opened) == 8
    opened.clear()
    assert fingerprint(root) == before
    assert opened == []


def test_a_cache_that_cannot_be_written_costs_time_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSIONKIT_CACHE", str(root / "0/2.bin/below-a-file"))
    assert fingerprint(root) == Files(root).fingerprint()


def test_what_was_read_before_an_interruption_is_kept(
    root: Path, later: Callable[[], None], opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    later()
    monkeypatch.setattr(file_index, "_BLOCK", 3)
    index = FileIndex(str(root))
    hashes = index.hashes(map(str, Files(root).files))
    next(hashes)
    hashes.close()
    index.save()
    opened.clear()
    assert fingerprint(root) == Files(root).fingerprint()
    assert len(opened) == 5


def test_blocks_do_not_change_the_fingerprint(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(root)
    monkeypatch.setattr(file_index, "_BLOCK", 3)
    monkeypatch.setattr(file_index, "_PART", 2)
    assert fingerprint(root) == before


def test_missing_files_count_as_absent(root: Path, tmp_path: Path) -> None:
    paths = [
        str(root / "0/0.bin"),
        str(root / "none"),
        str(root),
        "",
        "a\0b",
        "clip 'x' frame 3",
        str(root / "0/0.bin"),
    ]
    expected = [content_hash(paths[0]), *[ABSENT] * 5, content_hash(paths[0])]
    assert list(FileIndex(str(root)).hashes(paths)) == expected
    assert list(file_hashes(paths)) == expected
    before = fingerprint(root)
    data = Files(root)
    (root / "1/7.bin").unlink()
    assert data_fingerprint(data, np.arange(8)) != before


def test_an_image_of_several_rows_is_read_once(root: Path, opened: list[str]) -> None:
    path = str(root / "0/0.bin")
    assert len(set(FileIndex(str(root)).hashes([path] * 5))) == 1
    assert opened == ["0.bin"]


def test_old_entries_are_dropped_when_they_are_the_majority(root: Path, later: Callable[[], None]) -> None:
    later()
    fingerprint(root)
    size = index_file().stat().st_size
    for round_ in range(6):
        for path in Files(root).files:
            path.write_bytes(bytes([round_ + 100]) * 10)
        later()
        fingerprint(root)
    assert index_file().stat().st_size <= 3 * size


def test_a_long_first_reading_tells_why_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_index, "_PATIENCE", 1e-9)
    monkeypatch.setattr(file_index, "_BLOCK", 3)
    fingerprint(root)
    (message,) = caplog.messages
    assert str(root) in message


def test_a_file_hash_is_read_again_when_the_file_changed(tmp_path: Path, later: Callable[[], None]) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    state = path.stat()
    first = file_hash(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = file_hash(path)
    assert first != second
    later()
    assert file_hash(path) == file_hash(path) == second
    with pytest.raises(OSError, match="weights"):
        file_hash(path.with_name("no weights"))
