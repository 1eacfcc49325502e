"""A csv file with labels of tasks, one row per image file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fusionkit.errors import DataError
from fusionkit.registry import did_you_mean
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.columns import SPLITS

FILE = "file"


def read_label_table(
    dataset: str, path: Path, columns: Mapping[str, Sequence[str]], images: Sequence[str]
) -> dict[str, np.ndarray]:
    """Read the labels of images: a header, then rows with the image in the column ``file`` and numbers in others.

    An image is found by its path, with any name of its split or without it, else by its path without suffix. Rows of
    other files and columns that no task names are ignored.

    Args:
        dataset: name of the data set, for messages.
        path: the csv file.
        columns: names of the columns of each task.
        images: (N,) paths below the root, with ``/`` and the usual names of splits.

    Returns:
        (N, K) float32 for each task, NaN for an empty field and for an image without a row.

    Raises:
        DataError: if the file cannot be read, lacks a column, has a wrong field, different labels for an image, or no
            image of the data.
    """
    file = AnnotationFile(dataset, path)
    rows = file.rows()
    line, header = next(rows, (1, []))
    wanted = [FILE, *dict.fromkeys(name for names in columns.values() for name in names)]
    if absent := [name for name in wanted if name not in header]:
        near = did_you_mean(absent[0], header)
        raise DataError(f"{dataset}: {path}:{line}: no column {absent[0]!r}{near}; columns: {', '.join(header)}")
    index = _index(images)
    values = {name: np.full(len(images), np.nan, np.float32) for name in wanted[1:]}
    line_of: dict[int, int] = {}
    for line, fields in rows:
        if len(fields) != len(header):
            raise DataError(f"{dataset}: {path}:{line}: expected {len(header)} fields, found {len(fields)}")
        row = dict(zip(header, fields, strict=True))
        image = next((index[name] for name in _names(row[FILE]) if name in index), None)
        if image is None:
            continue
        first = line_of.setdefault(image, line)
        for column, labels in values.items():
            number = np.float32(_number(row[column], f"{dataset}: {path}:{line}: {column}"))
            if first != line and not np.array_equal(number, labels[image], equal_nan=True):
                raise DataError(f"{dataset}: {path}:{line}: {images[image]!r} has another {column} at line {first}")
            labels[image] = number
    if not line_of:
        raise DataError(f"{dataset}: {path} has no row for an image; the data have {images[0]!r}")
    return {task: np.stack([values[name] for name in names], 1) for task, names in columns.items()}


def _index(images: Sequence[str]) -> dict[str, int]:
    """Return the index of each path, and of each path without suffix that only one image has."""
    stems: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        stems.setdefault(_stem(image), []).append(number)
    found = {stem: numbers[0] for stem, numbers in stems.items() if len(numbers) == 1}
    return found | {image: number for number, image in enumerate(images)}


def _names(text: str) -> Iterator[str]:
    """Yield the names under which a path is looked up: its own, with the usual name of its split, and without split."""
    name = text.replace("\\", "/").removeprefix("./")
    first, _, rest = name.partition("/")
    split = SPLITS.get(first.lower())
    names = [name, f"{split}/{rest}", rest] if split else [name]
    yield from names
    yield from map(_stem, names)


def _stem(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _number(text: str, where: str) -> float:
    try:
        return float(text) if text else np.nan
    except ValueError as error:
        raise DataError(f"{where} must be a number, not {text[:40]!r}") from error
