"""Index of the face crops of Aff-Wild2: the files of each clip by frame. Only names are read."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fusionkit.contracts.image_file import ENDINGS
from fusionkit.errors import DataError, expanded
from fusionkit_datasets.affwild2_labels import EXPR

_USUAL = re.compile(r"[0-9]{5}\.jpg|[1-9][0-9]{5,17}\.jpg").fullmatch
_NUMBERED = re.compile(r"([0-9]{1,18})\.(?:jpe?g|png)", re.IGNORECASE | re.ASCII).fullmatch
_IMAGE = (".jpg", ".jpeg", ".png")
_DEPTH = 4  # levels below a frame root; this ends a link to a folder above


@dataclass(frozen=True, eq=False)
class Crops:
    """The crops of one clip.

    Attributes:
        folder: their folder.
        key: the folder below the root, independent of the path of the root.
        numbers: (n,) int64 frame numbers, ascending.
        unusual: frame number to the file name, for names other than ``00001.jpg``.
    """

    folder: str
    key: str
    numbers: np.ndarray
    unusual: dict[int, str]

    def path(self, number: int) -> str:
        """Return the file of a frame."""
        return f"{self.folder}/{self.name(number)}"

    def name(self, number: int) -> str:
        """Return the file name of a frame, whether it exists or not."""
        return self.unusual.get(number) or usual_name(number)

    def content(self) -> str:
        """Return the key, and a hash of the frame numbers and unusual names."""
        state = hashlib.sha256(self.numbers.astype("<i8").tobytes())
        state.update(repr(sorted(self.unusual.items())).encode(errors="backslashreplace"))
        return f"{self.key}\t{len(self.numbers)}\t{state.hexdigest()[:16]}"


@dataclass(eq=False)
class CropIndex:
    """All crops, by clip, and their problems."""

    clips: dict[str, Crops] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, clip: str, crops: Crops) -> None:
        """Add the folder of a clip; the first one of a name is used."""
        first = self.clips.setdefault(clip, crops)
        if first is not crops:
            self.problems.append(f"{crops.folder}: ignored; clip {clip!r} has crops in {first.folder} too")


def usual_name(number: int) -> str:
    """Return ``00001.jpg`` for frame 1; more digits from 100000."""
    return f"{number:05d}.jpg"


def index_crops(root: Path, folders: Sequence[str], *, all_needed: bool) -> CropIndex:
    """List every frame root.

    Args:
        root: root of the data set.
        folders: names below it, or paths.
        all_needed: every folder must exist; otherwise one is enough.

    Raises:
        DataError: if a required folder is missing or cannot be listed.
    """
    there = [folder for folder in folders if (root / expanded(folder)).is_dir()]
    missing = [folder for folder in folders if folder not in there]
    if not there or (all_needed and missing):
        raise DataError(f"affwild2: no folder {' or '.join(missing)} in {root}", hint=EXPR.layout)
    index = CropIndex()
    for folder in there:
        path = root / expanded(folder)
        try:
            _list(str(path), path.name, "", index, _DEPTH)
        except OSError as error:
            raise DataError(f"affwild2: {error.filename} cannot be listed: {error.strerror}") from error
    return index


def _list(folder: str, key: str, clip: str, index: CropIndex, depth: int) -> None:
    """Add a folder with crops, and the folders below it; ``clip`` is its name, empty for a frame root."""
    names = os.listdir(folder)  # noqa: PTH208  # ten times faster than a Path per crop
    numbers = [int(name[:-4]) for name in names if _USUAL(name)]
    others = [name for name in names if not name.startswith(".")] if len(numbers) < len(names) else []
    others = sorted(name for name in others if not _USUAL(name))
    unusual, folders = _files_and_folders(folder, others, set(numbers), index.problems)
    if numbers or unusual or not (folders or others):
        if clip:
            index.add(clip, Crops(folder, key, np.array(sorted([*numbers, *unusual]), np.int64), unusual))
        elif numbers or unusual:
            index.problems.append(f"{folder}: {len(numbers) + len(unusual)} images beside the folders of clips")
    for name in folders if depth else ():
        _list(f"{folder}/{name}", f"{key}/{name}", name, index, depth - 1)


def _files_and_folders(
    folder: str, names: list[str], known: set[int], problems: list[str]
) -> tuple[dict[int, str], list[str]]:
    """Return the files of frames, by number, and the folders among unusual names."""
    unusual: dict[int, str] = {}
    folders = []
    for name in names:
        numbered = _NUMBERED(name)
        number = int(numbered.group(1)) if numbered else -1
        if numbered and (number in known or number in unusual):
            problems.append(
                f"{folder}/{name}: frame {number} has two files; {unusual.get(number) or usual_name(number)} is used"
            )
        elif numbered:
            unusual[number] = name
        elif name.lower().endswith(_IMAGE):
            problems.append(f"{folder}/{name}: the name of an image must be a frame number")
        elif Path(name).suffix.lower() in ENDINGS:
            problems.append(f"{folder}/{name}: not read; crops are {', '.join(_IMAGE)}")
        elif os.path.isdir(f"{folder}/{name}"):  # noqa: PTH112  # ten times faster than Path
            folders.append(name)
    if 0 in known or 0 in unusual:
        problems.append(f"{folder}: found frame 0, but annotated frames start at 1; are the crops shifted by one?")
    return unusual, folders
