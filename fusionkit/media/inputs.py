"""From paths on a command line to photos and videos, each with a name for its clip."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fusionkit.contracts import image_file
from fusionkit.contracts.image_file import is_image
from fusionkit.errors import ConfigError
from fusionkit.media import video


@dataclass(frozen=True)
class MediaInput:
    """A photo or a video.

    Attributes:
        path: the file.
        below: its path below the folder that was asked for; of a lone file, its name.
        name: of its clip, and different from those of all others.
        moving: whether it is to be read as a video.
    """

    path: Path
    below: str
    name: str
    moving: bool

    @property
    def folder(self) -> str:
        """Its folder below the one that was asked for; empty where it lies in that itself."""
        return self.below.rpartition("/")[0]


def find_inputs(paths: Sequence[str | Path], besides: Sequence[Path] = ()) -> tuple[list[MediaInput], list[str]]:
    """The photos and videos that paths name or hold, and a line for each folder that could not be listed.

    Sub-folders are searched, each real folder once, so that links cannot loop; hidden names are passed over, and so is
    what ends like neither. A file that is named itself is read whatever its ending is. A clip is called as its file is
    without the ending; where two would be called the same, they keep the ending, or the folders as well.

    Args:
        paths: photos, videos and folders.
        besides: folders that are not looked into where they lie in one of these: what was drawn of earlier inputs.

    Raises:
        ConfigError: if a path does not exist or holds neither photo nor video; one problem each.
    """
    found: list[MediaInput] = []
    problems: list[str] = []
    unlisted: list[str] = []
    for text in paths:
        path = Path(text).expanduser()
        if path.is_dir():
            inside = _below(path, unlisted.append, {os.path.realpath(folder) for folder in besides})
            if not inside and not unlisted:
                problems.append(f"{path} holds neither photos nor videos")
            found += inside
        elif path.exists():
            found.append(MediaInput(path, path.name, "", _is_moving(path)))
        else:
            problems.append(f"{path} does not exist")
    if problems:
        raise ConfigError(problems)
    distinct = {os.path.realpath(item.path): item for item in reversed(found)}
    return _named(list(reversed(distinct.values()))), unlisted


def _below(top: Path, tell: Callable[[str], None], besides: set[str]) -> list[MediaInput]:
    seen: set[tuple[int, int]] = set()
    found = []

    def complain(error: OSError) -> None:
        tell(f"{error.filename} cannot be listed: {error.strerror}")

    for place, folders, files in os.walk(top, followlinks=True, onerror=complain):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if besides:
            folders[:] = [name for name in folders if os.path.realpath(Path(place, name)) not in besides]
        for name in sorted(files):
            ending = Path(name).suffix.lower()
            if not name.startswith(".") and ending in video.ENDINGS | image_file.ENDINGS:
                path = Path(place, name)
                found.append(MediaInput(path, path.relative_to(top).as_posix(), "", ending in video.ENDINGS))
    return found


def _is_moving(path: Path) -> bool:
    """By the ending; where that says nothing, by whether the file begins like an image."""
    ending = path.suffix.lower()
    if ending in video.ENDINGS or ending in image_file.ENDINGS:
        return ending in video.ENDINGS
    try:
        with path.open("rb") as file:
            return not is_image(file.read(16))
    except OSError:
        return True  # reading it will say what is wrong


_FORMS: tuple[Callable[[MediaInput], str], ...] = (
    lambda item: item.path.stem,
    lambda item: item.path.name,
    lambda item: item.below.replace("/", "_"),
    lambda item: "_".join(item.path.parts[-3:]).replace("/", "_"),
)


def _named(inputs: list[MediaInput]) -> list[MediaInput]:
    """Each with the shortest name that no other one has.

    Raises:
        ConfigError: if two cannot be told apart.
    """
    level = [0] * len(inputs)
    while True:
        names = [_FORMS[at](item) for at, item in zip(level, inputs, strict=True)]
        count = Counter(names)
        twice = [place for place, name in enumerate(names) if count[name] > 1]
        if not twice:
            return [replace(item, name=name) for item, name in zip(inputs, names, strict=True)]
        if all(level[place] == len(_FORMS) - 1 for place in twice):
            same = [str(inputs[place].path) for place in twice if names[place] == names[twice[0]]]
            raise ConfigError(f"{' and '.join(same)} would both be clip {names[twice[0]]!r}", hint="align them apart")
        for place in twice:
            level[place] = min(level[place] + 1, len(_FORMS) - 1)
