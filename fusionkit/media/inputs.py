"""Find photos and videos, name their clips, and read their frames."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path

import numpy as np

from fusionkit.contracts import image_file
from fusionkit.contracts.image_file import is_animated, is_image, load_image, unread_files
from fusionkit.contracts.regular_file import open_file
from fusionkit.errors import ConfigError, DataError, expanded, extra, file_name
from fusionkit.media import video
from fusionkit.media.video import MediaFrame, Video, expected_frames, turned
from fusionkit.registry import did_you_mean_path

_DIGITS = 3  # at least, of a number that names a frame
_PAIRS = 8  # of images that are compared
_THUMB = 32  # px to which they are reduced
# The median correlation of 8 pairs of faces in FER2013 is below .44 in each of 375 draws; frames of a clip exceed .8.
_ALIKE, _VERY_ALIKE = 0.6, 0.8
_NUMBERED = re.compile(r"(.*?)([0-9]+)")


@dataclass
class ImageSequence:
    """Image files read as frames.

    Attributes:
        path: the photo, or the folder of the images.
        files: frame number, ascending, and file of each image.
        turn: degrees by which images are turned clockwise, a multiple of 90.
        faults: problems found while reading, one line each; complete after the last frame.
        expected: number of images.
        count: number of images read so far.
        rate: None: images have no times.
    """

    path: Path
    files: Sequence[tuple[int, Path]]
    turn: int = 0
    faults: list[str] = field(default_factory=list)
    count: int = 0
    rate: float | None = None

    @property
    def expected(self) -> int:
        """Return the number of images."""
        return len(self.files)

    @property
    def span(self) -> tuple[int, int]:
        """Return the number of the first and of the last image."""
        return self.files[0][0], self.files[-1][0]

    def frames(self, after: int = -1) -> Iterator[MediaFrame]:
        """Yield the images numbered above ``after``; an image that cannot be read is skipped.

        Those up to ``after`` are read, too, so that ``count`` and ``faults`` do not depend on it.

        Raises:
            DataError: if no image can be read.
        """
        self.faults, self.count = [], 0
        errors: list[DataError] = []
        for number, path in self.files:
            try:
                image = load_image(path)
            except DataError as error:
                errors.append(error)
                continue
            self.count += 1
            if number > after:
                yield MediaFrame(number, nan, turned(image, self.turn))
        if errors and not self.count:
            raise errors[0]
        if errors:
            unread = f"{len(errors)} of {len(self.files)} images cannot be read and are skipped"
            self.faults.append(f"{self.path}: {unread}; the first: {errors[0]}")


@dataclass(frozen=True)
class MediaInput:
    """A photo, a video, or a folder of numbered images.

    Attributes:
        path: the file or folder.
        relative_path: its path below the folder that was given; the file name where the file itself was given.
        name: unique among the files of one call of :func:`find_inputs`.
        is_video: whether it is read as a video.
        images: of a folder, frame number, ascending, and file of each image.
        turn: degrees by which its frames are turned clockwise, a multiple of 90.
        report: name of the reports of a folder of images, unique as ``name`` is of files.
    """

    path: Path
    relative_path: str
    name: str
    is_video: bool
    images: tuple[tuple[int, Path], ...] = ()
    turn: int = 0
    report: str = ""

    @property
    def report_name(self) -> str:
        """Return the name of its reports, without folders."""
        return self.report or self.name

    @property
    def clip_name(self) -> str:
        """Return the name of its clips, which includes the folders below the one that was given."""
        folder = self.relative_path.rpartition("/")[0]
        return "/".join(map(file_name, [*filter(None, folder.split("/")), self.name]))

    @property
    def is_photo(self) -> bool:
        """Whether it is a single image."""
        return not self.is_video and len(self.images) <= 1

    def open(self) -> Video | ImageSequence:
        """Return a reader of its frames."""
        if self.is_video:
            return Video(self.path, self.turn)
        return ImageSequence(self.path, self.images or ((1, self.path),), self.turn)

    def expected_frames(self) -> int:
        """Return the declared number of frames, at least 1, without reading them."""
        return _declared_frames(self.path) if self.is_video else max(len(self.images), 1)


def find_inputs(paths: Sequence[str | Path], exclude: Sequence[Path] = ()) -> tuple[list[MediaInput], list[str]]:
    """Find photos and videos.

    Folders are searched with their sub-folders, each real folder once, so links cannot loop. Hidden names and files
    with other endings are skipped, and counted in a message unless they are usual notes (texts, tables, sound). A GIF
    with several frames is a video; a file that is given itself is read whatever its ending. An input is named as its
    file without the ending; names that are equal keep the ending, then also the folders. Names are made safe for file
    systems and tables (:func:`fusionkit.errors.file_name`).

    Args:
        paths: photos, videos and folders.
        exclude: folders that are not searched and files that are not read, such as the output of an earlier run.

    Returns:
        The inputs, and a message for each folder that cannot be listed or holds files that are not read.

    Raises:
        ConfigError: if a path does not exist or holds neither photo nor video, all of them at once; or if two inputs
            cannot be given different names.
    """
    found: list[MediaInput] = []
    problems: list[str] = []
    unlisted: list[str] = []
    for text in paths:
        path = expanded(text)
        if path.is_dir():
            others: list[str] = []
            inside = _search(path, unlisted, others, {os.path.realpath(folder) for folder in exclude})
            unread = unread_files(others)
            if not inside and not unlisted:
                problems.append(f"{path} contains no photo or video" + (f"; not read: {unread}" if unread else ""))
            elif unread:
                unlisted.append(f"{path}: files that are neither photo nor video are not read: {unread}")
            found += inside
        elif path.exists():
            found.append(MediaInput(path, path.name, "", _is_video(path)))
        else:
            problems.append(f"{path} does not exist{did_you_mean_path(path)}")
    if problems:
        raise ConfigError(problems)
    distinct = {os.path.realpath(item.path): item for item in reversed(found)}
    return _named(list(reversed(distinct.values()))), unlisted


def join_numbered_images(inputs: Sequence[MediaInput]) -> list[MediaInput]:
    """Replace the images of a folder by one input if they are the frames of a clip, as :func:`_are_frames_of_a_clip`.

    Other photos stay inputs of their own.
    """
    joined: list[MediaInput] = []
    folders: dict[Path, list[MediaInput]] = {}
    for item in inputs:
        folders.setdefault(item.path if item.is_video else item.path.parent, []).append(item)
    for folder, items in folders.items():
        if items[0].is_video or not _are_frames_of_a_clip(items):
            joined += items
        else:
            numbered = tuple(sorted((_number(item), item.path) for item in items))
            joined.append(MediaInput(folder, items[0].relative_path, "", False, numbered))
    return _with_folder_names(joined)


def _search(top: Path, unlisted: list[str], others: list[str], exclude: set[str]) -> list[MediaInput]:
    """Return the files of a folder; add messages on its folders to ``unlisted``, other files to ``others``."""
    seen: set[tuple[int, int]] = set()
    found = []

    def note(error: OSError) -> None:
        unlisted.append(f"{error.filename} cannot be listed: {error.strerror}")

    for folder, folders, files in os.walk(top, followlinks=True, onerror=note):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if exclude:
            folders[:] = [name for name in folders if os.path.realpath(Path(folder, name)) not in exclude]
        for name in sorted(files):
            path = Path(folder, name)
            below = path.relative_to(top).as_posix()
            if name.startswith(".") or (exclude and os.path.realpath(path) in exclude):
                continue
            if path.suffix.lower() in video.ENDINGS | image_file.ENDINGS:
                found.append(MediaInput(path, below, "", _is_video(path)))
            else:
                others.append(below)
    return found


def _is_video(path: Path) -> bool:
    """Decide by the ending; for other endings, by whether the file begins like an image."""
    ending = path.suffix.lower()
    if ending == ".gif":
        return is_animated(path)
    if ending in video.ENDINGS or ending in image_file.ENDINGS:
        return ending in video.ENDINGS
    try:
        with open_file(path) as file:
            return not is_image(file.read(16))
    except OSError:
        return True  # the error is reported when the file is read


_NAMES: tuple[Callable[[MediaInput], str], ...] = (
    lambda item: file_name(item.path.stem),
    lambda item: file_name(item.path.name),
    lambda item: file_name(item.relative_path.replace("/", "_")),
    lambda item: file_name("_".join(item.path.parts[-3:]).replace("/", "_")),
)


def _named(inputs: list[MediaInput]) -> list[MediaInput]:
    """Give each input the shortest of its names that no other input has.

    Raises:
        ConfigError: if two have no different names.
    """
    level = [0] * len(inputs)
    while True:
        names = [_NAMES[at](item) for at, item in zip(level, inputs, strict=True)]
        count = Counter(names)
        equal = [index for index, name in enumerate(names) if count[name] > 1]
        if not equal:
            return [replace(item, name=name) for item, name in zip(inputs, names, strict=True)]
        if all(level[index] == len(_NAMES) - 1 for index in equal):
            name = names[equal[0]]
            same = ", ".join(str(inputs[index].path) for index in equal if names[index] == name)
            raise ConfigError(f"inputs with the same clip name {name!r}: {same}", hint="process them in separate calls")
        for index in equal:
            level[index] = min(level[index] + 1, len(_NAMES) - 1)


def _with_folder_names(inputs: list[MediaInput]) -> list[MediaInput]:
    """Name folders of images by their path below the given folder, with parents before it until names differ."""
    taken = {item.clip_name for item in inputs if item.name}
    reports = {item.name for item in inputs if item.name}
    named = []
    for item in inputs:
        if item.name:
            named.append(item)
            continue
        parts = Path(os.path.abspath(item.path)).parts[1:]  # noqa: PTH100  # links stay
        shortest = max(item.relative_path.count("/"), 1)
        paths = ["/".join(parts[-length:]) for length in range(shortest, len(parts) + 1)]
        path = next((path for path in paths if path not in taken), "/".join(parts))
        taken.add(path)
        report = file_name(path.replace("/", "_"))
        while report in reports:
            report += "_"
        reports.add(report)
        named.append(replace(item, relative_path=path, name=file_name(path.rpartition("/")[2]), report=report))
    return named


def _are_frames_of_a_clip(items: Sequence[MediaInput]) -> bool:
    """Whether photos of a folder are numbered as frames, and look like frames of one clip.

    Numbered as frames: all names are numbers of equal length, at least three digits, of which at most half are missing
    between the first and the last; or named as ``fusionkit align`` names crops, ``00001.jpg``, some with a zero before,
    however many are missing. Before the number may be a text that all names share; photos of a camera are numbered so,
    too, and frames must then resemble each other more.
    """
    prefixes, stems = zip(*(_divided(item) for item in items), strict=True)
    if "" in stems or len(set(prefixes)) > 1:
        return False
    numbers = {int(stem) for stem in stems}
    dense = max(numbers) - min(numbers) < 2 * len(numbers) and len(numbers) > 1
    crops = all(stem == f"{int(stem):05d}" for stem in stems)
    equal = len({len(stem) for stem in stems}) == 1 and len(stems[0]) >= _DIGITS
    sparse = crops and not prefixes[0] and any(stem.startswith("0") for stem in stems)
    as_frames = sparse or ((equal or crops) and dense)
    return as_frames and len(numbers) == len(stems) and _look_alike(items, _VERY_ALIKE if prefixes[0] else _ALIKE)


def _divided(item: MediaInput) -> tuple[str, str]:
    """Divide the name of a file, without its ending, into a text and the number at its end."""
    found = _NUMBERED.fullmatch(item.path.stem)
    return (found[1], found[2]) if found else (item.path.stem, "")


def _number(item: MediaInput) -> int:
    return int(_divided(item)[1])


def _look_alike(items: Sequence[MediaInput], least: float) -> bool:
    """Whether images that follow each other resemble each other; True where none can be compared."""
    files = [item.path for item in sorted(items, key=_number)]
    found = []
    last = len(files) - 2
    for at in sorted({round(part * last / (_PAIRS - 1)) for part in range(_PAIRS)}) if last >= 0 else ():
        try:
            found.append(_resemblance(load_image(files[at]), load_image(files[at + 1])))
        except DataError:
            continue
    return not found or float(np.median(found)) >= least


def _resemblance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two images at 32 x 32 px; 1 for images of one colour, 0 for those of unequal size."""
    if one.shape != other.shape:
        return 0.0
    small = [_grey(image).ravel() - _grey(image).mean() for image in (one, other)]
    norms = np.linalg.norm(small[0]) * np.linalg.norm(small[1])
    return float(small[0] @ small[1] / norms) if norms > 0 else 1.0


def _grey(image: np.ndarray) -> np.ndarray:
    import cv2

    small = cv2.resize(image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    grey: np.ndarray = small.mean(2, dtype=np.float64)
    return grey


def _declared_frames(path: Path) -> int:
    """Return the declared number of frames of a video; 1 where there is none or the file cannot be opened."""
    with extra("video", f"{path}"):
        import av

    try:
        open_file(path).close()
        with av.open(str(path)) as container:
            return expected_frames(container, container.streams.video[0]) or 1
    except (av.FFmpegError, OSError, IndexError, ValueError):
        return 1
