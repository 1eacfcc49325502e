"""Finds the face crops of Aff-Wild2: which clip has a file for which frame. Looks at names only."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fusionkit.errors import DataError
from fusionkit_datasets.affwild2_labels import LAYOUT

SAMPLED = 16  # files a clip of which the size is asked

_USUAL = re.compile(r"[0-9]{5}\.jpg|[1-9][0-9]{5,17}\.jpg").fullmatch
_NUMBERED = re.compile(r"([0-9]{1,18})\.(?:jpe?g|png)", re.IGNORECASE | re.ASCII).fullmatch
_IMAGE = (".jpg", ".jpeg", ".png")
_DEPTH = 4  # folders below a frame root; a link to a folder above ends here


@dataclass(frozen=True, eq=False)
class Crops:
    """The crops of one clip.

    Attributes:
        folder: where they lie.
        key: the folder below the root, the same wherever the root is.
        numbers: (n,) int64 frame numbers, rising.
        unusual: names of the files that are not called ``00001.jpg``, by number.
    """

    folder: str
    key: str
    numbers: np.ndarray
    unusual: dict[int, str]

    def path(self, number: int) -> str:
        """The file of a frame."""
        return f"{self.folder}/{self.name(number)}"

    def name(self, number: int) -> str:
        """What the file of a frame is called, or would be."""
        return self.unusual.get(number) or usual_name(number)

    def summary(self) -> str:
        """Place, frame numbers, and the sizes of ``SAMPLED`` files that are spread evenly over the clip."""
        state = hashlib.sha256(self.numbers.astype("<i8").tobytes())
        state.update(repr(sorted(self.unusual.items())).encode(errors="backslashreplace"))
        places = (
            np.unique(np.linspace(0, len(self.numbers) - 1, SAMPLED).round().astype(int)) if len(self.numbers) else ()
        )
        sizes = [_size(self.path(int(self.numbers[place]))) for place in places]
        return f"{self.key}\t{len(self.numbers)}\t{state.hexdigest()[:16]}\t{sizes}"


@dataclass(eq=False)
class CropIndex:
    """All crops, by clip, and what is odd about them."""

    clips: dict[str, Crops] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, clip: str, crops: Crops) -> None:
        """Take in a clip's folder; the first one of a name counts."""
        first = self.clips.setdefault(clip, crops)
        if first is not crops:
            self.problems.append(f"{crops.folder}: clip {clip!r} has crops in {first.folder} too, which are used")


def usual_name(number: int) -> str:
    """``00001.jpg``; more digits from 100000 on."""
    return f"{number:05d}.jpg"


def index_crops(root: Path, folders: Sequence[str], *, all_needed: bool) -> CropIndex:
    """List every frame root.

    Args:
        root: of the data set.
        folders: names below it, or paths.
        all_needed: whether each of them must be there, or one is enough.

    Raises:
        DataError: if a folder that is needed is missing or cannot be listed.
    """
    there = [folder for folder in folders if (root / Path(folder).expanduser()).is_dir()]
    missing = [folder for folder in folders if folder not in there]
    if not there or (all_needed and missing):
        raise DataError(f"affwild2: no folder {' or '.join(missing)} in {root}", hint=LAYOUT)
    index = CropIndex()
    for folder in there:
        place = root / Path(folder).expanduser()
        try:
            _list(str(place), place.name, "", index, _DEPTH)
        except OSError as error:
            raise DataError(f"affwild2: {error.filename} cannot be listed: {error.strerror}") from error
    return index


def _list(folder: str, key: str, clip: str, index: CropIndex, depth: int) -> None:
    """Take in a folder that holds crops, and those below it; ``clip`` is its name, empty for a frame root."""
    names = os.listdir(folder)  # noqa: PTH208  # a Path a crop would cost ten times as much
    numbers = [int(name[:-4]) for name in names if _USUAL(name)]
    others = [name for name in names if not name.startswith(".")] if len(numbers) < len(names) else []
    others = sorted(name for name in others if not _USUAL(name))
    unusual, folders = _sort_out(folder, others, set(numbers), index.problems)
    if numbers or unusual or not (folders or others):
        if clip:
            index.add(clip, Crops(folder, key, np.array(sorted([*numbers, *unusual]), np.int64), unusual))
        elif numbers or unusual:
            index.problems.append(f"{folder}: {len(numbers) + len(unusual)} images lie beside the clips' folders")
    for name in folders if depth else ():
        _list(f"{folder}/{name}", f"{key}/{name}", name, index, depth - 1)


def _sort_out(folder: str, names: list[str], known: set[int], problems: list[str]) -> tuple[dict[int, str], list[str]]:
    """Of the names that are not as usual: the files of frames by number, and the folders."""
    unusual: dict[int, str] = {}
    folders = []
    for name in names:
        numbered = _NUMBERED(name)
        number = int(numbered.group(1)) if numbered else -1
        if numbered and (number in known or number in unusual):
            problems.append(
                f"{folder}/{name}: frame {number} is there twice; {unusual.get(number) or usual_name(number)} is used"
            )
        elif numbered:
            unusual[number] = name
        elif name.lower().endswith(_IMAGE):
            problems.append(f"{folder}/{name}: an image whose name is not a frame number")
        elif os.path.isdir(f"{folder}/{name}"):  # noqa: PTH112  # ten times Path's speed
            folders.append(name)
    if 0 in known or 0 in unusual:
        problems.append(f"{folder}: has a frame 0, but the first annotated frame is 1: are the crops numbered from 0?")
    return unusual, folders


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116  # as above
    except OSError:  # a link that leads nowhere
        return 0
