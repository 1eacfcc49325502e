"""Stored results: a folder of files that is written whole or not at all, and whose bytes are checked when read.

A folder is written beside its place, synced and renamed; ``done.json`` in it holds the size and hash of every file,
and its own.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fusionkit.errors import ConfigError, DataError, StorageError
from fusionkit.storage.identity import canonical

MARKER = "done.json"
SCHEMA = 1
_SEAL = "sha256"  # the key under which the marker holds the hash of the rest of itself
_ATTEMPTS = 10
_BESIDE = re.compile(r"\.(.+)\.[0-9a-f]{8}")


def write_artifact(folder: Path, files: Mapping[str, bytes], meta: Mapping[str, Any] | None = None) -> None:
    """Write a folder of files so that it exists whole or not at all; one that is already there is replaced.

    Raises:
        StorageError: if it cannot be written (full disk, no permission); nothing half-written is left.
    """
    marker: dict[str, Any] = {
        "schema": SCHEMA,
        "files": {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in files.items()},
        "meta": dict(meta or {}),
    }
    marker[_SEAL] = _seal(marker)
    aside = _beside(folder)
    try:
        aside.mkdir(parents=True)
        for name, data in {**files, MARKER: canonical(marker).encode()}.items():
            _write_synced(aside / name, data)
        _put_in_place(aside, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Write one file by renaming, so that a reader sees the old bytes or the new ones.

    Raises:
        StorageError: if it cannot be written.
    """
    aside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_synced(aside, data)
        aside.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # a folder that cannot be written cannot be cleaned either: the first error counts
            aside.unlink()


def read_artifact(folder: Path, names: Collection[str] | None = None) -> dict[str, bytes] | None:
    """The files of a folder, or None if it is not there, not complete, or any byte is not what was written.

    Args:
        folder: which.
        names: of the files to read and check, those of them that were written; None for all.

    Raises:
        DataError: if it was written by a later version of fusionkit.
    """
    marker = _marker(folder)
    if marker is None:
        return None
    files: dict[str, bytes] = {}
    for name, (size, checksum) in marker["files"].items():
        if names is not None and name not in names:
            continue
        try:
            data = (folder / name).read_bytes()
        except OSError:
            return None
        if len(data) != size or hashlib.sha256(data).hexdigest() != checksum:
            return None
        files[name] = data
    return files


def check_artifact(folder: Path) -> bool:
    """Whether :func:`read_artifact` would give the files: every byte is read, in blocks, and none is kept.

    Raises:
        DataError: if it was written by a later version of fusionkit.
    """
    marker = _marker(folder)
    return marker is not None and all(_is_whole(folder / name, *told) for name, told in marker["files"].items())


def _is_whole(file: Path, size: int, checksum: str) -> bool:
    try:
        with file.open("rb") as stream:
            return file.stat().st_size == size and hashlib.file_digest(stream, "sha256").hexdigest() == checksum
    except OSError:
        return False


def read_meta(folder: Path) -> dict[str, Any] | None:
    """What was noted with a folder, or None if it is not there or a file of it has the wrong size.

    Cheaper than :func:`read_artifact`: sizes are compared, bytes are not hashed.
    """
    marker = _marker(folder)
    if marker is None:
        return None
    for name, (size, _) in marker["files"].items():
        try:
            if (folder / name).stat().st_size != size:
                return None
        except OSError:
            return None
    meta: dict[str, Any] = marker["meta"]
    return meta


def half_written(folder: Path) -> dict[Path, str]:
    """What lies in a folder beside its place, each with the name of what it was to be.

    It is being written, or was when its process died.
    """
    try:
        found = [(Path(entry.path), _BESIDE.fullmatch(entry.name)) for entry in os.scandir(folder)]
    except OSError:
        return {}
    return {path: match[1] for path, match in found if match}


def _beside(path: Path) -> Path:
    """Where something is written before it is put in its place."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_bytes())
        sound = marker.pop(_SEAL) == _seal(marker)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError):
        return None
    if not sound:
        return None
    schema = marker["schema"]
    if schema > SCHEMA:
        raise DataError(f"{folder} was written by a later fusionkit (schema {schema}; this one reads {SCHEMA})")
    return marker


def _seal(marker: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(marker).encode()).hexdigest()


def _put_in_place(aside: Path, folder: Path) -> None:
    # A folder that is not empty cannot be renamed over, and between two steps another process may put its own there.
    for attempt in range(_ATTEMPTS):
        try:
            aside.rename(folder)
            break
        except OSError as error:
            in_the_way = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
            if not in_the_way or attempt == _ATTEMPTS - 1:
                raise
        _remove(folder)
    _sync_folder(folder.parent)


def _remove(path: Path) -> None:
    """Remove a folder or file as a whole, by renaming it first."""
    doomed = _beside(path)
    with suppress(FileNotFoundError):  # another process was faster
        path.rename(doomed)
        if doomed.is_dir():
            shutil.rmtree(doomed, ignore_errors=True)
        else:
            doomed.unlink()


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError) -> StorageError:
    """The error of a place that cannot be written, in one line."""
    reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    return StorageError(f"{path} cannot be written: {reason}")


def csv_bytes(columns: tuple[str, ...], records: Iterable[Mapping[str, Any]]) -> bytes:
    """A CSV file of some columns, a line a record; NaN, None and what a record lacks are left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_value(record.get(column)) for column in columns] for record in records)
    return text.getvalue().encode()


def _csv_value(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
