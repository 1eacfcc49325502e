"""Artifacts are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.errors import DataError, StorageError
from fusionkit.storage import artifact
from fusionkit.storage.artifact import (
    MARKER,
    check_writable,
    read_artifact,
    read_meta,
    unwritable,
    write_artifact,
    write_file,
)
from fusionkit.storage.lease import lease

OLD = {"a.bin": b"old a", "b.bin": b"old b" * 50}
NEW = {"a.bin": b"new a!", "b.bin": b""}


class Killed(BaseException):
    """The process is gone: from here on nothing of it runs, cleaning up included."""


class Tripwire:
    """Counts the calls that change the disk and, at one of them, fails: once, or for good like a killed process."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, at: int, error: Callable[[], BaseException], *, forever: bool
    ) -> None:
        self.at, self.error, self.forever, self.calls = at, error, forever, 0
        deleting = [(shutil, "rmtree")] if forever else []  # a full disk does not hinder deleting
        for owner, name in (
            (Path, "mkdir"),
            (Path, "open"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "unlink"),
            (os, "fsync"),
            *deleting,
        ):
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at or (self.forever and self.calls > self.at):
                raise self.error()
            return original(*args, **options)

        return step


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def steps_of(write: Callable[[], None], *, forever: bool) -> int:
    with pytest.MonkeyPatch.context() as patch:
        wire = Tripwire(patch, 10**6, Killed, forever=forever)
        write()
        return wire.calls


def test_files_and_metadata_are_read_as_written(tmp_path: Path) -> None:
    write_artifact(tmp_path / "deep" / "thing", OLD, {"rows": 3, "names": ["ä", "b"]})
    assert read_artifact(tmp_path / "deep" / "thing") == OLD
    assert read_meta(tmp_path / "deep" / "thing") == {"rows": 3, "names": ["ä", "b"]}
    assert leftovers(tmp_path / "deep") == []


def test_some_of_the_files_are_read_and_checked_without_the_others(tmp_path: Path) -> None:
    place = tmp_path / "thing"
    write_artifact(place, {"a": b"one", "b": b"two"})
    (place / "b").write_bytes(b"owt")
    assert read_artifact(place, names=("a", "c")) == {"a": b"one"}
    assert read_artifact(place, names=("b",)) is None
    assert read_artifact(place) is None


def test_a_missing_folder_reads_as_none(tmp_path: Path) -> None:
    assert read_artifact(tmp_path / "no") is None
    assert read_meta(tmp_path / "no") is None


@pytest.mark.parametrize("before", ["nothing", "old", "empty folder", "a file", "rubble"])
def test_writing_replaces_an_existing_file_or_folder(tmp_path: Path, before: str) -> None:
    place = tmp_path / "thing"
    if before == "old":
        write_artifact(place, OLD)
    elif before == "empty folder":
        place.mkdir()
    elif before == "a file":
        place.write_bytes(b"x")
    elif before == "rubble":
        place.mkdir()
        (place / "a.bin").write_bytes(b"half")
    write_artifact(place, NEW)
    assert read_artifact(place) == NEW
    assert sorted(path.name for path in place.iterdir()) == ["a.bin", "b.bin", MARKER]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("before", [None, OLD])
def test_a_process_killed_at_any_step_leaves_the_old_the_new_or_nothing(tmp_path: Path, before: Any) -> None:
    def fresh(name: str) -> Path:
        place = tmp_path / name / "thing"
        if before:
            write_artifact(place, before, {"who": "old"})
        return place

    counted = fresh("count")
    count = steps_of(lambda: write_artifact(counted, NEW), forever=True)
    assert count > 8
    seen = set()
    for at in range(1, count + 1):
        place = fresh(f"at{at}")
        with pytest.MonkeyPatch.context() as patch:
            Tripwire(patch, at, Killed, forever=True)
            with pytest.raises(Killed):
                write_artifact(place, NEW, {"who": "new"})
        found, meta = read_artifact(place), read_meta(place)
        assert found in (None, before, NEW)
        assert meta == (None if found is None else {"who": "new" if found == NEW else "old"})
        seen.add("new" if found == NEW else "old" if found else "nothing")
        write_artifact(place, NEW)  # and it can be repaired
        assert read_artifact(place) == NEW
    assert seen >= ({"old", "new"} if before else {"nothing", "new"})


