"""Annotation files of Aff-Wild2's expression challenge: one text file per clip, one line per frame."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionkit.contracts import UNLABELLED
from fusionkit.contracts.regular_file import read_file
from fusionkit.errors import DataError
from fusionkit.registry.spec import Spec
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.stills import content_of, folders_in

CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
OTHER = "Other"
CHALLENGES = ("EXPR_Recognition_Challenge", "EXPR_Classification_Challenge")
LAYOUT = (
    "expected ROOT/<N>th ABAW Annotations/EXPR_Recognition_Challenge/{Train_Set,Validation_Set}/<clip>.txt "
    "and ROOT/cropped_aligned/<clip>/00001.jpg"
)

_SPLITS = {"train_set": "train", "validation_set": "val"}
_TEST_FOLDER = "names_of_videos_in_each_test_set"
_TEST_LISTS = "Expression_*_Challenge_test_set_release.txt"
_BOM = b"\xef\xbb\xbf"
_SHOWN = 40  # characters of a wrong line in a message


@dataclass(frozen=True, eq=False)
class LabelFile:
    """The annotation of one clip.

    Attributes:
        clip: name of the file without its ending.
        split: ``train`` or ``val``.
        path: the file.
        label: (L,) int64, numbers in ``CLASSES`` or -1; value k, from 1, is the label of frame k.
        digest: hash of the file (16 hex digits).
        problems: ``path:line: problem``, lines from 1.
    """

    clip: str
    split: str
    path: str
    label: np.ndarray
    digest: str
    problems: tuple[str, ...]


def find_annotations(root: Path, chosen: str) -> Path:
    """Return the folder with ``Train_Set`` and ``Validation_Set``.

    Args:
        root: root of the data set; folders with ``annotation`` in their name are searched.
        chosen: that folder or a parent of it, searched instead of the root; empty for none.

    Raises:
        DataError: if there is no such folder, or more than one.
    """
    top = Path(chosen).expanduser() if chosen else root
    if not top.is_dir():
        raise DataError(f"affwild2: {top} is not a folder", hint=LAYOUT)
    if any(folder.name.lower() in _SPLITS for folder in top.iterdir()):
        return top
    found = list(_challenges(top, depth=4))
    if not found:
        below = next((folder for folder in folders_in(top) if next(_challenges(folder, depth=4), None)), None)
        option = "annotations" if chosen else "root"
        raise DataError(
            f"affwild2: {top} has no folder {' or '.join(CHALLENGES)}; found: {content_of(top)}",
            hint=f"use {Spec('affwild2', {option: str(below)})}" if below else LAYOUT,
        )
    if len(found) > 1:
        raise DataError(
            f"affwild2: found several annotations: {', '.join(map(str, found))}",
            hint="choose one with annotations=FOLDER",
        )
    return found[0]


def _challenges(top: Path, depth: int) -> Iterator[Path]:
    """Yield folders of a challenge; other folders are not listed, since they may have millions of crops."""
    for folder in sorted(top.iterdir()):
        if folder.name.lower() in map(str.lower, CHALLENGES) and folder.is_dir():
            yield folder
        elif depth and "annotation" in folder.name.lower() and folder.is_dir():
            yield from _challenges(folder, depth - 1)


def read_annotations(folder: Path) -> list[LabelFile]:
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
                files.append(_read(path, split, seen.get(path.stem, "")))
                seen.setdefault(path.stem, str(path))
    if not files:
        raise DataError(f"affwild2: {folder} has no annotation file", hint=LAYOUT)
    return sorted(files, key=lambda file: file.clip)


def _read(path: Path, split: str, other: str) -> LabelFile:
    try:
        data = read_file(path)
    except OSError as error:
        raise DataError(f"affwild2: {path} cannot be read: {error.strerror}") from error
    label, wrong = parse_labels(data)
    if other:
        wrong.insert(0, (1, f"clip {path.stem!r} is also annotated in {other}"))
    if not path.stem.isprintable():
        wrong.insert(0, (1, "the name of the file must be printable text"))
    name = str(path).encode(errors="backslashreplace").decode()
    problems = tuple(f"{name}:{line}: {problem}" for line, problem in wrong)
    return LabelFile(path.stem, split, str(path), label, hashlib.sha256(data).hexdigest()[:16], problems)


def parse_labels(data: bytes) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Parse one annotation file: a header with class names, then one number per frame.

    A byte order mark, any line ends, blanks around a value and blank lines at the end are accepted; a blank line before
    the end is a problem, since the lines after it may be shifted.

    Returns:
        (L,) int64 labels in the order of ``CLASSES`` for any order of the header, -1 if the frame is not annotated or
        its line is invalid; and (line, problem), lines from 1.
    """
    lines = data.removeprefix(_BOM).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
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


def listed_test_clips(root: Path, annotations: Path) -> list[str] | None:
    """Return the clips in the list of the test set; None if there is no list."""
    path = find_test_list(root, annotations)
    if path is None:
        return None
    text = read_file(path).removeprefix(_BOM).decode(errors="replace")
    return sorted({line.strip() for line in text.splitlines()} - {""})


def find_test_list(root: Path, annotations: Path) -> Path | None:
    """Return the list of the test set, beside the annotations or in the folders above them, up to the root."""
    above = [folder for folder in annotations.parents if folder.is_relative_to(root)]
    for folder in (annotations, *above, root):
        lists = sorted((folder / _TEST_FOLDER).glob(_TEST_LISTS))
        if lists:
            return lists[0]
    return None


def read_subjects(path: Path) -> dict[str, str]:
    """Read a csv file with the columns ``video`` and ``subject``: name of a video or clip to its person.

    Raises:
        DataError: if it cannot be read, lacks a column, or has an empty field or two subjects for a video.
    """
    file = AnnotationFile("affwild2", path)
    rows = file.rows()
    line, header = next(rows, (1, []))
    if absent := [name for name in ("video", "subject") if name not in header]:
        raise DataError(
            f"affwild2: {path}:{line}: no column {', '.join(absent)}; found: {', '.join(header) or 'nothing'}"
        )
    video, subject = header.index("video"), header.index("subject")
    subjects: dict[str, str] = {}
    for line, fields in rows:
        if len(fields) != len(header) or not fields[video] or not fields[subject]:
            raise DataError(f"affwild2: {path}:{line}: expected a video and a subject, found {fields}")
        if subjects.setdefault(fields[video], fields[subject]) != fields[subject]:
            both = f"{subjects[fields[video]]!r} and {fields[subject]!r}"
            raise DataError(f"affwild2: {path}:{line}: video {fields[video]!r} has two subjects: {both}")
    return subjects
