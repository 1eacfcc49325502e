"""Existing features of faces, sound, text or pose, by any model: from .npz, .npy or .parquet files."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import UNLABELLED, FaceDataset, FrameTable
from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.class_map import ClassMap, ClassMapOption

_COLUMNS = ("label", "clip", "frame", "subject", "split", "video")


class Embeddings(FaceDataset):
    """Existing features of named views; there are no images.

    ``path`` has arrays by name: each matrix (N, D) of floats is a view under its own name, with a row of NaN for a
    missing view; columns (N,) are

    - ``label`` (required): class names, or numbers into ``classes``; ``-1`` or an empty name is unlabelled;
    - ``clip``: the frames of one person in one video. Default: every row is a clip;
    - ``frame``: frame number in the clip. Default: the position among the rows of the clip, from 1;
    - ``subject``, ``split`` (``train``, ``val``, ``test``), ``video``: as in any data set, empty if unknown;

    and ``classes`` (C,) are the class names in the order of the numbers. Default: the names in ``label``, sorted.

    Args:
        path: a .npz file, a folder of .npy files (mapped, not read into memory), or a .parquet file whose list columns
            are views (needs pyarrow).
        class_map: rename, merge or remove classes: ``{contempt:Other,unsure:null}``; ``abaw`` maps to the names of the
            ABAW challenge. Default: unchanged.

    Raises:
        ConfigError: if the class map or the kind of file is wrong.
        DataError: if arrays are missing, differ in length, or have wrong values.

    Reference: none; an interface for features computed elsewhere.
    """

    places: ClassVar[tuple[str, ...]] = ("path",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # features are needed to build it

    def __init__(self, path: str, class_map: ClassMapOption = None) -> None:
        self._path = path
        arrays = read_arrays(path)
        self._views = {name: array for name, array in arrays.items() if array.ndim == 2}
        columns = {name: array for name, array in arrays.items() if array.ndim != 2}
        _check(self._views, columns, path)
        own, label = _classes_and_labels(columns, path)
        self._map = ClassMap.of(own, class_map)
        clip = _text(columns.get("clip", np.char.add("row", np.arange(len(label)).astype(np.str_))))
        number = columns["frame"].astype(np.int64) if "frame" in columns else _positions(clip)
        self._order = np.lexsort((number, clip))
        optional = {
            name: _text(columns[name])[self._order] for name in ("subject", "split", "video") if name in columns
        }
        self._frames = FrameTable.of(
            clip[self._order], number[self._order], self._map.apply(label)[self._order], **optional
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, mapped."""
        return self._map.classes

    @property
    def frames(self) -> FrameTable:
        """One row per row of the arrays, sorted by clip and frame number."""
        return self._frames

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the matrices."""
        return tuple(self._views)

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        """Return the features of one view: (n, D) float32."""
        found: np.ndarray = np.asarray(self._views[view][self._order[rows]], dtype=np.float32)
        return found

    def content(self) -> str:
        """Return the hash of all arrays."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return bytes_digest(self._path)

    def where(self, row: int) -> str:
        """Return the row of the arrays, from 0."""
        return f"{self._path} row {self._order[row]}"


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """Read every array by name: (N,) columns and (N, D) matrices; pickle is not used.

    Raises:
        ConfigError: if the path is of another kind, or a parquet file needs pyarrow, which is not installed.
        DataError: if it is missing or damaged.
    """
    source = Path(path).expanduser()
    if not source.exists():
        raise DataError(f"embeddings: {source} does not exist")
    if source.is_dir():
        files = sorted(source.glob("*.npy"))
        if not files:
            raise DataError(f"embeddings: {source} has no .npy file")
        return {file.stem: _npy(file) for file in files}
    readers = {".npz": _npz, ".parquet": _parquet}
    if source.suffix not in readers:
        raise ConfigError(f"embeddings: {source} must be a .npz or .parquet file, or a folder of .npy files")
    return readers[source.suffix](source)


def bytes_digest(path: str) -> str:
    """Return the hash of a file, or of the names and contents of every .npy file of a folder (16 hex digits)."""
    source = Path(path).expanduser()
    state = hashlib.sha256()
    for file in sorted(source.glob("*.npy")) if source.is_dir() else [source]:
        state.update(file.name.encode() if source.is_dir() else b"")
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                state.update(block)
    return state.hexdigest()[:16]


