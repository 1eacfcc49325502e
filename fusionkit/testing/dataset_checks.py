"""Checks of data sets: a valid table, a stable identity, and rows that read the same each time."""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.contracts.dataset import FaceDataset
from fusionkit.contracts.image_file import ENDINGS
from fusionkit.errors import component_errors, expanded
from fusionkit.registry import TASKS
from fusionkit.testing.case import Skipped, Subject, Suite, described, require, require_same
from fusionkit.testing.random_state import require_no_global_seed

CHECKS = Suite()
_MAX_COPY = 64 * 2**20  # bytes; larger data are not copied
_ROWS = 12
_NAMED = 20_000  # rows whose names are compared
_KINDS = {"i": "integers for one class per frame", "f": "floats for several values per frame"}
_CHANGES = 24  # changed numbers in annotation files that are tried


@CHECKS.gate
def table_is_valid(subject: Subject) -> None:
    """It is built, and its table is valid: columns of one length, labels in range, clips in order."""
    subject.build().table()


@CHECKS.check
def classes_have_names(subject: Subject) -> None:
    """``classes`` is a tuple of names that are not empty."""
    classes = subject.build().classes
    right = isinstance(classes, tuple) and classes and all(isinstance(name, str) and name.strip() for name in classes)
    require(right, f"classes: expected a tuple of names, found {classes!r}")


@CHECKS.check
def columns_have_their_types(subject: Subject) -> None:
    """Frame numbers and labels are int64, other columns text, and the table is computed once."""
    data = subject.build()
    frames = data.frames
    for name in ("number", "label"):
        column = getattr(frames, name)
        require(column.dtype == np.int64, f"frames: expected int64 in column {name}, found {column.dtype}")
    for name in ("clip", "subject", "split", "video"):
        column = getattr(frames, name)
        require(column.dtype.kind == "U", f"frames: expected text in column {name}, found {column.dtype}")
    require(data.frames is frames, "frames: expected the same table each time, found a new one")


@CHECKS.check
def units_stay_in_one_split(subject: Subject) -> None:
    """No subject and no video is in train as well as in val or test."""
    frames = subject.build().frames
    for name in ("subject", "video"):
        column = getattr(frames, name)
        known = (column != "") & (frames.split != "")
        trained = np.unique(column[known & (frames.split == "train")])
        both = np.intersect1d(trained, column[known & (frames.split != "train")])
        names = ", ".join(map(repr, both[:3].tolist()))
        require(len(both) == 0, f"frames: expected each {name} in one split, found {names} in train and another")


@CHECKS.check
def fingerprint_is_stable(subject: Subject) -> None:
    """Two instances of the same data have the same fingerprint."""
    require(_is_stable(subject), "fingerprint(): expected the same for two instances, found different ones")


