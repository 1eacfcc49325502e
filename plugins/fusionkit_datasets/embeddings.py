"""Existing features of faces, sound, text or pose, by any model: from .npz, .npy or .parquet files."""

from __future__ import annotations

import hashlib
import json
import unicodedata
import zipfile
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import UNLABELLED, FaceDataset, FrameTable, Labels
from fusionkit.contracts.regular_file import open_file
from fusionkit.errors import ConfigError, DataError, expanded, extra
from fusionkit.registry import did_you_mean, did_you_mean_path
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.columns import SPLITS
from fusionkit_datasets.task_columns import TasksOption, columns_hint, task_columns

_COLUMNS = ("label", "clip", "frame", "subject", "split", "video", "rate")
_TEXTS = ("clip", *(_OPTIONAL := ("subject", "split", "video")))
_IDS = "_ids"
_MISSING = frozenset({"nan", "NaN", "<NA>", "NaT"})  # a missing value that NumPy or pandas turned into text
_NO_CLASS = frozenset({"-1", "-1.0"})  # the number of unlabelled frames, turned into text


class Embeddings(FaceDataset):
    """Existing features of named views; there are no images.

    ``path`` has arrays by name: each matrix (N, D) of floats is a view under its own name, with a row of NaN for a
    missing view; columns (N,) are

    - ``label`` (required without ``tasks``): class names, or whole numbers into ``classes``; ``-1``, NaN, a null or an
      empty name is unlabelled;
    - ``clip``: the frames of one person in one video. Default: every row is a clip;
    - ``frame``: frame number in the clip. Default: the position among the rows of the clip, from 1;
    - ``subject``, ``split`` (``train``, ``val``, ``test``), ``video``: as in any data set, empty if unknown, the same
      in all rows of a clip;
    - ``rate``: frames per second, the same in all rows of a clip; NaN or a null is unknown;
    - ``<view>_ids``, ``label_ids``: an id per row of a view or of the labels; those that are given must be equal, so
      that arrays in different orders are found;

    and ``classes`` (C,) are the class names in the order of the numbers. Default: the names in ``label``, sorted. The
    index of a pandas frame in a .parquet file is ignored.

    Args:
        path: a .npz file, a folder of .npy files (mapped, not read into memory), or a .parquet file whose list columns
            are views (needs pyarrow).
        class_map: rename, merge or remove classes: ``{contempt:Other,unsure:null}``; ``abaw`` maps to the names of the
            ABAW challenge. Default: unchanged.
        tasks: columns of numbers that are labels of other tasks, by task:
            ``{action-units:[AU1,AU2],valence-arousal:[valence,arousal],votes:[happy,sad]}``. Their names are those of
            the columns; NaN or a null is unlabelled. Default: none.

    Raises:
        ConfigError: if the class map, the tasks or the kind of file is wrong.
        DataError: if arrays are missing, differ in length or order, or have wrong values: a missing subject, two
            spellings of a class, a clip in several splits.

    Reference: none; an interface for features computed elsewhere.
    """

    places: ClassVar[tuple[str, ...]] = ("path",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # features are needed to build it

    def __init__(self, path: str, class_map: ClassMapOption = None, tasks: TasksOption = None) -> None:
        self._path = path
        arrays = read_arrays(path)
        self._tasks = task_columns("embeddings", tasks)
        self._views = {name: array for name, array in arrays.items() if array.ndim == 2}
        columns = {name: array for name, array in arrays.items() if array.ndim != 2}
        used = dict.fromkeys(name for names in self._tasks.values() for name in names)
        _check(self._views, columns, used, path)
        self._numbers = {name: _numbers(name, columns[name], path) for name in used}
        own, label = _classes_and_labels(columns, path) if "label" in columns else _no_labels(self._views)
        self._map = ClassMap.of(own, class_map)
        text = {
            name: _full_text(name, columns[name], path)
            for name in _COLUMNS
            if name in columns and name not in ("label", "frame", "rate")
        }
        if "split" in text:
            text["split"] = np.array([SPLITS.get(name.lower(), name) for name in text["split"].tolist()])
        clip = text.get("clip", np.char.add("row", np.arange(len(label)).astype(np.str_)))
        number = _whole_numbers("frame", columns["frame"], path) if "frame" in columns else _positions(clip)
        self._order = np.lexsort((number, clip))
        optional = {name: text[name][self._order] for name in _OPTIONAL if name in text}
        _check_clips(clip[self._order], optional, path)
        rate = _numbers("rate", columns["rate"], path)[self._order] if "rate" in columns else None
        self._frames = FrameTable.of(
            clip[self._order], number[self._order], self._map.apply(label)[self._order], **optional, rate=rate
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, mapped."""
        return self._map.classes

    @property
    def frames(self) -> FrameTable:
        """One row per row of the arrays, sorted by clip and frame number."""
        return self._frames

    def labels(self, task: str) -> Labels | None:
        """Return the classes, or the columns that ``tasks`` names."""
        if task not in self._tasks:
            return super().labels(task) if self.classes else None
        names = self._tasks[task]
        return Labels(names, np.stack([self._numbers[name] for name in names], 1)[self._order])

    def labels_hint(self, task: str) -> str:
        """Return the option that names columns."""
        return columns_hint(task)

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
    source = expanded(path)
    if not source.exists():
        raise DataError(f"embeddings: {source} does not exist{did_you_mean_path(source)}")
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
    source = expanded(path)
    state = hashlib.sha256()
    for file in sorted(source.glob("*.npy")) if source.is_dir() else [source]:
        state.update(file.name.encode() if source.is_dir() else b"")
        with open_file(file) as stream:
            while block := stream.read(1 << 22):
                state.update(block)
    return state.hexdigest()[:16]


def _npy(file: Path) -> np.ndarray:
    try:
        open_file(file).close()
        # Mapped: a view of millions of frames may exceed memory.
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(file, error) from error
    return array


def _npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with open_file(file) as stream, np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(file, error) from error


def _parquet(file: Path) -> dict[str, np.ndarray]:
    with extra("parquet", f"embeddings: {file}"):
        from pyarrow import ArrowException, parquet, types
    try:
        open_file(file).close()
        table = parquet.read_table(file)
    except (OSError, ArrowException) as error:
        raise _unreadable(file, error) from error
    found: dict[str, np.ndarray] = {}
    for name in [name for name in table.column_names if name not in _index_columns(table.schema.metadata)]:
        column = table.column(name).combine_chunks()
        if types.is_list(column.type) or types.is_fixed_size_list(column.type) or types.is_large_list(column.type):
            rows = column.to_pylist()
            widths = {len(row) for row in rows if row is not None}
            if len(widths) != 1:
                raise DataError(f"embeddings: {file}: lists in column {name!r} must have one length, not {len(widths)}")
            missing = [np.nan] * widths.pop()
            found[name] = np.array([missing if row is None else row for row in rows], dtype=np.float32)
        elif types.is_integer(column.type) or types.is_floating(column.type):
            found[name] = column.to_numpy(zero_copy_only=False)  # nulls become NaN
        else:
            found[name] = np.array(column.to_pylist(), dtype=object)
    return found


def _index_columns(metadata: Mapping[bytes, bytes] | None) -> set[str]:
    """Return the columns of a parquet file that hold the index of a pandas frame."""
    index = json.loads((metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    return {name for name in index if isinstance(name, str)} - set(_COLUMNS)


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"embeddings: {file} cannot be read: {error}")


def _check(
    views: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray], of_tasks: Collection[str], path: str
) -> None:
    """Check names, lengths and types.

    Raises:
        DataError: with the first problem.
    """
    if not views:
        raise DataError(f"embeddings: {path} has no view: no array of two dimensions, frames by features")
    with_ids = {f"{name}{_IDS}" for name in ("label", *views)}
    if absent := [name for name in of_tasks if name not in columns]:
        near = did_you_mean(absent[0], sorted(columns))
        raise DataError(f"embeddings: {path} has no column {absent[0]!r} of numbers (N,), which tasks names{near}")
    unknown = sorted(set(columns) - {*_COLUMNS, *with_ids, *of_tasks, "classes"})
    if unknown:
        raise DataError(
            f"embeddings: {path}: array {unknown[0]!r} of shape {columns[unknown[0]].shape} is neither a view (frames "
            f"by features) nor a known column; columns: {', '.join(_COLUMNS)}",
            hint="tasks={TASK:[COLUMN,...]} names columns of numbers that are labels of other tasks",
        )
    if "label" not in columns and not of_tasks:
        raise DataError(f"embeddings: {path} has no column 'label'")
    lengths = {name: len(array) for name, array in {**views, **columns}.items() if name != "classes"}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"embeddings: {path}: arrays differ in length: {found}")
    for name, view in views.items():
        if not np.issubdtype(view.dtype, np.floating):
            raise DataError(f"embeddings: {path}: view {name!r} must be floating point, not {view.dtype}")
        if not view.shape[1]:
            raise DataError(f"embeddings: {path}: view {name!r} of shape {view.shape} has no features")
    _check_ids({name: columns[name] for name in sorted(with_ids & set(columns))}, path)


def _check_ids(ids: Mapping[str, np.ndarray], path: str) -> None:
    """Raise DataError if the ids of two arrays differ in a row."""
    texts = {name: _full_text(name, column, path) for name, column in ids.items()}
    if len(texts) == 1:
        raise DataError(f"embeddings: {path}: {next(iter(texts))!r} has no other ids to be compared with")
    for name, text in list(texts.items())[1:]:
        first, other = next(iter(texts.items()))
        if len(different := np.flatnonzero(text != other)):
            row = int(different[0])
            raise DataError(
                f"embeddings: {path} row {row}: {first} is {str(other[row])!r}, {name} is {str(text[row])!r}; "
                f"{len(different)} row(s) differ, so the arrays are not in one order"
            )


def _check_clips(clip: np.ndarray, columns: Mapping[str, np.ndarray], path: str) -> None:
    """Raise DataError if a clip, of sorted rows, has several values in a column."""
    starts = np.flatnonzero(np.r_[True, clip[1:] != clip[:-1]])
    first = np.repeat(starts, np.diff(np.r_[starts, len(clip)]))
    for name, column in columns.items():
        if len(wrong := np.flatnonzero(column != column[first])):
            row = int(wrong[0])
            values = f"{str(column[first[row]])!r} and {str(column[row])!r}"
            raise DataError(f"embeddings: {path}: clip {str(clip[row])!r} has several values of {name!r}: {values}")


def _classes_and_labels(columns: Mapping[str, np.ndarray], path: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, and the number of each row's class, -1 if it is unlabelled."""
    label = columns["label"]
    named = tuple(_full_text("classes", columns["classes"], path, missing=()).tolist()) if "classes" in columns else ()
    if repeated := [name for index, name in enumerate(named) if name in named[:index]]:
        raise DataError(f"embeddings: {path}: class {repeated[0]!r} is in 'classes' twice")
    if label.dtype.kind in "iuf":
        if not named:
            raise DataError(
                f"embeddings: {path}: labels are numbers, so an array 'classes' with the names is required",
                hint="classes=[NAME_OF_0,NAME_OF_1,...]",
            )
        known = ~np.isnan(label) if label.dtype.kind == "f" else np.ones(len(label), bool)
        numbers = np.full(len(label), UNLABELLED, dtype=np.int64)
        numbers[known] = _whole_numbers("label", np.where(known, label, UNLABELLED), path)[known]
        bad = np.flatnonzero((numbers < UNLABELLED) | (numbers >= len(named)))
        if len(bad):
            raise DataError(f"embeddings: {path} row {bad[0]}: label {numbers[bad[0]]} must be in -1..{len(named) - 1}")
        return named, numbers
    unlabelled = ({""} | _MISSING | _NO_CLASS) - set(named)
    texts = ["" if text.strip() in unlabelled else text for text in _text("label", label, path)]
    found = sorted(set(texts) - {""})
    _check_spellings([*named, *(name for name in found if name not in named)], path)
    if "None" in found and "None" not in named:
        raise DataError(
            f"embeddings: {path} row {texts.index('None')}: label 'None' is a class or a missing label",
            hint="name it in 'classes' if it is a class; else write it as an empty text",
        )
    codes = {name: code for code, name in enumerate(named or found)}
    if unknown := [name for name in found if name not in codes]:
        raise DataError(f"embeddings: {path}: unknown label {unknown[0]!r}; classes: {', '.join(codes)}")
    return tuple(codes), np.array([codes.get(text, UNLABELLED) for text in texts], dtype=np.int64)


def _no_labels(views: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return no class names, and -1 for each row."""
    return (), np.full(len(next(iter(views.values()))), UNLABELLED)


def _numbers(name: str, column: np.ndarray, path: str) -> np.ndarray:
    """Return a column of numbers or truth values as (N,) float32, NaN for a missing one.

    Raises:
        DataError: if it holds something else.
    """
    values = column.tolist()
    row = next((row for row, value in enumerate(values) if not isinstance(value, int | float | None)), None)
    if row is not None:
        raise DataError(f"embeddings: {path} row {row}: {name} must be a number, not {str(values[row])[:40]!r}")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float32)


def _check_spellings(names: list[str], path: str) -> None:
    """Raise DataError if two names differ in case or blanks only."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(unicodedata.normalize("NFC", name).strip().casefold(), name)
        if other != name:
            raise DataError(f"embeddings: {path}: classes {other!r} and {name!r} differ in case or blanks only")


def _text(name: str, column: np.ndarray, path: str) -> list[str]:
    """Return a column as texts; a missing value is ``nan``.

    Raises:
        DataError: if bytes are not UTF-8.
    """

    def text(value: Any) -> str:
        if isinstance(value, bytes):
            return value.decode()
        whole = isinstance(value, float) and value.is_integer()  # an integer column with missing values
        return "nan" if value is None else str(int(value) if whole else value)

    try:
        return [text(value) for value in column.tolist()]
    except UnicodeDecodeError as error:
        raise DataError(f"embeddings: {path}: column {name!r} has bytes that are not UTF-8: {error}") from error


def _full_text(name: str, column: np.ndarray, path: str, missing: Collection[str] = _MISSING) -> np.ndarray:
    """Return a column without missing values as texts: (N,) str.

    Raises:
        DataError: if a value is missing, or is empty where it cannot be.
    """
    texts = _text(name, column, path)
    optional = name in _OPTIONAL
    wrong = next((row for row, text in enumerate(texts) if text in missing or not (text or optional)), None)
    if wrong is not None:
        hint = "an unknown one is an empty text" if optional else ""
        raise DataError(f"embeddings: {path} row {wrong}: {name} is missing ({texts[wrong]!r})", hint=hint)
    return np.array(texts, dtype=np.str_)


def _whole_numbers(name: str, column: np.ndarray, path: str) -> np.ndarray:
    """Return a column of integers, or of floats with integer values: (N,) int64.

    Raises:
        DataError: if it holds other values.
    """
    if column.dtype.kind not in "iuf":
        raise DataError(f"embeddings: {path}: column {name!r} must be integers, not {column.dtype}")
    wrong = np.flatnonzero(~(np.isfinite(column) & (np.mod(column, 1) == 0))) if column.dtype.kind == "f" else ()
    if len(wrong):
        raise DataError(f"embeddings: {path} row {wrong[0]}: {name} {column[wrong[0]]:g} is not an integer")
    return column.astype(np.int64)


def _positions(clip: np.ndarray) -> np.ndarray:
    """Return the position of each row among the rows of its clip, from 1."""
    order = np.argsort(clip, kind="stable")
    starts = np.flatnonzero(np.r_[True, clip[order][1:] != clip[order][:-1]])
    lengths = np.diff(np.r_[starts, len(clip)])
    positions = np.empty(len(clip), dtype=np.int64)
    positions[order] = np.arange(len(clip)) - np.repeat(starts, lengths) + 1
    return positions
