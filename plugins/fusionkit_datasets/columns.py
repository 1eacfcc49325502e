"""Columns of samples in any order: their values, classes of their labels, and the order of frames within clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from fusionkit.contracts import UNLABELLED
from fusionkit.errors import ConfigError, DataError, printable

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLITS |= {"test": "test", "testing": "test"}
_MOST = 2**62  # frame numbers are int64

Where = Callable[[int], str]  # name of a sample for messages


def read_texts(values: Sequence[object], name: str, where: Where) -> list[str]:
    """Return text or whole numbers as texts of one line.

    Args:
        values: (N,) as read from the file.
        name: of the column or field, for messages.
        where: names a sample for messages.

    Raises:
        DataError: if a value is neither, or empty.
    """
    for index, value in enumerate(values):
        if value is None or value == "":
            raise DataError(f"{where(index)}: {name} is missing")
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise DataError(f"{where(index)}: {name} = {_shown(value)} must be text or a whole number")
    return [printable(str(value)) for value in values]


def read_labels(values: Sequence[object], name: str, where: Where) -> list[str | None]:
    """Return class names or numbers as texts; None for an empty value or a number below 0.

    Args:
        values: (N,) as read from the file.
        name: of the column or field, for messages.
        where: names a sample for messages.

    Raises:
        DataError: if a value is neither.
    """
    found: list[str | None] = []
    for index, value in enumerate(values):
        if isinstance(value, bool) or not (value is None or isinstance(value, (str, int))):
            raise DataError(f"{where(index)}: {name} = {_shown(value)} must be a class name or number")
        is_absent = value is None or (isinstance(value, int) and value < 0)
        found.append(None if is_absent else str(value).strip() or None)
    return found


def read_numbers(values: Sequence[object], name: str, where: Where) -> list[int]:
    """Return whole numbers of at least 0.

    Args:
        values: (N,) as read from the file.
        name: of the column or field, for messages.
        where: names a sample for messages.

    Raises:
        DataError: if a value is none.
    """
    found: list[int] = []
    for index, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
            raise DataError(f"{where(index)}: {name} = {_shown(value)} must be a whole number of at least 0")
        found.append(value)
    return found


def read_splits(values: Sequence[object], name: str, where: Where) -> list[str]:
    """Return each value as ``train``, ``val`` or ``test``.

    Args:
        values: (N,) as read from the file.
        name: of the column or field, for messages.
        where: names a sample for messages.

    Raises:
        DataError: if a value names no split.
    """
    found = [SPLITS.get(text.lower(), "") for text in read_texts(values, name, where)]
    if "" in found:
        index = found.index("")
        raise DataError(f"{where(index)}: {name} = {_shown(values[index])} must be train, val or test")
    return found


def class_names(dataset: str, labels: Sequence[str | None], given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the given names of classes, else the labels, sorted.

    Raises:
        ConfigError: if labels are numbers and no names are given, or the names are no names.
        DataError: if no sample has a label.
    """
    if given is not None:
        if len(given) < 2 or len(set(given)) < len(given) or not all(isinstance(name, str) for name in given):
            raise ConfigError(f"{dataset}: classes = {given!r} must be at least two different names")
        return tuple(given)
    names = sorted({label for label in labels if label is not None})
    if not names:
        raise DataError(f"{dataset}: no sample has a class", hint="label=NAME of the field or column with the class")
    if all(_is_number(name) for name in names):
        raise ConfigError(
            f"{dataset}: classes are numbers ({', '.join(names[:8])}), and their names are not known",
            hint="classes=[NAME_OF_0,NAME_OF_1,...]",
        )
    return tuple(map(printable, names))


def class_numbers(labels: Sequence[str | None], names: Sequence[str], where: Where) -> np.ndarray:
    """Return the index of each label in the names, -1 for None: (N,) int64. A label is a name or a number.

    Raises:
        DataError: if a label is neither.
    """
    codes: dict[str | None, int] = {None: UNLABELLED, **{name: code for code, name in enumerate(names)}}
    found = np.empty(len(labels), np.int64)
    for index, label in enumerate(labels):
        name = None if label is None else printable(label)
        if name not in codes:
            number = int(name) if name is not None and _is_number(name) else len(names)
            if number >= len(names):
                raise DataError(f"{where(index)}: class {str(name)[:40]!r} is not one of: {', '.join(names)}")
            codes[name] = number
        found[index] = codes[name]
    return found


def clip_order(
    dataset: str, clips: Sequence[str], numbers: Sequence[int] | None, where: Where
) -> tuple[np.ndarray, list[int]]:
    """Return the samples by clip, in order of first appearance, and the frame number of each.

    Args:
        dataset: its name, for messages.
        clips: (N,) name of the clip of each sample.
        numbers: (N,) frame numbers. None: the position in the clip, from 1.
        where: names a sample for messages.

    Raises:
        DataError: if a clip has a frame twice.
    """
    members: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        members.setdefault(clip, []).append(index)
    order: list[int] = []
    found: list[int] = []
    for clip, indices in members.items():
        pairs = list(enumerate(indices, 1))
        if numbers is not None:
            pairs = sorted((numbers[index], index) for index in indices)
        for (number, index), (following, other) in pairwise(pairs):
            if number == following:
                frames = f"{where(index)} and {where(other)}"
                raise DataError(f"{dataset}: clip {clip!r} has frame {number} twice: {frames}")
        order += [index for _, index in pairs]
        found += [number for number, _ in pairs]
    return np.array(order, np.int64), found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 9


def _shown(value: object) -> str:
    return printable(repr(value)[:60])
