"""Arrays in memory as a data set."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.errors import DataError, expanded
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit.storage.artifact import write_file

Column = Any  # a sequence, an array, a tensor, or a column of pandas, polars or Arrow


def from_arrays(
    path: str | Path,
    views: Mapping[str, Any],
    label: Column | None = None,
    *,
    tasks: Mapping[str, Mapping[str, Column]] | None = None,
    classes: Sequence[str] | None = None,
    clip: Column | None = None,
    frame: Column | None = None,
    subject: Column | None = None,
    split: Column | None = None,
    video: Column | None = None,
    rate: Column | float | None = None,
    ids: Mapping[str, Column] | None = None,
) -> dict[str, Any]:
    """Write embeddings to a file and return the data set that reads it: ``bench(datasets=[from_arrays(...)])``.

    The data set orders frames by clip and number, so row k of its predictions may be another row of the arrays: join
    them by ``clip`` and ``frame``.

    Columns and views may be lists, NumPy arrays, PyTorch tensors, or columns of pandas, polars or Arrow.

    Args:
        path: the .npz file to write; an existing file is replaced once the new one is complete and readable.
        views: (N, D_v) floats by name of view; a row of NaN is a missing view.
        label: (N,) class names, or integers that index ``classes``; ``-1``, NaN, None or an empty name is unlabelled.
            Default: no expressions; ``tasks`` is required then.
        tasks: labels of other tasks: (N,) numbers by name of the label, by task, as
            ``{"valence-arousal": {"valence": v, "arousal": a}}``. NaN or None is unlabelled. Default: none.
        classes: class names; required with integer labels. Default: the sorted names in ``label``.
        clip: (N,) clip of each row: consecutive frames of one face in one video. Default: every row is a clip.
        frame: (N,) integers, position in the clip. Default: the order of the rows, from 1.
        subject: (N,) identity of the person. Default: unknown.
        split: (N,) ``train``, ``val`` or ``test``. Default: no official split.
        video: (N,) source video of the clip. Default: unknown.
        rate: frames per second, one number or (N,) of the clip of each row; NaN is unknown. Default: unknown.
        ids: (N,) id of each row, by name of view, or ``label``. They must be equal, so a shuffled view is found.
            Default: not compared.

    Returns:
        The data set as in a config: ``{"type": "embeddings", "path": ...}``, with ``tasks`` if they are given.

    Raises:
        DataError: if the arrays do not belong together.
        StorageError: if the file cannot be written.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> views = {"face": rng.normal(size=(60, 8)), "voice": rng.normal(size=(60, 4))}
        >>> people = [f"person {row // 10}" for row in range(60)]
        >>> data = fusionkit.from_arrays("arrays.npz", views, label=["calm", "glad"] * 30, subject=people)
        >>> data["type"]
        'embeddings'
    """
    file = expanded(path)
    if file.suffix != ".npz":
        raise DataError(f"{file} must end in .npz")
    if not isinstance(views, Mapping):
        raise DataError(
            f"from_arrays: views must be arrays by name, not {type(views).__name__}", hint="views={'face': array}"
        )
    if isinstance(rate, int | float):
        rate = np.full(len(next(iter(views.values()), ())), float(rate))
    columns = {"classes": classes, "clip": clip, "frame": frame, "subject": subject, "split": split, "video": video}
    columns["rate"] = rate
    arrays = {} if label is None else {"label": _column("label", label, missing="")}
    arrays |= {name: _column(name, column) for name, column in columns.items() if column is not None}
    if unknown := sorted(set(ids or {}) - {"label", *views}):
        raise DataError(f"{file}: ids of {unknown[0]!r}, which is no view; views: {', '.join(views)}")
    arrays |= {f"{name}_ids": _column(f"ids of {name}", column) for name, column in (ids or {}).items()}
    if reserved := sorted(set(views) & {*columns, *arrays}):
        raise DataError(f"{file}: a view cannot be called {reserved[0]!r}: that is the name of a column")
    named = {task: list(labels) for task, labels in (tasks or {}).items()}
    for name, column in ((name, column) for labels in (tasks or {}).values() for name, column in labels.items()):
        if name in arrays or name in columns or name in views:
            raise DataError(f"{file}: a label cannot be called {name!r}: that is the name of another column or view")
        arrays[name] = _column(name, column)
    arrays |= {name: _matrix(name, view) for name, view in views.items()}
    # A file, since workers, other machines and later runs read the data.
    options = {"tasks": named} if named else {}
    _write(file, arrays, options)
    return {"type": "embeddings", "path": str(file.resolve()), **options}


def _write(file: Path, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> None:
    """Write a .npz file, replacing an existing one only if the data set can be read from it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # np.savez takes names as keywords, so none could be `file`
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
    new = file.with_name(f".{os.getpid()}-{file.name}")
    try:
        write_file(new, buffer.getvalue())
        try:
            # Raises if arrays do not belong together.
            DATASETS.build(Spec("embeddings", {"path": str(new), **options})).table()
        except DataError as error:
            raise type(error)(str(error).replace(str(new), str(file))) from error
        new.replace(file)
    finally:
        with suppress(OSError):
            new.unlink()


