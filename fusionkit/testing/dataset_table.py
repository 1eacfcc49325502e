"""Checks of data sets: what they are, told the same each time and wherever the data lie."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.contracts.dataset import FaceDataset
from fusionkit.spec import Spec
from fusionkit.testing.check import CheckFailed, Skipped, Suite, require
from fusionkit.testing.subject import Subject

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
