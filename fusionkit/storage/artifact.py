"""Artifacts: folders of files that are written completely or not at all, and checked when they are read.

A folder is written under a temporary name beside its path, synced and renamed. Its ``done.json`` holds the size and
hash of every file, and of itself.
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
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from fusionkit.contracts.regular_file import special_file
from fusionkit.errors import ConfigError, DataError, StorageError, printable
from fusionkit.storage.identity import canonical

MARKER = "done.json"
SCHEMA = 1
_SEAL = "sha256"  # key of the marker: the hash of its other keys
_ATTEMPTS = 10
_FORMULA = ("=", "+", "-", "@")
_PATIENCE = 2.0  # s; a reader has a file open for a moment
_T = TypeVar("_T")
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}")


def write_artifact(folder: Path, files: Mapping[str, bytes], meta: Mapping[str, Any] | None = None) -> None:
    """Write a folder of files completely or not at all. An existing folder is replaced.

    Raises:
        StorageError: if it cannot be written (full disk, no permission); no partial files are left.
    """
    marker: dict[str, Any] = {
        "schema": SCHEMA,
        "files": {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in files.items()},
        "meta": dict(meta or {}),
    }
    marker[_SEAL] = _seal(marker)
    temporary = _temporary(folder)
    try:
        temporary.mkdir(parents=True)
        for name, data in {**files, MARKER: canonical(marker).encode()}.items():
            _write_synced(temporary / name, data)
        _rename_over(temporary, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Write one file atomically: a reader sees either the old bytes or the new ones.

    Raises:
        StorageError: if it cannot be written.
    """
    if problem := special_file(path):  # a rename would replace the device itself
        raise StorageError(f"{path} cannot be written: {problem}")
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_synced(temporary, data)
        patiently(lambda: temporary.replace(path))
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # in a folder that cannot be written, nothing can be removed: report the first error
            temporary.unlink()


def read_artifact(folder: Path, names: Collection[str] | None = None) -> dict[str, bytes] | None:
    """Return the files of a folder, or None if it is missing, incomplete or damaged.

    Args:
        folder: the folder.
        names: files to read and check; names that were not written are ignored. None: all files.

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
    """Return whether a folder is complete and undamaged. Every byte is read, in blocks.

    Raises:
        DataError: if it was written by a later version of fusionkit.
    """
    marker = _marker(folder)
    return marker is not None and all(
        _is_intact(folder / name, *expected) for name, expected in marker["files"].items()
    )


def _is_intact(file: Path, size: int, checksum: str) -> bool:
    try:
        with file.open("rb") as stream:
            return file.stat().st_size == size and hashlib.file_digest(stream, "sha256").hexdigest() == checksum
    except OSError:
        return False


def read_meta(folder: Path) -> dict[str, Any] | None:
    """Return the metadata of a folder, or None if it is missing or one of its files has the wrong size.

    Cheaper than :func:`read_artifact`: it compares sizes and does not hash bytes.
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
    """Return the partial files and folders in a folder, each with its final name.

    They are being written, or were when their process died.
    """
    try:
        found = [(Path(entry.path), _TEMPORARY.fullmatch(entry.name)) for entry in os.scandir(folder)]
    except OSError:
        return {}
    return {path: match[1] for path, match in found if match}


def _temporary(path: Path) -> Path:
    """Return a temporary path beside the final one."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_bytes())
        intact = marker.pop(_SEAL) == _seal(marker)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError):
        return None
    if not intact:
        return None
    schema = marker["schema"]
    if schema > SCHEMA:
        raise DataError(f"{folder} was written by a later fusionkit (schema {schema}; this one reads {SCHEMA})")
    return marker


def _seal(marker: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(marker).encode()).hexdigest()


def _rename_over(temporary: Path, folder: Path) -> None:
    # A rename cannot replace a folder that is not empty. After its removal another process may write its own: retry.
    for attempt in range(_ATTEMPTS):
        try:
            patiently(lambda: temporary.rename(folder))
            break
        except OSError as error:
            exists = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
            if not exists or attempt == _ATTEMPTS - 1:
                raise
        _remove(folder)
    _sync_folder(folder.parent)


def _remove(path: Path) -> None:
    """Remove a folder or file atomically, by renaming it first."""
    renamed = _temporary(path)
    with suppress(FileNotFoundError):  # another process was faster
        patiently(lambda: path.rename(renamed))
        if renamed.is_dir():
            shutil.rmtree(renamed, ignore_errors=True)
        else:
            renamed.unlink()


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def patiently(operation: Callable[[], _T]) -> _T:
    """Return the result of a file operation. On Windows it is repeated while another process has the file open.

    Raises:
        OSError: of the operation.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return operation()
        except PermissionError:  # elsewhere permission is missing
            if os.name != "nt" or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # which cannot open a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(path: Path) -> None:
    """Check that a file can be written at a path, or a file in an existing folder, before its content is computed.

    Raises:
        StorageError: if not.
    """
    if problem := special_file(path):
        raise StorageError(f"{path} cannot be written: {problem}")
    inside = path / "content" if path.is_dir() else path
    nearest = next(each for each in inside.absolute().parents if each.exists())
    temporary = _temporary(nearest / inside.name)
    try:
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """Return the error of a path that cannot be written."""
    reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return StorageError(f"{path} cannot be written: {reason}", hint=_permissions(path) if denied else "")


def _permissions(path: Path) -> str:
    """Return owner, group and mode of the folder in which a path would be made, and what would be right."""
    nearest = next(each for each in path.absolute().parents if each.exists())
    try:
        state = f"{nearest} is {nearest.owner()}:{nearest.group()} {stat.filemode(nearest.stat().st_mode)}"
    except (OSError, KeyError, NotImplementedError):  # a user without a name, or a system without owners
        state = f"{nearest} is {stat.filemode(nearest.stat().st_mode)}"
    return f"{state}; make it writable for you or your group, or choose another folder by --out or FUSIONKIT_CACHE"


def csv_bytes(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a CSV file with the given columns. NaN, None and missing fields are left empty; texts as in `csv_text`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_text, columns))
    writer.writerows([_csv_value(row.get(column)) for column in columns] for row in rows)
    return text.getvalue().encode()


def csv_text(text: str) -> str:
    """Return a text as it is written in a CSV file: printable, and with a leading ``'`` where it reads as a formula.

    A spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@``.

    Reference: https://owasp.org/www-community/attacks/CSV_Injection
    """
    return printable(f"'{text}" if text.startswith(_FORMULA) else text)


def _csv_value(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return csv_text(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