def _column(name: str, values: Column, missing: str = "nan") -> np.ndarray:
    """Return a column as integers, floats or texts: (N,). Missing values become NaN, or the text ``missing``."""
    if (shape := getattr(values, "shape", ())) and len(shape) != 1:
        raise DataError(f"from_arrays: {name} must be one value per row (N,), not {tuple(shape)}")
    items = _items(values)
    if any(isinstance(item, list | tuple | dict | np.ndarray) for item in items):
        raise DataError(f"from_arrays: {name} must be one value per row, not {type(items[0]).__name__}")
    known = [item for item in items if not _is_missing(item)]
    if known and all(isinstance(item, int | float | np.number) and not isinstance(item, bool) for item in known):
        numbers = np.array([np.nan if _is_missing(item) else item for item in items])
        if numbers.dtype != object:  # integers beyond 64 bits are identifiers
            return numbers
    texts = [missing if _is_missing(item) else _decoded(name, item) for item in items]
    return np.array(texts, dtype=np.str_)


def _items(values: Column) -> list[Any]:
    """Return the values of a column of any library as a list."""
    for method in ("tolist", "to_list", "to_pylist"):  # NumPy, PyTorch and pandas; polars; Arrow
        if callable(convert := getattr(values, method, None)):
            found = convert()
            return found if isinstance(found, list) else [found]
    return list(values)


def _is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, or the NA or NaT of pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _decoded(name: str, value: Any) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise DataError(f"from_arrays: {name} has bytes that are not UTF-8: {error}") from error


def _matrix(name: str, values: Any) -> np.ndarray:
    """Return a view as an array of numbers.

    Raises:
        DataError: if it cannot be converted, as rows of different lengths.
    """
    if hasattr(values, "detach"):  # a PyTorch tensor, perhaps on a GPU or in bfloat16, which NumPy lacks
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    try:
        array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
        if array.dtype == object and array.ndim == 1:  # a column of lists; a missing one is a row of NaN
            width = max((len(row) for row in array if not _is_missing(row)), default=0)
            array = np.stack([np.full(width, np.nan) if _is_missing(row) else np.asarray(row) for row in array])
        if array.dtype == object:
            array = np.array([[np.nan if _is_missing(x) else float(x) for x in row] for row in array], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"from_arrays: view {name!r} is no array (N, D) of floats: {error}") from error
    if array.ndim != 2:
        hint = "images are read from files: data sets folder, csv, hub" if array.ndim > 2 else ""
        raise DataError(f"from_arrays: view {name!r} must be (N, D), not {array.shape}", hint=hint)
    return array
