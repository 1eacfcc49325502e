"""The most common data set: one folder of images per class."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import Export, FaceDataset, FrameTable, Labels
from fusionkit.contracts.image_file import library_needed, read_image
from fusionkit.errors import ConfigError, DataError, expanded, printable
from fusionkit_datasets.class_folders import ImageFile, find_images
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.label_table import read_label_table
from fusionkit_datasets.task_columns import HINT, TasksOption, columns_hint, task_columns

_TABLE = "labels.csv"  # in a copy of the data


class Folder(FaceDataset):
    """Images in one folder per class, optionally below folders for train, val and test.

    ``ROOT/{train,val[,test]}/<class>/<images>`` has official splits (``training``, ``valid``, ``validation`` and
    ``testing`` are accepted; case does not matter); ``ROOT/<class>/<images>``, or ``train`` alone, has none: dev and
    test are then split off by unit (subject or clip). Classes are the folder names of all splits, sorted. Sub-folders
    of a class folder are searched too. Images are .jpg, .jpeg, .jfif, .jpe, .mpo, .png, .bmp, .webp, .tif, .gif, .avif,
    .jp2, .ppm and the like, and .heic with ``pip install 'fusionkit[heif]'``. Hidden files and usual notes (texts,
    tables) are ignored; other files are a problem of ``fusionkit data check``. A file that cannot be decoded is a frame
    without an image.

    ``subject``, ``clip``, ``number`` and ``label`` are regular expressions, searched in the path below the class
    folder; with ``label``, below the root or the folder of a split, as there are no class folders. The result is the
    group of that name (``(?P<clip>...)``), else the first group, else the whole match.

    Args:
        root: the folder; ``~`` is the home folder.
        subject: finds the identity of the person, so that each person is in one part of a split. Default: unknown.
        clip: finds the name of the clip, for frames of videos. A clip may have frames in several class folders, but not
            in two splits. Default: every image is a clip.
        number: finds the frame number in the clip. Default: the last digits of the file name; if a file of the clip has
            none, the position in natural order (``f2`` before ``f10``), from 1.
        label: finds the class in the path, for images whose names hold it. Default: the class is the folder.
        class_map: rename, merge or remove classes: ``{contempt:Other,unsure:null}``; ``abaw`` maps the usual spellings
            of expressions to the names of the ABAW challenge. Default: unchanged.
        table: csv file with labels of other tasks, a path, relative to the root: the column ``file`` has the path of an
            image below the root, other columns have numbers; an empty field is unlabelled. Default: none.
        tasks: columns of ``table`` that are labels of other tasks, by task:
            ``{action-units:[AU1,AU2],valence-arousal:[valence,arousal],votes:[happy,sad]}``.

    Raises:
        ConfigError: if a regular expression, the class map or the tasks are invalid.
        DataError: if the folders are not as above, a regular expression finds nothing in a path, frames of a clip are
            inconsistent, or the table lacks a column, has a wrong field or no image of the data.

    Reference: the layout of ``torchvision.datasets.ImageFolder`` (https://docs.pytorch.org/vision/), which FER2013,
    RAF-DB and AffectNet are commonly shared in.
    """

    places: ClassVar[tuple[str, ...]] = ("root", "table")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # images are needed to build it

    def __init__(
        self,
        root: str,
        subject: str = "",
        clip: str = "",
        number: str = "",
        class_map: ClassMapOption = None,
        label: str = "",
        table: str = "",
        tasks: TasksOption = None,
    ) -> None:
        self._columns = task_columns("folder", tasks)
        if bool(table) != bool(self._columns):
            raise ConfigError("folder: table and tasks belong together: a file, and its columns by task", hint=HINT)
        self._subject = _compiled("subject", subject)
        self._clip = _compiled("clip", clip)
        self._number = _compiled("number", number)
        self._problems: list[str] = []
        self._label = _compiled("label", label)
        files = find_images(root, problems=self._problems, label=self._class_of if self._label else None)
        own = tuple(sorted({file.label for file in files}))
        self._map = ClassMap.of(own, class_map)
        self._codes = {label: code for code, label in enumerate(own)}
        self._files: list[ImageFile] = []
        self._frames = self._table(files)
        self._label_file = expanded(root) / expanded(table) if table else None
        self._labels: dict[str, np.ndarray] = {}
        if self._label_file:
            # With `label` there are no class folders.
            paths = [f"{file.split}/{file.name}".lstrip("/") if self._label else file.key for file in self._files]
            self._labels = read_label_table("folder", self._label_file, self._columns, paths)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted, then mapped."""
        return self._map.classes

    @property
    def frames(self) -> FrameTable:
        """One row per image, clips and frames in natural order."""
        return self._frames

    def labels(self, task: str) -> Labels | None:
        """Return the classes, or the columns of the table that ``tasks`` names."""
        return Labels(self._columns[task], self._labels[task]) if task in self._labels else super().labels(task)

    def labels_hint(self, task: str) -> str:
        """Return the options that name columns."""
        return f"table=FILE.csv,{columns_hint(task)}"

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Return images, RGB uint8 (H, W, 3); None for a file that cannot be decoded."""
        return [read_image(self._files[row].path) for row in rows]

    def where(self, row: int) -> str:
        """Return the path of the file."""
        return self._files[row].path

    def has_image(self) -> np.ndarray:
        """Return (N,) bool: rows with a file that is not empty."""
        return np.array([file.size > 0 for file in self._files], dtype=bool)

    def export(self, rows: np.ndarray) -> Export:
        """Return the same class folders and file names, below the usual names of the splits, and the table.

        Where ``label`` finds the class, the table and its tasks are left out.
        """
        keys = [self._files[row].key for row in rows.tolist()]
        if self._label:  # the class becomes a folder, so paths of the table are others
            dropped = ("label", "table", "tasks") if self._label_file else ("label",)
            return Export(keys, np.zeros(len(rows), bool), options=dict.fromkeys(dropped))
        files = {_TABLE: self._label_file} if self._label_file else {}
        return Export(keys, np.zeros(len(rows), bool), files, dict.fromkeys(["table"] if files else (), _TABLE))

    def problems(self) -> Iterable[str]:
        """Return each empty file, broken link and file that needs another library, and a line on other files."""
        empty = [f"{file.path}: empty file or broken link" for file in self._files if not file.size]
        unread = [
            f"{file.path} is not read without {need}" for file in self._files if (need := library_needed(file.path))
        ]
        return [*self._problems, *empty, *unread]

    def _table(self, files: Iterable[ImageFile]) -> FrameTable:
        """Sort the files, and make the table."""
        clips: dict[str, list[ImageFile]] = {}
        for file in files:
            clips.setdefault(_found("clip", self._clip, file.name, file.path) if self._clip else file.key, []).append(
                file
            )
        names, numbers, subjects = [], [], []
        for name in sorted(clips, key=_natural):
            members = clips[name]
            subjects += [self._subject_of(name, members)] * len(members)
            for number, file in self._in_order(name, members):
                names.append(printable(name))
                numbers.append(number)
                self._files.append(file)
        return FrameTable.of(
            names,
            numbers,
            self._map.apply(np.array([self._codes[file.label] for file in self._files], dtype=np.int64)),
            subject=subjects,
            split=[file.split for file in self._files],
        )

    def _class_of(self, name: str, path: str) -> str:
        assert self._label is not None, "called with label only"
        return _found("label", self._label, name, path)

    def _subject_of(self, clip: str, members: list[ImageFile]) -> str:
        """Return the subject of a clip; all frames must have the same subject and split."""
        subjects = [_found("subject", self._subject, file.name, file.path) if self._subject else "" for file in members]
        for file, subject in zip(members, subjects, strict=True):
            if file.split != members[0].split:
                raise DataError(f"folder: clip {clip!r} is in two splits: {members[0].path} and {file.path}")
            if subject != subjects[0]:
                raise DataError(
                    f"folder: clip {clip!r} has two subjects: {subjects[0]!r} in {members[0].path} "
                    f"and {subject!r} in {file.path}"
                )
        return printable(subjects[0])

    def _in_order(self, clip: str, members: list[ImageFile]) -> list[tuple[int, ImageFile]]:
        """Return the frames of a clip with their numbers, in ascending order."""
        if self._number:
            numbers = [_whole(_found("number", self._number, file.name, file.path), file) for file in members]
        elif self._clip and all(digits := [re.findall(r"\d+", _stem(file)) for file in members]):
            numbers = [_whole(each[-1], file) for each, file in zip(digits, members, strict=True)]
        else:
            return list(enumerate(sorted(members, key=lambda file: _natural(file.name)), start=1))
        ordered = sorted(zip(numbers, members, strict=True), key=lambda pair: (pair[0], pair[1].path))
        for (number, file), (next_number, next_file) in pairwise(ordered):
            if number == next_number:
                raise DataError(f"folder: clip {clip!r} has frame {number} twice: {file.path} and {next_file.path}")
        return ordered


def _compiled(option: str, pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except (re.error, TypeError) as error:
        raise ConfigError(f"folder: {option}={pattern!r} must be a regular expression: {error}") from error


def _found(option: str, pattern: re.Pattern[str], name: str, path: str) -> str:
    """Return the result of a pattern in the path below the class folder, or below the root."""
    match = pattern.search(name)
    group = option if option in pattern.groupindex else min(1, pattern.groups)
    found = match.group(group) if match else ""
    if not found:
        raise DataError(f"folder: {option}={pattern.pattern!r} finds nothing in {name!r} ({path})")
    return found


def _whole(digits: str, file: ImageFile) -> int:
    try:
        return int(np.int64(int(digits)))
    except (ValueError, OverflowError) as error:
        raise DataError(f"folder: frame number {digits!r} must be an integer ({file.path})") from error


def _stem(file: ImageFile) -> str:
    return file.name.rpartition("/")[2].rpartition(".")[0]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that compares digits by value, and then the name, so that ``1`` and ``01`` differ."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
