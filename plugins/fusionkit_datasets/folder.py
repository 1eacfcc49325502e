"""The data set most people have: one folder of images a class."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import Export, FaceDataset, FrameTable
from fusionkit.contracts.image_file import read_image
from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.class_map import ClassMap
from fusionkit_datasets.expression_names import abaw_names
from fusionkit_datasets.folder_tree import ImageFile, find_images


class Folder(FaceDataset):
    """Images in one folder a class, with or without train, val and test folders above.

    ``ROOT/{train,val[,test]}/<class>/<images>`` has official splits (``training``, ``valid``, ``validation`` and
    ``testing`` are taken for them; case does not matter); ``ROOT/<class>/<images>``, or ``train`` alone, has none, and
    a part is held out by unit. Classes are the folder names of all splits, sorted. Sub-folders of a class folder are
    searched too; hidden files and files that are not .jpg, .jpeg, .png, .bmp, .webp, .tif or .tiff are passed over. A
    file that cannot be decoded stays in the table as a frame without an image.

    ``subject``, ``clip`` and ``number`` are regular expressions, searched in the path below the class folder. What they
    capture is the group of that name (``(?P<clip>...)``), else the first group, else the whole match.

    Args:
        root: the folder; ``~`` is the home folder.
        subject: captures who it is, so that no person is in two parts of a split made by fusionkit; empty: unknown.
        clip: captures the clip's name, for frames of videos. A clip may have frames in several class folders, never
            in two splits. Empty: every image is a clip of its own.
        number: captures the frame number in its clip. Empty: the last digits of the file name; where some file of the
            clip has none, the place in natural order (``f2`` before ``f10``), from 1.
        class_map: classes renamed, merged or left out: ``{contempt:Other,unsure:null}``; ``abaw`` for the names of the
            ABAW challenge, from the usual spellings of expressions.

    Raises:
        ConfigError: if a regular expression is not valid, or the class map is refused.
        DataError: if the folders are not as above, a regular expression finds nothing in some path, or clips clash.

    Reference: the layout of ``torchvision.datasets.ImageFolder`` (https://docs.pytorch.org/vision/), which FER2013,
    RAF-DB and AffectNet are commonly shared in.
    """

    places: ClassVar[tuple[str, ...]] = ("root",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # there is nothing to build without somebody's images

    def __init__(
        self,
        root: str,
        subject: str = "",
        clip: str = "",
        number: str = "",
        class_map: dict[str, str | None] | str | None = None,
    ) -> None:
        self._subject = _compiled("subject", subject)
        self._clip = _compiled("clip", clip)
        self._number = _compiled("number", number)
        files = find_images(root)
        own = tuple(sorted({file.label for file in files}))
        self._map = ClassMap.of(own, class_map, abaw_names(own))
        self._codes = {label: code for code, label in enumerate(own)}
        self._files: list[ImageFile] = []
        self._frames = self._tabulate(files)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class folders' names, sorted; or what ``class_map`` makes of them."""
        return self._map.classes

    @property
    def frames(self) -> FrameTable:
        """One row an image, clips and frames in natural order."""
        return self._frames

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """The images of some rows, RGB uint8 (H, W, 3); None where a file cannot be decoded."""
        return [read_image(self._files[row].path) for row in rows]

    def content(self) -> str:
        """Paths below the root and sizes in bytes, a line a row."""
        return _text("\n".join(f"{file.key}\t{file.size}" for file in self._files))

    def where(self, row: int) -> str:
        """The file."""
        return self._files[row].path

    def has_image(self) -> np.ndarray:
        """(N,) bool: which rows have a file with something in it."""
        return np.array([file.size > 0 for file in self._files], dtype=bool)

    def export(self, rows: np.ndarray) -> Export:
        """The same class folders and file names, below the splits' usual names."""
        return Export([self._files[row].key for row in rows.tolist()], np.zeros(len(rows), bool))

    def problems(self) -> Iterable[str]:
        """Each file with nothing in it, and each link that leads nowhere."""
        return [f"{file.path}: is empty or leads nowhere" for file in self._files if not file.size]

    def _tabulate(self, files: Iterable[ImageFile]) -> FrameTable:
        """Put the files in the table's order, and make the table."""
        clips: dict[str, list[ImageFile]] = {}
        for file in files:
            clips.setdefault(_found("clip", self._clip, file) if self._clip else file.key, []).append(file)
        names, numbers, subjects = [], [], []
        for name in sorted(clips, key=_natural):
            members = clips[name]
            subjects += [self._one_subject(name, members)] * len(members)
            for number, file in self._in_order(name, members):
                names.append(_text(name))
                numbers.append(number)
                self._files.append(file)
        return FrameTable.of(
            names,
            numbers,
            self._map.apply(np.array([self._codes[file.label] for file in self._files], dtype=np.int64)),
            subject=subjects,
            split=[file.split for file in self._files],
        )

    def _one_subject(self, clip: str, members: list[ImageFile]) -> str:
        """The person in a clip, who must be one, in one split."""
        subjects = [_found("subject", self._subject, file) if self._subject else "" for file in members]
        for file, subject in zip(members, subjects, strict=True):
            if file.split != members[0].split:
                raise DataError(f"folder: clip {clip!r} is in two splits: {members[0].path} and {file.path}")
            if subject != subjects[0]:
                raise DataError(
                    f"folder: clip {clip!r} shows two subjects: {subjects[0]!r} in {members[0].path} "
                    f"and {subject!r} in {file.path}"
                )
        return _text(subjects[0])

    def _in_order(self, clip: str, members: list[ImageFile]) -> list[tuple[int, ImageFile]]:
        """The frames of a clip with their numbers, rising."""
        if self._number:
            numbers = [_whole(_found("number", self._number, file), file) for file in members]
        elif self._clip and all(runs := [re.findall(r"\d+", _stem(file)) for file in members]):
            numbers = [_whole(run[-1], file) for run, file in zip(runs, members, strict=True)]
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
        raise ConfigError(f"folder: {option}={pattern!r} is not a regular expression: {error}") from error


def _found(option: str, pattern: re.Pattern[str], file: ImageFile) -> str:
    """What the pattern captures in the path below the class folder."""
    match = pattern.search(file.name)
    group = option if option in pattern.groupindex else min(1, pattern.groups)
    captured = match.group(group) if match else ""
    if not captured:
        raise DataError(f"folder: {option}={pattern.pattern!r} finds nothing in {file.name!r} ({file.path})")
    return captured


def _whole(digits: str, file: ImageFile) -> int:
    try:
        return int(np.int64(int(digits)))
    except (ValueError, OverflowError) as error:
        raise DataError(f"folder: {digits!r} is not a frame number ({file.path})") from error


def _stem(file: ImageFile) -> str:
    return file.name.rpartition("/")[2].rpartition(".")[0]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Sort key that orders digits by value; the name itself settles ``1`` against ``01``."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _text(name: str) -> str:
    """The name in valid Unicode: bytes of a file name that are not UTF-8 are written out."""
    return name.encode(errors="backslashreplace").decode()