@pytest.mark.parametrize("before", [None, OLD])
def test_a_full_disk_at_any_step_is_one_clear_error_without_partial_files(tmp_path: Path, before: Any) -> None:
    def full() -> BaseException:
        return OSError(errno.ENOSPC, "No space left on device")

    counted = tmp_path / "count" / "thing"
    if before:
        write_artifact(counted, before)
    count = steps_of(lambda: write_artifact(counted, NEW), forever=False)
    refused = []
    for at in range(1, count + 1):
        place = tmp_path / f"at{at}" / "thing"
        if before:
            write_artifact(place, before)
        with pytest.MonkeyPatch.context() as patch:
            Tripwire(patch, at, full, forever=False)
            try:
                write_artifact(place, NEW)
            except DataError as error:
                refused.append((str(error), f"{place} cannot be written: the disk is full"))
        if place.parent.exists():
            assert leftovers(place.parent) == []
        assert read_artifact(place) in (None, before, NEW)
    assert len(refused) >= 7
    assert all(message == wanted for message, wanted in refused)


def test_no_permission_is_named_as_the_system_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(handle: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "fsync", denied)
    with pytest.raises(DataError, match="thing cannot be written: Permission denied"):
        write_artifact(tmp_path / "thing", NEW)


def test_another_process_that_writes_first_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, rename, rivals = tmp_path / "thing", Path.rename, iter(range(2))

    def contested(path: Path, target: Path) -> Path:
        if target == place and next(rivals, None) is not None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Path, "rename", rename)
                write_artifact(place, OLD)
        elif path == place and next(rivals, None) is not None:
            shutil.rmtree(place)  # taken away by the rival
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", contested)
    write_artifact(place, NEW)
    monkeypatch.undo()
    assert read_artifact(place) == NEW
    assert leftovers(tmp_path) == []


