"""Faces as numbers in a comma-separated table, such as fer2013.csv."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from fusionkit.contracts.regular_file import open_file
from fusionkit.errors import DataError
from fusionkit.registry import did_you_mean

SIDE = 48
_DIGITS = b"0123456789 "


class PixelRow(NamedTuple):
    """One line of the table.

    Attributes:
        line: its number, from 1.
        start: offset in the file, in bytes.
        length: in bytes.
        emotion: value of the column ``emotion``.
        usage: value of the column ``Usage``; empty if there is none.
    """

    line: int
    start: int
    length: int
    emotion: str
    usage: str


@dataclass(frozen=True)
class PixelTable:
    """Grey 48 x 48 px faces in the column ``pixels``; lines are found at once, pixels are read when they are needed.

    Attributes:
        dataset: name of the data set, for messages.
        path: the file.
        column: index of the column ``pixels``, from 0.
        rows: the rows that are used.
        faults: lines that do not match the header, ``path:line: problem``.

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
        """Read a table and find its rows.

        Raises:
            DataError: if the file cannot be read or has no column ``emotion`` or ``pixels``.
        """
        faults: list[str] = []
        try:
            with open_file(path) as file:
                first = file.readline()
                header = _header(dataset, path, first)
                rows = list(_rows(path, header, file, len(first), faults))
        except OSError as error:
            raise DataError(f"{dataset}: cannot read {path}: {error.strerror}") from error
        return cls(dataset, path, header.index("pixels"), rows, faults)

    def take(self, indices: Sequence[int]) -> PixelTable:
        """Return a table with some of the rows."""
        return replace(self, rows=[self.rows[index] for index in indices])

    def read(self, row: int) -> np.ndarray | None:
        """Return RGB uint8 (48, 48, 3); None if the pixels are not 48 x 48 numbers from 0 to 255."""
        try:
            with open_file(self.path) as file:
                grey = self._grey(file, self.rows[row])
        except OSError:
            return None
        return None if isinstance(grey, str) else np.repeat(grey[..., None], 3, axis=2)

    def where(self, row: int) -> str:
        """Return file and line."""
        return f"{self.path}:{self.rows[row].line}"

    def files(self, rows: np.ndarray) -> Iterable[str]:
        """Return nothing: ``content`` covers the file."""
        return ()

    def content(self) -> str:
        """Return hashes of the file and of the lines that are used."""
        lines = np.array([row.line for row in self.rows], dtype="<i8")
        return f"{self._digest} {hashlib.sha256(lines.tobytes()).hexdigest()}"

    def there(self) -> None:
        """Return None: only reading shows which rows have an image."""
        return

    def problems(self) -> Iterator[tuple[int, str]]:
        """Yield (row, problem) for each row without a face; all pixels are parsed."""
        with open_file(self.path) as file:
            for index, row in enumerate(self.rows):
                grey = self._grey(file, row)
                if isinstance(grey, str):
                    yield index, f"{self.where(index)}: {grey}"

    def _grey(self, file: BinaryIO, row: PixelRow) -> np.ndarray | str:
        """Return (48, 48) uint8, or the problem."""
        file.seek(row.start)
        return _face(_fields(file.read(row.length))[self.column])

    @cached_property
    def _digest(self) -> str:
        with open_file(self.path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _header(dataset: str, path: Path, line: bytes) -> list[str]:
    names = [name.decode(errors="replace") for name in _fields(line.removeprefix(b"\xef\xbb\xbf"))]
    missing = [name for name in ("emotion", "pixels") if name not in names]
    if missing:
        near = did_you_mean(missing[0], [name[:40] for name in names])
        raise DataError(
            f"{dataset}: {path}:1: no column {' and no column '.join(missing)}{near}",
            hint="the first line must be emotion,pixels,Usage",
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
            faults.append(f"{path}:{number}: expected {len(header)} fields, found {len(fields)}")
        start += len(line)


def _fields(line: bytes) -> list[bytes]:
    """Return the fields of a line, without spaces and quotes around them; no field has a comma."""
    return [field.strip(b' \t\r\n"') for field in line.split(b",")]


def _face(text: bytes) -> np.ndarray | str:
    """Return (48, 48) uint8, or the problem."""
    if text.translate(None, _DIGITS):
        return "pixels must be numbers separated by spaces"
    values = np.fromstring(text, dtype=np.int64, sep=" ") if text.strip() else np.zeros(0, np.int64)
    if len(values) != SIDE * SIDE:
        return f"expected {SIDE} x {SIDE} pixels, found {len(values)}"
    if values.max() > 255:
        return f"pixel {values.max()} must be 0 to 255"
    return values.astype(np.uint8).reshape(SIDE, SIDE)
