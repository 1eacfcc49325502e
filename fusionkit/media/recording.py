"""What is read frame by frame: a photo, a video, or a folder of numbered images, which is a clip that was cut up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path

from fusionkit.contracts.image_file import load_image
from fusionkit.errors import DataError
from fusionkit.media.inputs import MediaInput
from fusionkit.media.video import MediaFrame, Video, expected_frames


@dataclass
class Recording:
    """Something with frames.

    Attributes:
        name: of its clip, as ``align`` calls it: with the folders below the one that was asked for.
        path: the file or folder.
        moving: whether it is a video file.
        images: of a photo or a folder: frame numbers, rising, and files.
        faults: what was wrong, a line each, known when all frames were read.
    """

    name: str
    path: Path
    moving: bool
    images: tuple[tuple[int, Path], ...] = ()
    faults: list[str] = field(default_factory=list)

    @property
    def still(self) -> bool:
        """Whether it is a lone photo."""
        return len(self.images) == 1

    def frames(self) -> Iterator[MediaFrame]:
        """All frames in order, one at a time; an image of a folder that cannot be read is left out.

        Raises:
            DataError: if there is no frame that can be read.
        """
        self.faults = []
        if self.moving:
            video = Video(self.path)
            yield from video.frames()
            self.faults += [f"{self.path}: {fault}" for fault in video.faults]
            return
        bad: list[str] = []
        for number, path in self.images:
            try:
                image = load_image(path)
            except DataError as error:
                bad.append(str(error))
                continue
            yield MediaFrame(number, nan, image)
        if len(bad) == len(self.images):
            raise DataError(bad[0])
        if bad:
            self.faults.append(f"{bad[0]}" + (f", and so it is with {len(bad) - 1} more" if len(bad) > 1 else ""))

    def expected(self) -> int:
        """About how many frames there will be, as far as the file says so; at least 1."""
        return _announced(self.path) if self.moving else len(self.images)


def recordings(inputs: Sequence[MediaInput]) -> list[Recording]:
    """Inputs as they are to be read: images of a folder that are all called as ``align`` calls crops are one clip.

    That is ``00001.jpg``: five digits or more, filled up with zeros. Other photos stand for themselves.
    """
    found: list[Recording] = []
    below: dict[Path, str] = {}
    groups: dict[Path, list[MediaInput]] = {}
    for item in inputs:
        groups.setdefault(item.path if item.moving else item.path.parent, []).append(item)
    for folder, items in groups.items():
        if not items[0].moving and all(_is_numbered(item.path) for item in items) and _is_cut_up(items):
            numbered = sorted((int(item.path.stem), item.path) for item in items)
            found.append(Recording("", folder, False, tuple(numbered)))
            below[folder] = items[0].folder
        else:
            found += [_lone(item) for item in items]
    return _named(found, below)


def _lone(item: MediaInput) -> Recording:
    name = f"{item.folder}/{item.name}".removeprefix("/")
    return Recording(name, item.path, item.moving, () if item.moving else ((1, item.path),))


def _is_numbered(path: Path) -> bool:
    return path.stem.isdecimal() and path.stem.isascii() and path.stem == f"{int(path.stem):05d}"


def _is_cut_up(items: Sequence[MediaInput]) -> bool:
    """Numbers may be mere names: zeros in front, or few numbers left out, show that somebody has counted."""
    stems = [item.path.stem for item in items]
    numbers = {int(stem) for stem in stems}
    counted = max(numbers) - min(numbers) < 2 * len(numbers) and len(numbers) > 1
    return len(numbers) == len(stems) and (counted or any(stem.startswith("0") for stem in stems))


def _named(found: list[Recording], below: dict[Path, str]) -> list[Recording]:
    """Folders are called as they lie below what was asked for, with as much of the path before it as it takes."""
    taken = {item.name for item in found if item.name}
    for item in found:
        if item.name:
            continue
        parts = Path(os.path.abspath(item.path)).parts[1:]  # noqa: PTH100  # links stay
        least = max(below[item.path].count("/") + 1, 1)
        names = ["/".join(parts[-length:]) for length in range(least, len(parts) + 1)]
        item.name = next((name for name in names if name not in taken), str(item.path))
        taken.add(item.name)
    return found


def _announced(path: Path) -> int:
    """By the file's own count, else by its length and rate; 1 where it says neither or cannot be opened."""
    import av

    try:
        with av.open(str(path)) as container:
            return expected_frames(container, container.streams.video[0]) or 1
    except (av.FFmpegError, OSError, IndexError, ValueError):
        return 1