@CHECKS.on_request
def fingerprint_ignores_the_path(subject: Subject) -> None:
    """The same data in another folder have the same fingerprint: results stay valid when data are moved."""
    with _copy_of_the_data(subject) as copy:
        elsewhere = subject.build(copy).fingerprint()
    same = elsewhere == subject.build().fingerprint()
    require(same, "fingerprint(): expected the same for a copy of the data, found another; is a path part of it?")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Options written as a SPEC and parsed again build the same data set; workers get it that way."""
    _skip_unless_stable(subject)
    same = subject.build_from_text().fingerprint() == subject.build().fingerprint()
    require(same, f"built from {subject.text}: fingerprints differ")


@CHECKS.check
def rows_have_names(subject: Subject) -> None:
    """``where`` gives each row a different name, one line of text."""
    data = subject.build()
    names = [data.where(row) for row in range(min(len(data.frames), _NAMED))]
    for name in names[:50]:
        require(_is_line(name), f"where(): expected one line of text, found {name!r}")
    require(len(set(names)) == len(names), "where(): expected a different name for each row, found one twice")


@CHECKS.check
def problems_are_stable(subject: Subject) -> None:
    """``problems`` gives lines of text, the same each time, and does not change the data set."""
    data = subject.build()
    before = data.fingerprint()
    found = list(data.problems())
    for problem in found:
        require(_is_line(problem), f"problems(): expected one line of text, found {problem!r}")
    require(list(data.problems()) == found, "problems(): a second call gives other problems")
    require(data.fingerprint() == before, "problems(): changes the fingerprint of the data set")


@CHECKS.check
def labels_of_tasks_are_valid(subject: Subject) -> None:
    """``labels`` gives the labels of each task that the data have: a row per frame, as the task wants, always the same.

    The labels of the task ``expression`` are those of the table.
    """
    data, other = subject.build(), subject.build()
    for name in TASKS.names():
        found, again, where = data.task_labels(name), other.task_labels(name), f"labels({name!r})"
        if found is None or again is None:
            require(found is again, f"{where}: expected the same for two instances, found labels of one only")
            continue
        kept: Any = data.labels(name)
        kind = "i" if kept.values.ndim == 1 else "f"
        require(kept.values.dtype.kind == kind, f"{where}: expected {_KINDS[kind]}, found {kept.values.dtype}")
        same = found.names == again.names and np.array_equal(found.values, again.values, equal_nan=kind == "f")
        require(same, f"{where}: expected the same for two instances, found different ones")
        problem = TASKS.build(name, names=found.names).problem(found.values)
        require(not problem, f"{where}: {problem}")
        if name == "expression":
            same = found.names == data.classes and np.array_equal(found.values, data.frames.label)
            require(same, f"{where}: expected classes and labels of the table, found others")


@CHECKS.check
def composites_name_their_sources(subject: Subject) -> None:
    """``composed_of`` gives (N, S) rows of the table, -1 for unused entries."""
    data = subject.build()
    sources: Any = data.composed_of()
    if sources is None:
        raise Skipped("every frame is real")
    count = len(data.frames)
    right = isinstance(sources, np.ndarray) and sources.ndim == 2 and len(sources) == count
    require(right, f"composed_of(): expected an array ({count}, S), found {described(sources)}")
    require(sources.dtype.kind == "i", f"composed_of(): expected integers, found {sources.dtype}")
    low, high = sources.min(initial=-1), sources.max(initial=-1)
    require(low >= -1 and high < count, f"composed_of(): expected rows in -1..{count - 1}, found {low}..{high}")


@CHECKS.gate
def rows_can_be_read(subject: Subject) -> None:
    """Rows are read as uint8 (H, W, 3) or None; stored embeddings as one row of numbers each."""
    data = subject.build()
    values = _read(data, _some(data))
    require(any(value is not None for value in values), f"read(): expected an image, found none in {len(values)} rows")


@CHECKS.root
def same_row_same_image(subject: Subject) -> None:
    """A row gives the same bits when read twice, alone, or by another instance."""
    data, other = subject.build(), subject.build()
    rows = _some(data)
    first = _read(data, rows)
    for row, value, again in zip(rows, first, _read(other, rows), strict=True):
        _require_alike(again, value, f"read(): {data.where(int(row))} differs in a second instance")
        _require_alike(_read(data, np.array([row]))[0], value, f"read(): {data.where(int(row))} differs when alone")


@CHECKS.check
def global_seed_is_not_set(subject: Subject) -> None:
    """It does not set the seed of a global random generator."""

    def run() -> None:
        data = subject.build()
        _read(data, _some(data)[:2])

    require_no_global_seed(run, "__init__() or read()")


@CHECKS.check
def labels_match_the_paths(subject: Subject) -> None:
    """Where the path of a file has the name of one class as a folder or a word, the label is this class.

    Other labels cannot be judged from outside: compare them with the publisher's annotation files.
    """
    data = subject.build()
    frames, classes = data.frames, [name.casefold() for name in data.classes]
    rows = np.flatnonzero(frames.label >= 0)
    rows = rows[:: len(rows) // _NAMED + 1]
    named = [_class_in(_file_of(data, int(row)), classes) for row in rows]
    known = [(int(row), found) for row, found in zip(rows, named, strict=True) if found is not None]
    if not known or len(known) < 0.9 * len(rows):
        raise Skipped("paths of files do not name classes")
    wrong = [(row, found) for row, found in known if frames.label[row] != found]
    row, found = wrong[0] if wrong else known[0]
    require(
        not wrong,
        f"frames: expected label {data.classes[found]!r} for {data.where(row)}, found "
        f"{data.classes[frames.label[row]]!r}, as in {len(wrong)} of {len(known)} rows; are labels shifted, or classes "
        "in another order by split?",
    )


@CHECKS.check
def rows_are_distinct(subject: Subject) -> None:
    """No two rows have the same files and the same image: a frame counts once."""
    data = subject.build()
    if data.views:
        raise Skipped("its embeddings are not read from image files")
    rows = np.arange(min(len(data.frames), _NAMED))
    same: dict[tuple[str, ...], list[int]] = {}
    for row in rows.tolist():
        files = tuple(map(str, data.image_files(rows[row : row + 1])))
        same.setdefault(files, []).append(row)
    pairs = [found[:2] for files, found in same.items() if files and len(found) > 1][:_ROWS]
    for one, other in pairs:
        images = _read(data, np.array([one, other]))
        require(
            images[0] is None or not _is_alike(*images),
            f"frames: expected each image in one row, found the same in {data.where(one)} and {data.where(other)}",
        )


@CHECKS.on_request
def changed_annotations_are_noticed(subject: Subject) -> None:
    """If a number in an annotation file is changed and with it an image, the fingerprint is another.

    The fingerprint has classes, table and image files; ``content()`` adds boxes and whatever else decides images.
    """
    with _copy_of_the_data(subject) as copy:
        data = subject.build(copy)
        before, rows = data.fingerprint(), _some(data)
        images = _read(data, rows)
        files = sorted(file for path in copy.values() for file in Path(path).rglob("*") if _is_annotation(file))
        decided = False
        for file, changed in itertools.chain.from_iterable(map(_changes, files)):
            kept = file.read_bytes()
            file.write_bytes(changed)
            try:
                other = subject.build(copy)
                same = all(_is_alike(*pair) for pair in zip(images, _read(other, rows), strict=True))
                noticed = same or other.fingerprint() != before
            except component_errors():  # it refuses the change
                continue
            finally:
                file.write_bytes(kept)
            decided |= not same
            require(
                noticed,
                f"fingerprint(): expected another when a number in {file.name} and with it an image changed, found the "
                "same; content() must give what decides images",
            )
        if not decided:
            raise Skipped("no number in an annotation file decides an image")


@CHECKS.on_request
def changed_images_are_noticed(subject: Subject) -> None:
    """Image files with other bytes, under the same names and of the same size, give another fingerprint."""
    with _copy_of_the_data(subject) as copy:
        data = subject.build(copy)
        before, rows = data.fingerprint(), _some(data)
        images = _read(data, rows)
        for file in (file for path in copy.values() for file in Path(path).rglob("*") if _is_image(file)):
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 255
            file.write_bytes(content)
        changed = subject.build(copy)
        if all(_is_alike(*pair) for pair in zip(images, _read(changed, rows), strict=True)):
            raise Skipped("its images are not read from image files")
        noticed = changed.fingerprint() != before
    require(noticed, "fingerprint(): expected another when images changed, found the same; list them in image_files()")


@CHECKS.check
def rows_in_any_order(subject: Subject) -> None:
    """Rows are returned in the requested order, and repeated if requested."""
    data = subject.build()
    rows = _some(data)
    first = dict(zip(rows.tolist(), _read(data, rows), strict=True))
    requested = np.concatenate([rows[::-1], rows[:2], rows[:2]])
    for row, value in zip(requested.tolist(), _read(data, requested), strict=True):
        _require_alike(value, first[row], f"read(): {data.where(row)} differs when rows are in another order")


@CHECKS.check
def no_rows(subject: Subject) -> None:
    """An empty selection of rows gives an empty list."""
    data = subject.build()
    found = len(_read(data, np.zeros(0, dtype=np.int64)))
    require(found == 0, f"read(): expected nothing for no rows, found {found} images")


@CHECKS.check
def images_are_not_shared(subject: Subject) -> None:
    """Writing to an image does not change the next read."""
    data = subject.build()
    rows = _some(data)
    before = [None if value is None else value.copy() for value in _read(data, rows)]
    for value in _read(data, rows):
        if value is not None and value.flags.writeable:
            value[...] = 7
    for row, value, kept in zip(rows, _read(data, rows), before, strict=True):
        _require_alike(value, kept, f"read(): {data.where(int(row))} differs after its first image was written to")


@CHECKS.check
def labels_are_not_read(subject: Subject) -> None:
    """Images do not depend on the labels of the table: those of test must stay unused."""
    data, hidden = subject.build(), subject.build()
    label = hidden.frames.label
    if not label.flags.writeable:
        raise Skipped("the labels of its table are read-only")
    rows = _some(data)
    read = _read(data, rows)
    if any(not _is_alike(*pair) for pair in zip(read, _read(subject.build(), rows), strict=True)):
        raise Skipped("same_row_same_image fails")
    label[:] = -1
    for row, value, expected in zip(rows, _read(hidden, rows), read, strict=True):
        _require_alike(value, expected, f"read(): {data.where(int(row))} differs when labels are hidden")


@CHECKS.check
def has_image_is_right(subject: Subject) -> None:
    """Rows have an image exactly where ``has_image`` is True."""
    data = subject.build()
    known: Any = data.has_image()
    if known is None:
        raise Skipped("only reading shows which rows have an image")
    shape = (len(data.frames),)
    right = isinstance(known, np.ndarray) and known.dtype == np.bool_ and known.shape == shape
    require(right, f"has_image(): expected bool {shape}, found {described(known)}")
    rows = np.unique(np.concatenate([_some(data), np.flatnonzero(~known)[:_ROWS], np.flatnonzero(known)[:_ROWS]]))
    damaged = bool(list(data.problems()))
    for row, value in zip(rows.tolist(), _read(data, rows), strict=True):
        read = "None" if value is None else "an image"
        right = bool(known[row]) == (value is not None) or (damaged and value is None)
        require(right, f"has_image(): {known[row]} for {data.where(row)}, but read() gives {read}")


def _is_stable(subject: Subject) -> bool:
    return bool(subject.build().fingerprint() == subject.build().fingerprint())


def _skip_unless_stable(subject: Subject) -> None:
    if not _is_stable(subject):
        raise Skipped("fingerprint_is_stable fails")


@contextmanager
def _copy_of_the_data(subject: Subject) -> Iterator[dict[str, str]]:
    """Yield the options with the paths of a copy, which is removed afterwards.

    Raises:
        Skipped: if there is nothing to copy, or too much, or the fingerprint is not stable.
    """
    given = subject.given()
    paths = {name: expanded(given[name]) for name in subject.cls.places if given.get(name)}
    if not paths:
        raise Skipped("no option gives the path of data")
    size = sum(file.stat().st_size for path in paths.values() for file in (path, *path.rglob("*")) if file.is_file())
    if size > _MAX_COPY:
        raise Skipped(f"its {size / 2**20:.0f} MiB are too many to copy")
    _skip_unless_stable(subject)
    with tempfile.TemporaryDirectory() as folder:
        yield {name: str(_copied(path, Path(folder) / f"{name}-elsewhere")) for name, path in paths.items()}


def _file_of(data: FaceDataset, row: int) -> str:
    """Return the first file of a row's image, else its name."""
    files = list(map(str, data.image_files(np.array([row]))))
    return files[0] if files else data.where(row)


