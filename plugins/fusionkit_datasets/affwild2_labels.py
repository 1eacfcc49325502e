"""Annotation files of the challenges on Aff-Wild2: one text file per clip, one line per frame."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionkit.contracts import UNLABELLED
from fusionkit.contracts.regular_file import read_file
from fusionkit.errors import DataError, expanded
from fusionkit.registry.spec import Spec
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.stills import content_of, folders_in

CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
OTHER = "Other"
UNITS = tuple(f"AU{unit}" for unit in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))


@dataclass(frozen=True)
class Challenge:
    """One of the challenges, and the layout of its annotation.

    Attributes:
        name: its name as an option.
        task: name of the task.
        parts: classes, action units or dimensions: the header.
        folders: names of the folder of its annotation, the usual one first.
        test_list: pattern of the file with the clips of the test set.
        unlabelled: value of an entry without a label.
    """

    name: str
    task: str
    parts: tuple[str, ...]
    folders: tuple[str, ...]
    test_list: str
    unlabelled: int = -1

    @property
    def layout(self) -> str:
        """The expected layout, for messages."""
        return (
            f"expected ROOT/<N>th ABAW Annotations/{self.folders[0]}/{{Train_Set,Validation_Set}}/<clip>.txt "
            "and ROOT/cropped_aligned/<clip>/00001.jpg"
        )


EXPR = Challenge(
    "EXPR",
    "expression",
    CLASSES,
    ("EXPR_Recognition_Challenge", "EXPR_Classification_Challenge"),
    "Expression_*_Challenge_test_set_release.txt",
)
AU = Challenge(
    "AU",
    "action-units",
    UNITS,
    ("AU_Detection_Challenge",),
    "Action_Unit_*_Challenge_test_set_release.txt",
)
VA = Challenge(
    "VA",
    "valence-arousal",
    ("valence", "arousal"),
    ("VA_Estimation_Challenge",),
    "Valence_Arousal_*_Challenge_test_set_release.txt",
    unlabelled=-5,
)
CHALLENGES = {challenge.name: challenge for challenge in (EXPR, AU, VA)}

_SPLITS = {"train_set": "train", "validation_set": "val"}
_TEST_FOLDER = "names_of_videos_in_each_test_set"
_BOM = b"\xef\xbb\xbf"
_SHOWN = 40  # characters of a wrong line in a message


@dataclass(frozen=True, eq=False)
class LabelFile:
    """The annotation of one clip.

    Attributes:
        clip: name of the file without its ending.
        split: ``train`` or ``val``.
        path: the file.
        label: (L,) int64, numbers in ``CLASSES`` or -1; or (L, K) float32, NaN without a label. Value k, from 1, is the
            label of frame k.
        digest: hash of the file (16 hex digits).
        problems: ``path:line: problem``, lines from 1.
    """

    clip: str
    split: str
    path: str
    label: np.ndarray
    digest: str
    problems: tuple[str, ...]


def find_annotations(root: Path, chosen: str, challenge: Challenge = EXPR, *, alone: bool = True) -> Path:
    """Return the folder with ``Train_Set`` and ``Validation_Set``.

    Args:
        root: root of the data set; folders with ``annotation`` in their name are searched.
        chosen: that folder or a parent of it, searched instead of the root; empty for none.
        challenge: the challenge.
        alone: no other challenge is read, so ``chosen`` or the root may be that folder itself.

    Raises:
        DataError: if there is no such folder, or more than one.
    """
    top = expanded(chosen) if chosen else root
    if not top.is_dir():
        raise DataError(f"affwild2: {top} is not a folder", hint=challenge.layout)
    if any(folder.name.lower() in _SPLITS for folder in top.iterdir()):
        if not alone:
            raise DataError(f"affwild2: {top} is the annotation of one challenge", hint="use the folder above it")
        return top
    found = list(_folders_of(challenge, top, depth=4))
    if not found:
        folders = folders_in(top)
        below = next((folder for folder in folders if next(_folders_of(challenge, folder, depth=4), None)), None)
        option = "annotations" if chosen else "root"
        raise DataError(
            f"affwild2: {top} has no folder {' or '.join(challenge.folders)}; found: {content_of(top)}",
            hint=f"use {Spec('affwild2', {option: str(below)})}" if below else challenge.layout,
        )
    if len(found) > 1:
        raise DataError(
            f"affwild2: found several annotations: {', '.join(map(str, found))}",
            hint="choose one with annotations=FOLDER",
        )
    return found[0]


def _folders_of(challenge: Challenge, top: Path, depth: int) -> Iterator[Path]:
    """Yield folders of a challenge; other folders are not listed, since they may have millions of crops."""
    for folder in sorted(top.iterdir()):
        if folder.name.lower() in map(str.lower, challenge.folders) and folder.is_dir():
            yield folder
        elif depth and "annotation" in folder.name.lower() and folder.is_dir():
            yield from _folders_of(challenge, folder, depth - 1)


def read_annotations(folder: Path, challenge: Challenge = EXPR) -> list[LabelFile]:
    """Read every annotation file, sorted by clip; errors in one are in its ``problems``.

    Raises:
        DataError: if there is no file, or one cannot be read.
    """
    files: list[LabelFile] = []
    seen: dict[str, str] = {}
    for split_folder in sorted(folder.iterdir()):
        split = _SPLITS.get(split_folder.name.lower())
        if split is None or not split_folder.is_dir():
            continue
        for path in sorted(split_folder.iterdir()):
            if path.suffix.lower() == ".txt" and not path.name.startswith("."):
                files.append(_read(path, split, seen.get(path.stem, ""), challenge))
                seen.setdefault(path.stem, str(path))
    if not files:
        raise DataError(f"affwild2: {folder} has no annotation file", hint=challenge.layout)
    return sorted(files, key=lambda file: file.clip)


def _read(path: Path, split: str, other: str, challenge: Challenge) -> LabelFile:
    try:
        data = read_file(path)
    except OSError as error:
        raise DataError(f"affwild2: {path} cannot be read: {error.strerror}") from error
    label, wrong = parse_labels(data) if challenge is EXPR else parse_columns(data, challenge)
    if other:
        wrong.insert(0, (1, f"clip {path.stem!r} is also annotated in {other}"))
    if not path.stem.isprintable():
        wrong.insert(0, (1, "the name of the file must be printable text"))
    name = str(path).encode(errors="backslashreplace").decode()
    problems = tuple(f"{name}:{line}: {problem}" for line, problem in wrong)
    return LabelFile(path.stem, split, str(path), label, hashlib.sha256(data).hexdigest()[:16], problems)


def parse_labels(data: bytes) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Parse one annotation file of expressions: a header with class names, then one number per frame.

    A byte order mark, any line ends, blanks around a value and blank lines at the end are accepted; a blank line before
    the end is a problem, since the lines after it may be shifted.

    Returns:
        (L,) int64 labels in the order of ``CLASSES`` for any order of the header, -1 if the frame is not annotated or
        its line is invalid; and (line, problem), lines from 1.
    """
    lines = _lines(data)
    if not lines:
        return np.empty(0, np.int64), [(1, "the file is empty; its first line must have the class names")]
    order, problem = _order(lines[0])
    problems = [(1, problem)] if problem else []
    codes: dict[bytes, int] = {b"%d" % code: label for code, label in enumerate(order)} | {b"-1": UNLABELLED}
    found = [codes.get(line) for line in lines[1:]]
    for index, code in enumerate(found):
        if code is None:
            line = lines[index + 1].strip()
            found[index] = codes.get(line, UNLABELLED)
            if line not in codes:
                wrong = f"{_shown(line)} must be a class number in -1..{len(CLASSES) - 1}" if line else "a blank line"
                problems.append((index + 2, wrong))
    return np.array(found, np.int64), problems


