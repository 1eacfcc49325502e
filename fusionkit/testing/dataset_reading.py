"""Checks of data sets: the images, or ready embeddings, of whatever rows are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusionkit.contracts.dataset import FaceDataset
from fusionkit.testing.check import Skipped, Suite, require
from fusionkit.testing.comparison import require_same
from fusionkit.testing.subject import Subject

CHECKS = Suite()
_ROWS = 12


@CHECKS.gate
def rows_can_be_read(subject: Subject) -> None:
    """Rows are read as uint8 (H, W, 3) or None; ready embeddings as one row of numbers each."""
    data = subject.build()
    values = _read(data, _some(data))
    require(any(value is not None for value in values), f"none of {len(values)} rows has an image")


@CHECKS.check
def rows_in_any_order(subject: Subject) -> None:
    """Rows are read in the order in which they are asked for, and as often."""
    data = subject.build()
    rows = _some(data)
    first = dict(zip(rows.tolist(), _read(data, rows), strict=True))
    asked = np.concatenate([rows[::-1], rows[:2], rows[:2]])
    for row, value in zip(asked.tolist(), _read(data, asked), strict=True):
        _require_alike(value, first[row], f"{data.where(row)} is read otherwise in another order")


@CHECKS.check
def no_rows(subject: Subject) -> None:
    """Asked for no row it gives none."""
    data = subject.build()
    require(len(_read(data, np.zeros(0, dtype=np.int64))) == 0, "asked for no row it gives some")


@CHECKS.check
def same_row_same_image(subject: Subject) -> None:
    """Read twice, by itself, and from another instance, a row is the same bits."""
    data, other = subject.build(), subject.build()
    rows = _some(data)
    first = _read(data, rows)
    for row, value, again in zip(rows, first, _read(other, rows), strict=True):
        _require_alike(again, value, f"{data.where(int(row))} is read otherwise by another instance")
        _require_alike(_read(data, np.array([row]))[0], value, f"{data.where(int(row))} is read otherwise by itself")


@CHECKS.check
def images_are_not_shared(subject: Subject) -> None:
    """Whoever writes to an image that was read does not change what is read next."""
    data = subject.build()
    rows = _some(data)
    before = [None if value is None else value.copy() for value in _read(data, rows)]
    for value in _read(data, rows):
        if value is not None and value.flags.writeable:
            value[...] = 7
    for row, value, kept in zip(rows, _read(data, rows), before, strict=True):
        _require_alike(value, kept, f"{data.where(int(row))} was changed by whoever had read it before")


@CHECKS.check
def labels_are_not_read(subject: Subject) -> None:
    """Rows are read the same when the labels of the table are hidden: images must not depend on test labels."""
    data, hidden = subject.build(), subject.build()
    label = hidden.frames.label
    if not label.flags.writeable:
        raise Skipped("the labels of its table cannot be written to")
    rows = _some(data)
    read = _read(data, rows)
    if any(not _is_alike(*pair) for pair in zip(read, _read(subject.build(), rows), strict=True)):
        raise Skipped("same_row_same_image fails")
    label[:] = -1
    for row, value, wanted in zip(rows, _read(hidden, rows), read, strict=True):
        _require_alike(value, wanted, f"{data.where(int(row))} is read otherwise when labels are hidden")


@CHECKS.check
def has_image_is_right(subject: Subject) -> None:
    """Where ``has_image`` says that there is none, none is read; where it says there is one, it can be read."""
    data = subject.build()
    known: Any = data.has_image()
    if known is None:
        raise Skipped("only reading tells which rows have an image")
    shape = (len(data.frames),)
    right = isinstance(known, np.ndarray) and known.dtype == np.bool_ and known.shape == shape
    require(right, f"has_image() gives {getattr(known, 'shape', type(known).__name__)}, not bool {shape}")
    rows = np.unique(np.concatenate([_some(data), np.flatnonzero(~known)[:_ROWS], np.flatnonzero(known)[:_ROWS]]))
    damaged = bool(list(data.problems()))
    for row, value in zip(rows.tolist(), _read(data, rows), strict=True):
        require(known[row] or value is None, f"has_image() says that {data.where(row)} has no image, and it has one")
        require(not known[row] or value is not None or damaged, f"{data.where(row)} has an image that is not read")


def _some(data: FaceDataset) -> np.ndarray:
    """Rows from all over the table, of every split."""
    frames = data.frames
    rows = [np.linspace(0, len(frames) - 1, _ROWS).astype(np.int64)]
    rows += [np.flatnonzero(frames.split == split)[:2] for split in ("train", "val", "test")]
    return np.unique(np.concatenate(rows))


def _read(data: FaceDataset, rows: np.ndarray) -> list[np.ndarray | None]:
    """Images, or the rows of all ready views side by side."""
    if not data.views:
        return data.images(rows)
    return list(np.concatenate([data.ready(view, rows) for view in data.views], axis=1))


def _is_alike(found: np.ndarray | None, wanted: np.ndarray | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f")


def _require_alike(found: np.ndarray | None, wanted: np.ndarray | None, what: str) -> None:
    require((found is None) == (wanted is None), f"{what}: once there is an image, once there is none")
    if found is not None and wanted is not None:
        require_same(found, wanted, what)