def test_truncation_of_any_file_is_noticed(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin", MARKER):
        write_artifact(tmp_path / name, OLD)
        file = tmp_path / name / name
        file.write_bytes(file.read_bytes()[:-1])
        assert read_artifact(tmp_path / name) is None
        assert read_meta(tmp_path / name) is None


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin", MARKER):
        write_artifact(tmp_path / name, OLD)
        (tmp_path / name / name).unlink()
        assert read_artifact(tmp_path / name) is None
        assert read_meta(tmp_path / name) is None


@pytest.mark.slow
def test_every_flipped_bit_of_every_file_is_noticed(tmp_path: Path) -> None:
    place = tmp_path / "thing"
    write_artifact(place, OLD, {"rows": 1, "unreadable": ["x"]})
    for name in (*OLD, MARKER):
        file = place / name
        whole = file.read_bytes()
        for bit in range(8 * len(whole)):
            broken = bytearray(whole)
            broken[bit // 8] ^= 1 << bit % 8
            file.write_bytes(broken)
            assert read_artifact(place) is None, (name, bit)
            if name == MARKER:
                assert read_meta(place) is None, bit
        file.write_bytes(whole)
    assert read_artifact(place) == OLD


@settings(max_examples=examples(50))
@given(data=st.binary(max_size=40))
def test_a_marker_of_any_bytes_never_raises(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    place = tmp_path_factory.mktemp("any")
    (place / MARKER).write_bytes(data)
    assert read_artifact(place) is None
    assert read_meta(place) is None


@pytest.mark.parametrize("text", ["[]", "1", '"a"', "null", "{}", '{"sha256": 1}', '{"schema": "1", "sha256": "x"}'])
def test_a_malformed_marker_reads_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKER).write_text(text, encoding="utf-8")
    assert read_artifact(tmp_path) is None


def test_a_later_schema_is_refused_and_not_overwritten_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "SCHEMA", 2)
    write_artifact(tmp_path / "thing", OLD)
    monkeypatch.undo()
    for read in (read_artifact, read_meta):
        with pytest.raises(DataError, match=r"thing was written by a later fusionkit \(schema 2; this one reads 1\)"):
            read(tmp_path / "thing")


def test_the_marker_lists_size_and_hash_of_each_file(tmp_path: Path) -> None:
    import hashlib

    write_artifact(tmp_path / "thing", OLD)
    marker = json.loads((tmp_path / "thing" / MARKER).read_text(encoding="utf-8"))
    assert marker["files"] == {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in OLD.items()}


@pytest.mark.parametrize("before", [None, b"old"])
def test_one_file_is_old_or_new_after_any_accident(tmp_path: Path, before: bytes | None) -> None:
    count = steps_of(lambda: write_file(tmp_path / "count" / "f", b"new"), forever=True)
    refused = []
    for forever in (True, False):
        for at in range(1, count + 1):
            file = tmp_path / f"{at}{forever}" / "f"
            if before:
                write_file(file, before)
            with pytest.MonkeyPatch.context() as patch:
                Tripwire(patch, at, Killed if forever else lambda: OSError(errno.ENOSPC, ""), forever=forever)
                try:
                    write_file(file, b"new")
                except DataError as error:
                    refused.append((str(error), f"{file} cannot be written: the disk is full"))
                except Killed:
                    pass
            assert (file.read_bytes() if file.exists() else None) in (before, b"new")
            if not forever and file.parent.exists() and at < count:
                assert leftovers(file.parent) == []
    assert len(refused) >= 3
    assert all(message == wanted for message, wanted in refused)


def test_a_file_below_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="x/y cannot be written"):
        write_file(tmp_path / "x" / "y", b"new")
    with pytest.raises(DataError, match="x/y cannot be written"):
        write_artifact(tmp_path / "x" / "y", NEW)


def test_a_missing_permission_is_told_with_owner_group_and_mode_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o755)
    error = unwritable(tmp_path / "cache" / "new" / "file", PermissionError(errno.EACCES, "Permission denied"))
    group = (tmp_path / "cache").group()
    assert f"cache is {tmp_path.owner()}:{group} drwxr-xr-x; make it writable for you or your group" in str(error)
    assert "make it" not in str(unwritable(tmp_path / "x", OSError(errno.ENOSPC, "No space left on device")))


def test_files_and_folders_have_the_permissions_that_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        write_file(tmp_path / "a" / "file", b"x")
        write_artifact(tmp_path / "b" / "folder", {"file": b"x"})
        with lease(tmp_path / "c" / "lease"):
            found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    finally:
        os.umask(before)
    folders = {name: found.pop(name) for name in ("a", "b", "c", "folder")}
    assert set(folders.values()) == {0o775}
    assert set(found.values()) == {0o664}


@pytest.mark.parametrize("path", ["file.csv", "new/deep/file.csv", "folder"])
def test_a_path_that_can_be_written_stays_as_it_was(path: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    check_writable(tmp_path / path)
    assert [each.name for each in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.parametrize(("path", "touched"), [("new/deep/file.csv", ""), ("folder", "folder")])
def test_a_path_that_cannot_be_written_is_told_before(
    path: str, touched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()

    def touch(file: Path) -> None:
        assert file.parent == tmp_path / touched
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(StorageError, match=r"cannot be written: Read-only file system"):
        check_writable(tmp_path / path)


@pytest.mark.skipif(os.name == "nt", reason="no devices as files")
def test_a_device_is_not_replaced() -> None:
    with pytest.raises(StorageError, match="/dev/null cannot be written: it is a pipe or a device"):
        check_writable(Path("/dev/null"))
