"""A text file of annotations: read line by line, with a hash of its bytes and a list of its errors."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

from fusionkit.contracts.regular_file import open_file
from fusionkit.errors import DataError
from fusionkit.registry import did_you_mean_path


class AnnotationFile:
    """One list or table of annotations. Windows line ends and a byte order mark are accepted.

    Args:
        dataset: name of the data set, for messages.
        path: the file.

    Attributes:
        name: the path as text.
        faults: errors in single lines, ``path:line: problem``; readers add to them.
    """

    def __init__(self, dataset: str, path: Path) -> None:
        self.dataset = dataset
        self.path = path
        self.name = str(path)
        self.faults: list[str] = []
        self._hash = hashlib.sha256()

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield number, from 1, and text of each line, without the line end.

        Raises:
            DataError: if the file cannot be read or is not UTF-8 text.
        """
        self._hash = hashlib.sha256()
        try:
            with open_file(self.path) as file:
                for number, raw in enumerate(file, start=1):
                    self._hash.update(raw)
                    yield number, self._decoded(number, raw).rstrip("\r\n")
        except OSError as error:
            near = "" if self.path.exists() else did_you_mean_path(self.path)
            raise DataError(f"{self.dataset}: cannot read {self.path}: {error.strerror}{near}") from error

    def words(self, least: int = 1) -> Iterator[tuple[int, list[str]]]:
        """Yield number and words of each line that is not blank; fewer words than ``least`` are a fault.

        Raises:
            DataError: as :meth:`lines`.
        """
        for number, text in self.lines():
            words = text.split()
            if words and len(words) < least:
                self.fault(number, f"expected {least} fields, found {len(words)}: {text[:80]!r}")
            elif words:
                yield number, words

    def rows(self, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
        """Yield number and stripped fields of each line that is not blank.

        Args:
            delimiter: one character between fields.

        Raises:
            DataError: as :meth:`lines`, or if a quote is not closed.
        """
        reader = csv.reader((text for _, text in self.lines()), delimiter=delimiter)
        try:
            for fields in reader:
                stripped = [field.strip() for field in fields]
                if any(stripped):
                    yield reader.line_num, stripped
        except csv.Error as error:
            raise DataError(f"{self.dataset}: {self.path}:{reader.line_num}: {error}") from error

    def digest(self) -> str:
        """Return the hash of the bytes read."""
        return self._hash.hexdigest()

    def fault(self, line: int, problem: str) -> None:
        """Add an error in a line."""
        self.faults.append(f"{self.path}:{line}: {problem}")

    def _decoded(self, number: int, raw: bytes) -> str:
        try:
            return raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.dataset}: {self.path}:{number}: this is not UTF-8 text") from error