def _npy(file: Path) -> np.ndarray:
    try:
        # Mapped: a view of millions of frames may exceed memory.
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(file, error) from error
    return array


def _npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(file, error) from error


def _parquet(file: Path) -> dict[str, np.ndarray]:
    try:
        from pyarrow import ArrowException, parquet, types
    except ImportError as error:
        raise ConfigError(f"embeddings: {file} needs pyarrow", hint="pip install 'fusionkit[parquet]'") from error
    try:
        table = parquet.read_table(file)
    except (OSError, ArrowException) as error:
        raise _unreadable(file, error) from error
    found = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if types.is_list(column.type) or types.is_fixed_size_list(column.type) or types.is_large_list(column.type):
            rows = column.to_pylist()
            widths = {len(row) for row in rows if row is not None}
            if len(widths) != 1:
                raise DataError(f"embeddings: {file}: lists in column {name!r} must have one length, not {len(widths)}")
            missing = [np.nan] * widths.pop()
            found[name] = np.array([missing if row is None else row for row in rows], dtype=np.float32)
        else:
            found[name] = np.asarray(column.to_pylist())
    return found


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"embeddings: {file} cannot be read: {error}")


def _check(views: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray], path: str) -> None:
    """Check names, lengths and types.

    Raises:
        DataError: with the first problem.
    """
    if not views:
        raise DataError(f"embeddings: {path} has no view: no array of two dimensions, frames by features")
    unknown = sorted(set(columns) - {*_COLUMNS, "classes"})
    if unknown:
        raise DataError(
            f"embeddings: {path}: array {unknown[0]!r} of shape {columns[unknown[0]].shape} is neither a view (frames "
            f"by features) nor a known column; columns: {', '.join(_COLUMNS)}"
        )
    if "label" not in columns:
        raise DataError(f"embeddings: {path} has no column 'label'")
    lengths = {name: len(array) for name, array in {**views, **columns}.items() if name != "classes"}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"embeddings: {path}: arrays differ in length: {found}")
    for name, view in views.items():
        if not np.issubdtype(view.dtype, np.floating):
            raise DataError(f"embeddings: {path}: view {name!r} must be floating point, not {view.dtype}")
    if "frame" in columns and not np.issubdtype(columns["frame"].dtype, np.integer):
        raise DataError(f"embeddings: {path}: column 'frame' must be integers, not {columns['frame'].dtype}")


def _classes_and_labels(columns: Mapping[str, np.ndarray], path: str) -> tuple[tuple[str, ...], np.ndarray]:
    label = columns["label"]
    named = tuple(map(str, columns["classes"].tolist())) if "classes" in columns else None
    if np.issubdtype(label.dtype, np.integer):
        if named is None:
            raise DataError(f"embeddings: {path}: labels are numbers, so an array 'classes' with the names is required")
        bad = np.flatnonzero((label < UNLABELLED) | (label >= len(named)))
        if len(bad):
            raise DataError(f"embeddings: {path} row {bad[0]}: label {label[bad[0]]} must be in -1..{len(named) - 1}")
        return named, label.astype(np.int64)
    texts = _text(label)
    found = sorted(set(texts.tolist()) - {""})
    codes = {name: code for code, name in enumerate(named or found)}
    unknown = [name for name in found if name not in codes]
    if unknown:
        raise DataError(f"embeddings: {path}: unknown label {unknown[0]!r}; classes: {', '.join(codes)}")
    numbers = np.array([codes.get(name, UNLABELLED) for name in texts.tolist()], dtype=np.int64)
    return tuple(codes), numbers


def _text(column: np.ndarray) -> np.ndarray:
    return np.array(["" if value is None else str(value) for value in column.tolist()], dtype=np.str_)


def _positions(clip: np.ndarray) -> np.ndarray:
    """Return the position of each row among the rows of its clip, from 1."""
    order = np.argsort(clip, kind="stable")
    starts = np.flatnonzero(np.r_[True, clip[order][1:] != clip[order][:-1]])
    lengths = np.diff(np.r_[starts, len(clip)])
    positions = np.empty(len(clip), dtype=np.int64)
    positions[order] = np.arange(len(clip)) - np.repeat(starts, lengths) + 1
    return positions
