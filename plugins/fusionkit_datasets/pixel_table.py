"""Faces that stand as numbers in a table of comma-separated values, such as fer2013.csv."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fusionkit.errors import DataError
from fusionkit.registry import did_you_mean

SIDE = 48
_DIGITS = b"0123456789 "


class PixelRow(NamedTuple):
    """One line of the table.

    Attributes:
        line: its number, from 1.
        start: where it starts in the file, in bytes.
        length: in bytes.
        emotion: what stands in the column ``emotion``.
        usage: what stands in the column ``Usage``; empty where there is none.
    """

    line: int
    start: int
    length: int
    emotion: str
    usage: str


@dataclass(frozen=True)
class PixelTable:
    """Grey 48 x 48 px faces in the column ``pixels``; the file is read through once, pixels when they are asked for.

    Attributes:
        dataset: the data set's name, for messages.
        path: the file.
        column: place of ``pixels`` among the columns, from 0.
        rows: the rows that are used.
        faults: lines that are not as the header says, ``path:line: what``.

    Reference: the layout of ``fer2013.csv`` (https://www.kaggle.com/c/challenges-in-representation-learning-facial-
    expression-recognition-challenge).
    """

    dataset: str
    path: Path
    column: int
    rows: Sequence[PixelRow]
    faults: Sequence[str] = ()

    @classmethod
    def open(cls, dataset: str, path: Path) -> PixelTable:
        """Find the rows of a table.

        Raises:
            DataError: if the file cannot be read or lacks a column.
        """
        faults: list[str] = []
        try:
            with path.open("rb") as file:
                first = file.readline()
                header = _header(dataset, path, first)
                rows = list(_rows(path, header, file, len(first), faults))
        except OSError as error:
            raise DataError(f"{dataset}: cannot read {path}: {error.strerror}") from error
        return cls(dataset, path, header.index("pixels"), rows, faults)

    def take(self, places: Sequence[int]) -> PixelTable:
        """The table of some of its rows."""
        return replace(self, rows=[self.rows[place] for place in places])

    def read(self, row: int) -> np.ndarray | None:
        """RGB uint8 (48, 48, 3); None where the pixels are not 48 x 48 numbers from 0 to 255."""
        at = self.rows[row]
        try:
            with self.path.open("rb") as file:
                file.seek(at.start)
                grey = _grey(_fields(file.read(at.length))[self.column])
        except OSError:
            return None
        return None if isinstance(grey, str) else np.repeat(grey[..., None], 3, axis=2)

    def where(self, row: int) -> str:
        """File and line."""
        return f"{self.path}:{self.rows[row].line}"

    def content(self) -> str:
        """Hash of the whole file, and the lines that are used."""
        lines = np.array([row.line for row in self.rows], dtype="<i8")
        return f"{self._digest} {hashlib.sha256(lines.tobytes()).hexdigest()}"

    def there(self) -> None:
        """Only reading tells."""
        return

    def problems(self) -> Iterator[tuple[int, str]]:
        """(row, what is wrong) of each row without a face; all pixels are parsed for it."""
        with self.path.open("rb") as file:
            for place, row in enumerate(self.rows):
                file.seek(row.start)
                grey = _grey(_fields(file.read(row.length))[self.column])
                if isinstance(grey, str):
                    yield place, f"{self.where(place)}: {grey}"

    @cached_property
    def _digest(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _header(dataset: str, path: Path, line: bytes) -> list[str]:
    names = [name.decode(errors="replace") for name in _fields(line.removeprefix(b"\xef\xbb\xbf"))]
    lacking = [name for name in ("emotion", "pixels") if name not in names]
    if lacking:
        near = did_you_mean(lacking[0], [name[:40] for name in names])
        raise DataError(
            f"{dataset}: {path}:1: there is no column {' and no column '.join(lacking)}{near}",
            hint="the first line is emotion,pixels,Usage",
        )
    return names


def _rows(path: Path, header: list[str], lines: Iterable[bytes], start: int, faults: list[str]) -> Iterator[PixelRow]:
    emotion, usage = header.index("emotion"), header.index("Usage") if "Usage" in header else None
    for number, line in enumerate(lines, start=2):
        fields = _fields(line)
        if len(fields) == len(header):
            split = "" if usage is None else fields[usage].decode(errors="replace")
            yield PixelRow(number, start, len(line), fields[emotion].decode(errors="replace"), split)
        elif fields != [b""]:
            faults.append(f"{path}:{number}: {len(fields)} fields stand where {len(header)} should")
        start += len(line)


def _fields(line: bytes) -> list[bytes]:
    """Fields of a line, without the spaces and quotes around them; none holds a comma."""
    return [field.strip(b' \t\r\n"') for field in line.split(b",")]


def _grey(text: bytes) -> np.ndarray | str:
    """(48, 48) uint8; or what is wrong."""
    if text.translate(None, _DIGITS):
        return "pixels are not numbers with spaces between"
    values = np.fromstring(text, dtype=np.int64, sep=" ") if text.strip() else np.zeros(0, np.int64)
    if len(values) != SIDE * SIDE:
        return f"{len(values)} pixels are not {SIDE} x {SIDE}"
    if values.max() > 255:
        return f"pixel {values.max()} is not 0 to 255"
    return values.astype(np.uint8).reshape(SIDE, SIDE)
