"""Checks of data sets: what they are, told the same each time and wherever the data lie."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.contracts.dataset import FaceDataset
from fusionkit.registry.spec import Spec
from fusionkit.testing.case import CheckFailed, Skipped, Subject, Suite, require, require_same

CHECKS = Suite()
_COPIED = 64 * 2**20  # bytes that are worth copying to see whether the place matters


@CHECKS.gate
def table_is_valid(subject: Subject) -> None:
    """It is built, and its table holds: columns of one length, labels in range, clips in order."""
    subject.build().table()


@CHECKS.check
def classes_have_names(subject: Subject) -> None:
    """``classes`` is a tuple of names, of which none is empty."""
    classes = subject.build().classes
    right = isinstance(classes, tuple) and classes and all(isinstance(name, str) and name.strip() for name in classes)
    require(right, f"classes = {classes!r} is not a tuple of names")


@CHECKS.check
def columns_have_their_types(subject: Subject) -> None:
    """Numbers and labels are int64, the other columns text; the table is made once."""
    data = subject.build()
    frames = data.frames
    for name in ("number", "label"):
        column = getattr(frames, name)
        require(column.dtype == np.int64, f"column {name} is {column.dtype}, not int64")
    for name in ("clip", "subject", "split", "video"):
        column = getattr(frames, name)
        require(column.dtype.kind == "U", f"column {name} is {column.dtype}, not text")
    require(data.frames is frames, "frames is made anew each time that it is asked for")


@CHECKS.check
def units_stay_in_one_split(subject: Subject) -> None:
    """No subject and no raw video is in train as well as in val or test."""
    frames = subject.build().frames
    for name in ("subject", "video"):
        column = getattr(frames, name)
        known = (column != "") & (frames.split != "")
        trained = np.unique(column[known & (frames.split == "train")])
        both = np.intersect1d(trained, column[known & (frames.split != "train")])
        require(len(both) == 0, f"{name} {', '.join(map(repr, both[:3].tolist()))} is in train and in another split")


@CHECKS.check
def fingerprint_is_stable(subject: Subject) -> None:
    """Built twice from the same data, it has the same fingerprint."""
    require(
        subject.build().fingerprint() == subject.build().fingerprint(), "two of the same data differ in fingerprint"
    )


@CHECKS.check
def fingerprint_ignores_the_place(subject: Subject) -> None:
    """The same data at another place have the same fingerprint: results stay valid when data are moved."""
    given = subject.given()
    places = {name: Path(given[name]).expanduser() for name in subject.cls.places if given.get(name)}
    if not places:
        raise Skipped("no option says where data lie")
    size = sum(file.stat().st_size for place in places.values() for file in _files(place))
    if size > _COPIED:
        raise Skipped(f"its {size / 2**20:.0f} MiB are too many to copy")
    _require_stable(subject)
    with tempfile.TemporaryDirectory() as folder:
        moved = {name: str(_copied(place, Path(folder) / f"{name}-elsewhere")) for name, place in places.items()}
        there = subject.cls(**{**given, **moved}).fingerprint()
    require(there == subject.build().fingerprint(), "the same data at another place have another fingerprint")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Written as a SPEC and read again, the options build the same data set: that is how workers get it."""
    _require_stable(subject)
    spec = Spec.parse(subject.text)
    require(str(spec) == subject.text, f"{subject.text!r} is read as {str(spec)!r}")
    again: FaceDataset = subject.cls(**spec.options)
    same = again.fingerprint() == subject.build().fingerprint()
    require(same, f"built from {subject.text} it has another fingerprint")


@CHECKS.check
def rows_have_names(subject: Subject) -> None:
    """``where`` names a row to a person: one line of text, another for each row."""
    data = subject.build()
    rows = range(min(len(data.frames), 50))
    names = [data.where(row) for row in rows]
    for name in names:
        require(_is_line(name), f"where() gives {name!r}, which is not one line of text")
    require(len(set(names)) == len(names), "where() gives two rows the same name")


@CHECKS.check
def problems_are_told_the_same(subject: Subject) -> None:
    """``problems`` are lines of text, the same each time, and reading them changes nothing."""
    data = subject.build()
    before = data.fingerprint()
    found = list(data.problems())
    for problem in found:
        require(_is_line(problem), f"problems() gives {problem!r}, which is not one line of text")
    require(list(data.problems()) == found, "problems() gives others when it is asked again")
    require(data.fingerprint() == before, "problems() changes the data set")


@CHECKS.check
def made_up_frames_name_their_sources(subject: Subject) -> None:
    """``composed_of`` gives rows of the table, -1 where there are fewer."""
    data = subject.build()
    sources: Any = data.composed_of()
    if sources is None:
        raise Skipped("every frame is real")
    count = len(data.frames)
    if not isinstance(sources, np.ndarray) or sources.ndim != 2 or len(sources) != count:
        raise CheckFailed(f"composed_of() gives {getattr(sources, 'shape', type(sources).__name__)}, not ({count}, S)")
    require(sources.dtype.kind == "i", f"composed_of() gives {sources.dtype}, not whole numbers")
    require(((sources >= -1) & (sources < count)).all(), "composed_of() names rows that are not in the table")


def _require_stable(subject: Subject) -> None:
    if subject.build().fingerprint() != subject.build().fingerprint():
        raise Skipped("fingerprint_is_stable fails")


def _files(place: Path) -> list[Path]:
    return [file for file in place.rglob("*") if file.is_file()] if place.is_dir() else [place]


def _copied(place: Path, target: Path) -> Path:
    if place.is_dir():
        shutil.copytree(place, target)
        return target
    target.mkdir()
    return Path(shutil.copy2(place, target / place.name))


def _is_line(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip()) and "\n" not in text


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
