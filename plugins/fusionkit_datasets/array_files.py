"""Columns and matrices by name, from a .npz file, a folder of .npy files or a .parquet file; never through pickle."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from fusionkit.errors import ConfigError, DataError

_BLOCK = 1 << 22  # bytes hashed at a time


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """Every array by name: (N,) columns and (N, D) matrices.

    Raises:
        ConfigError: if the path is of another kind, or a parquet file cannot be read without pyarrow.
        DataError: if it is missing or damaged.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"embeddings: {place} does not exist")
    if place.is_dir():
        files = sorted(place.glob("*.npy"))
        if not files:
            raise DataError(f"embeddings: there is no .npy file in {place}")
        return {file.stem: _npy(file) for file in files}
    readers = {".npz": _npz, ".parquet": _parquet}
    if place.suffix not in readers:
        raise ConfigError(f"embeddings: {place} is not a .npz or .parquet file, nor a folder of .npy files")
    return readers[place.suffix](place)


def bytes_digest(path: str) -> str:
    """Hash of the bytes of a file, or of every .npy file of a folder by name (16 hex digits)."""
    place = Path(path).expanduser()
    state = hashlib.sha256()
    for file in sorted(place.glob("*.npy")) if place.is_dir() else [place]:
        state.update(file.name.encode() if place.is_dir() else b"")
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                state.update(block)
    return state.hexdigest()[:16]


def _npy(file: Path) -> np.ndarray:
    try:
        # Mapped: a view of millions of frames need not fit into memory.
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"embeddings: {file} cannot be read: {error}") from error
    return array


def _npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"embeddings: {file} cannot be read: {error}") from error


def _parquet(file: Path) -> dict[str, np.ndarray]:
    try:
        from pyarrow import ArrowException, parquet, types
    except ImportError as error:
        raise ConfigError(
            f"embeddings: {file} needs pyarrow to be read", hint="pip install 'fusionkit[parquet]'"
        ) from error
    try:
        table = parquet.read_table(file)
    except (OSError, ArrowException) as error:
        raise DataError(f"embeddings: {file} cannot be read: {error}") from error
    found = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if types.is_list(column.type) or types.is_fixed_size_list(column.type) or types.is_large_list(column.type):
            rows = column.to_pylist()
            widths = {len(row) for row in rows if row is not None}
            if len(widths) != 1:
                raise DataError(f"embeddings: {file}: column {name!r} holds lists of {len(widths)} lengths, not of one")
            missing = [np.nan] * widths.pop()
            found[name] = np.array([missing if row is None else row for row in rows], dtype=np.float32)
        else:
            found[name] = np.asarray(column.to_pylist())
    return found
