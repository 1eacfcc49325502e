"""Images that a csv file lists: one row per image, and a column for each use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from fusionkit.contracts import Labels
from fusionkit.errors import ConfigError, DataError, expanded
from fusionkit.registry import did_you_mean
from fusionkit_datasets.annotation_file import AnnotationFile
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.columns import (
    Where,
    class_names,
    class_numbers,
    clip_order,
    read_labels,
    read_numbers,
    read_splits,
    read_texts,
)
from fusionkit_datasets.stills import FileImages, Listing, Still, Stills, TaskLabels, root_folder
from fusionkit_datasets.task_columns import TasksOption, columns_hint, task_columns

T = TypeVar("T")

_LABEL = "label"
_LAYOUT = "expected a csv file with a header and one row per image, such as file,label,subject"
_DELIMITERS = ",;\t"
_WHOLE = re.compile(r"(-?\d{1,18})(\.0+)?")  # pandas writes whole numbers beside missing ones as 3.0
_MISSING = frozenset({"", "nan", "<na>"})


class Csv(Stills):
    """Images that a csv file lists, one row per image, with a column for the path, the class, the person and others.

    The first row names the columns. Fields are separated by commas, semicolons or tabs; Windows line ends, a byte order
    mark and backslashes in paths are accepted. A row whose file is missing is a frame without an image. Columns that no
    option names are ignored.

    Args:
        path: the csv file; ``~`` is the home folder.
        image: column with the path of the image.
        label: column with the class: a name, or a number with ``classes``. An empty field, NaN or a number below 0 is
            unlabelled. Only with ``tasks`` may the column be absent.
        classes: class names in the order of the numbers, where classes are numbers. Default: the names, sorted.
        subject: column with the person, so that each person is in one part of a split. Default: unknown.
        clip: column with the name of the clip, for frames of videos. Default: every image is a clip.
        number: column with the frame number in the clip. Default: the order of the rows, from 1.
        split: column with ``train``, ``val`` or ``test``. Default: none.
        root: folder that the paths are relative to. Default: the folder of the csv file.
        class_map: rename, merge or remove classes, as for ``folder``.
        tasks: columns of numbers that are labels of other tasks, by task:
            ``{action-units:[AU1,AU2],valence-arousal:[valence,arousal]}``; an empty field is unlabelled.

    Raises:
        ConfigError: if the file has no such column, or the class map, the classes or the tasks are invalid.
        DataError: if the file cannot be read, a field is wrong, or two rows are the same frame.

    Reference: RFC 4180 (https://www.rfc-editor.org/rfc/rfc4180).
    """

    places: ClassVar[tuple[str, ...]] = ("path", "root")

    def __init__(
        self,
        path: str,
        image: str = "file",
        label: str = _LABEL,
        classes: list[str] | None = None,
        subject: str = "",
        clip: str = "",
        number: str = "",
        split: str = "",
        root: str = "",
        class_map: ClassMapOption = None,
        tasks: TasksOption = None,
    ) -> None:
        of_tasks = task_columns("csv", tasks)
        table = _Table(path)
        top = root_folder("csv", root or str(table.file.path.parent), "root=FOLDER that the paths are relative to")
        if label == _LABEL and of_tasks and label not in table.header:
            label = ""
        used = {"image": image, "label": label, "subject": subject, "clip": clip, "number": number, "split": split}
        table.check([*used.items(), *((f"tasks: {task}", name) for task in of_tasks for name in of_tasks[task])])
        names = [_below(top, text) for text in table.texts(image)]
        labels = table.read(read_labels, label, _class) if label else [None] * len(names)
        own = class_names("csv", labels, classes) if label else ()
        codes = class_numbers(labels, own, table.where)
        clips = table.texts(clip) if clip else names
        numbers = table.read(read_numbers, number, _whole) if number else None
        subjects = table.texts(subject) if subject else [""] * len(names)
        splits = table.read(read_splits, split, str) if split else [""] * len(names)
        order, frames = np.arange(len(names)), [1] * len(names)
        if clip or number:
            order, frames = clip_order("csv", clips, numbers, table.where)
        rows = order.tolist()
        stills = [
            Still(clips[row], int(codes[row]), splits[row], table.lines[row], path, frame, subjects[row])
            for row, frame in zip(rows, frames, strict=True)
        ]
        readers = {task: partial(table.task_labels, columns, rows) for task, columns in of_tasks.items()}
        images = FileImages(top, [names[row] for row in rows])
        listing = Listing(stills, images, faults=table.file.faults, tasks=readers)
        super().__init__(listing, ClassMap.of(own, class_map))

    def labels(self, task: str) -> Labels | None:
        """Return the classes, or the columns that ``tasks`` names."""
        return super().labels(task) if self.classes or task != "expression" else None

    def labels_hint(self, task: str) -> str:
        """Return the option that names columns."""
        return columns_hint(task)


class _Table:
    """The rows of a csv file, by column.

    Attributes:
        file: the file; rows with more or fewer fields than the header are its faults.
        header: names of the columns.
        lines: (N,) line of each other row.
    """

    def __init__(self, path: str) -> None:
        self.file = AnnotationFile("csv", expanded(path))
        first = next((text for _, text in self.file.lines()), "")
        rows = self.file.rows(max(_DELIMITERS, key=first.count))
        _, self.header = next(rows, (1, []))
        self.lines: list[int] = []
        self._rows: list[list[str]] = []
        for line, fields in rows:
            if len(fields) == len(self.header):
                self.lines.append(line)
                self._rows.append(fields)
            else:
                self.file.fault(line, f"expected {len(self.header)} fields, found {len(fields)}")
        if not self._rows:
            raise DataError(f"csv: {path} has no row below its header", hint=_LAYOUT)

    def check(self, used: Iterable[tuple[str, str]]) -> None:
        """Raise ConfigError with every column that an option names and the file lacks or has twice."""
        counts = Counter(self.header)
        wrong = {option: name for option, name in used if name and counts[name] != 1}
        if wrong:
            near = [name for name in self.header if name]
            listed = [
                f"{option}={name}{' (there twice)' if counts[name] else did_you_mean(name, near)}"
                for option, name in wrong.items()
            ]
            problem = f"csv: {self.file.path} has no single column for {', '.join(listed)}"
            raise ConfigError(f"{problem}; columns: {', '.join(self.header)}", hint="image=COLUMN,label=COLUMN")

    def column(self, name: str) -> list[str]:
        """Return the fields of a column: (N,)."""
        index = self.header.index(name)
        return [fields[index] for fields in self._rows]

    def read(self, reader: Callable[[Sequence[object], str, Where], T], name: str, value: Callable[[str], object]) -> T:
        """Return the values of a column by one of the readers of columns."""
        return reader(list(map(value, self.column(name))), f"column {name!r}", self.where)

    def texts(self, name: str) -> list[str]:
        """Return the texts of a column, none of them empty."""
        return self.read(read_texts, name, str)

    def where(self, index: int) -> str:
        """Return file and line of a row."""
        return f"csv: {self.file.path}:{self.lines[index]}"

    def task_labels(self, columns: Sequence[str], rows: Sequence[int]) -> TaskLabels:
        """Return columns of numbers in an order of the rows; NaN for an empty field."""
        values = np.full((len(rows), len(columns)), np.nan, np.float32)
        faults = []
        for place, name in enumerate(columns):
            fields = self.column(name)
            for index, row in enumerate(rows):
                try:
                    values[index, place] = float(fields[row] or "nan")
                except ValueError:
                    faults.append(f"{self.file.path}:{self.lines[row]}: {name} = {fields[row][:40]!r} must be a number")
        return TaskLabels(Labels(tuple(columns), values), faults)


def _below(top: Path, text: str) -> str:
    """Return the path of an image below the root, with ``/``; one elsewhere stays absolute."""
    path = Path(text.replace("\\", "/"))
    return (path.relative_to(top) if path.is_relative_to(top) else path).as_posix()


def _class(text: str) -> str | int | None:
    """Return a class name, or a number; None for a missing one."""
    return None if text.lower() in _MISSING else _whole(text)


def _whole(text: str) -> str | int:
    """Return a whole number as int, any other text unchanged."""
    found = _WHOLE.fullmatch(text)
    return int(found[1]) if found else text