def _class_in(path: str, classes: list[str]) -> int | None:
    """Return the class that a folder of a path is named after, or else the name of the file; None if it is not one."""
    folders, _, name = path.casefold().replace("\\", "/").rpartition("/")
    for words in ([folders.rpartition("/")[2]], folders.split("/"), re.split(r"[^a-z]+", name)):
        found = {classes.index(word) for word in words if word and word in classes}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _is_annotation(file: Path) -> bool:
    return file.is_file() and not _is_image(file) and 0 < file.stat().st_size < 2**20


def _changes(file: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield a text file with one number changed; numbers are taken from its first lines that have some."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    except UnicodeDecodeError:
        return
    number = re.compile(r"(?<![\w.])\d+(?!\w)")
    found = [(at, match) for at, line in enumerate(lines[:8]) for match in number.finditer(line)]
    for at, match in found[:_CHANGES]:
        changed = f"{lines[at][: match.start()]}{int(match[0]) + 1}{lines[at][match.end() :]}"
        yield file, "".join([*lines[:at], changed, *lines[at + 1 :]]).encode()


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS and file.is_file() and file.stat().st_size > 0


def _copied(path: Path, target: Path) -> Path:
    if path.is_dir():
        return Path(shutil.copytree(path, target))
    target.mkdir()
    return Path(shutil.copy2(path, target / path.name))


def _is_line(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip()) and "\n" not in text


def _some(data: FaceDataset) -> np.ndarray:
    """Return rows spread over the table, with some of every split."""
    frames = data.frames
    rows = [np.linspace(0, len(frames) - 1, _ROWS).astype(np.int64)]
    rows += [np.flatnonzero(frames.split == split)[:2] for split in ("train", "val", "test")]
    return np.unique(np.concatenate(rows))


def _read(data: FaceDataset, rows: np.ndarray) -> list[np.ndarray | None]:
    """Return images, or the stored embeddings of all views side by side."""
    if not data.views:
        return data.images(rows)
    return list(np.concatenate([data.ready(view, rows) for view in data.views], axis=1))


def _is_alike(found: np.ndarray | None, expected: np.ndarray | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")


def _require_alike(found: np.ndarray | None, expected: np.ndarray | None, what: str) -> None:
    require((found is None) == (expected is None), f"{what}: an image once, None once")
    if found is not None:
        require_same(found, expected, what)