def parse_columns(data: bytes, challenge: Challenge) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Parse one annotation file of action units, or of valence and arousal: a header, then one row per frame.

    Blanks and line ends are accepted as in :func:`parse_labels`.

    Returns:
        (L, K) float32 in the order of ``challenge.parts`` for any order of the header, NaN where there is no label or
        the line is invalid; and (line, problem), lines from 1.
    """
    lines = _lines(data)
    if not lines:
        return np.empty((0, len(challenge.parts)), np.float32), [(1, f"the file is empty; {_expected(challenge)}")]
    names = [name.strip().casefold() for name in lines[0].decode(errors="replace").split(",")]
    wanted = [name.casefold() for name in challenge.parts]
    problems = []
    if sorted(names) != sorted(wanted):
        problems.append((1, f"the header is {_shown(lines[0])}; {_expected(challenge)}"))
        names = wanted
    codes: dict[bytes, int] = {}  # most lines are equal to another
    code = np.array([codes.setdefault(line, len(codes)) for line in lines[1:]], np.int64)
    values, wrong = _values(list(codes), challenge)
    for number, line in enumerate(codes):
        if wrong[number]:
            values[number], problem = _row(line, challenge)
            problems += [(row + 2, problem) for row in np.flatnonzero(code == number).tolist() if problem]
    return values[code][:, [names.index(name) for name in wanted]], sorted(problems)


def _values(lines: Sequence[bytes], challenge: Challenge) -> tuple[np.ndarray, np.ndarray]:
    """Return (L, K) float32, and (L,) bool: lines that must be parsed one by one."""
    shape = len(lines), len(challenge.parts)
    found = np.empty(0)
    if lines:
        with suppress(ValueError):  # a line has other fields
            found = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2, encoding="latin-1")
    if found.shape != shape:  # or is blank
        return np.full(shape, np.nan, np.float32), np.ones(len(lines), bool)
    right = (found == 0) | (found == 1) if challenge is AU else np.abs(found) <= 1
    wrong = ~(right | (found == challenge.unlabelled)).all(1)
    return np.where(right, found, np.nan).astype(np.float32), wrong


def _row(line: bytes, challenge: Challenge) -> tuple[list[float], str]:
    """Return the values of a line, NaN for an entry without a label; and its problem, or an empty text."""
    missing = [np.nan] * len(challenge.parts)
    if not line.strip():
        return missing, "a blank line"
    fields = line.split(b",")
    if len(fields) != len(missing):
        return missing, f"{_shown(line.strip())} must be {len(missing)} values, not {len(fields)}"
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = missing
    right = [value in (0, 1) if challenge is AU else -1 <= value <= 1 for value in values]
    for value, good in zip(values, right, strict=True):
        if not good and value != challenge.unlabelled:
            allowed = "0, 1 or -1" if challenge is AU else f"-1 to 1, or {challenge.unlabelled}"
            return missing, f"{_shown(line.strip())} must be values of {allowed}"
    return [value if good else np.nan for value, good in zip(values, right, strict=True)], ""


def _expected(challenge: Challenge) -> str:
    return f"its first line must be {','.join(challenge.parts)}"


def _lines(data: bytes) -> list[bytes]:
    """Return the lines of a file without a byte order mark and without blank lines at the end."""
    lines = data.removeprefix(_BOM).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _order(header: bytes) -> tuple[list[int], str]:
    """Return the index in ``CLASSES`` of each class of the header; and its problem, or an empty text."""
    names = [name.strip() for name in header.decode(errors="replace").split(",")]
    indices = {name.casefold(): index for index, name in enumerate(CLASSES)}
    order = [indices.get(name.casefold(), -1) for name in names]
    if sorted(order) == list(range(len(CLASSES))):
        return order, ""
    if sorted(order) == [index for index, name in enumerate(CLASSES) if name != OTHER]:
        return order, ""  # editions before the third; class_map={Other:null} drops the class that no frame has
    plain = list(range(len(CLASSES)))
    if unknown := [name for name, index in zip(names, order, strict=True) if index < 0]:
        return plain, f"the header is {_shown(header)}; unknown class {_shown(unknown[0].encode())}"
    faults = {
        "repeats": [CLASSES[index] for index, count in Counter(order).items() if count > 1],
        "lacks": [name for index, name in enumerate(CLASSES) if index not in order],
    }
    return plain, "the header " + " and ".join(f"{verb} {', '.join(names)}" for verb, names in faults.items() if names)


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace")
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def listed_test_clips(path: Path) -> list[str]:
    """Return the clips in a list of a test set."""
    text = read_file(path).removeprefix(_BOM).decode(errors="replace")
    return sorted({line.strip() for line in text.splitlines()} - {""})


def find_test_list(root: Path, annotations: Path, challenge: Challenge = EXPR) -> Path | None:
    """Return the list of the test set, beside the annotations or in the folders above them, up to the root."""
    above = [folder for folder in annotations.parents if folder.is_relative_to(root)]
    for folder in (annotations, *above, root):
        lists = sorted((folder / _TEST_FOLDER).glob(challenge.test_list))
        if lists:
            return lists[0]
    return None


def read_subjects(path: Path) -> dict[str, str]:
    """Read a csv file with the columns ``video`` and ``subject``: name of a video or clip to its person.

    Raises:
        DataError: if it cannot be read, lacks a column, or has an empty field or two subjects for a video.
    """
    subjects: dict[str, str] = {}
    for line, video, subject in _pairs(path, "video", "subject"):
        if not video or not subject:
            raise DataError(f"affwild2: {path}:{line}: expected a video and a subject, found {[video, subject]}")
        if subjects.setdefault(video, subject) != subject:
            both = f"{subjects[video]!r} and {subject!r}"
            raise DataError(f"affwild2: {path}:{line}: video {video!r} has two subjects: {both}")
    return subjects


def read_rates(path: Path) -> dict[str, float]:
    """Read a csv file with the columns ``clip`` and ``rate``: name of a clip to its frames per second, where known.

    Raises:
        DataError: if it cannot be read, lacks a column, or a rate is not a number above 0.
    """
    rates: dict[str, float] = {}
    for line, clip, rate in _pairs(path, "clip", "rate"):
        if clip and rate:
            try:
                rates[clip] = float(rate)
            except ValueError:
                rates[clip] = math.nan
            if not 0 < rates[clip] < math.inf:
                raise DataError(f"affwild2: {path}:{line}: rate {rate!r} must be a number above 0")
    return rates


def _pairs(path: Path, first: str, second: str) -> Iterator[tuple[int, str, str]]:
    """Yield line and fields of two columns of a csv file.

    Raises:
        DataError: if it cannot be read, lacks a column, or a line has another number of fields.
    """
    rows = AnnotationFile("affwild2", path).rows()
    line, header = next(rows, (1, []))
    if absent := [name for name in (first, second) if name not in header]:
        raise DataError(
            f"affwild2: {path}:{line}: no column {', '.join(absent)}; found: {', '.join(header) or 'nothing'}"
        )
    for line, fields in rows:
        if len(fields) != len(header):
            raise DataError(f"affwild2: {path}:{line}: expected {len(header)} fields, found {fields}")
        yield line, fields[header.index(first)], fields[header.index(second)]
