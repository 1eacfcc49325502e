"""Training images: data sets, folders, lists, image files and videos, by index."""

from __future__ import annotations

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np

from fusionkit.config.splits import Holdout
from fusionkit.contracts.dataset import FaceDataset
from fusionkit.contracts.image_file import ENDINGS, read_image
from fusionkit.contracts.regular_file import read_file
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError, DataError, expanded
from fusionkit.media import video
from fusionkit.media.video import FrameIndex, FrameReader
from fusionkit.registry import DATASETS, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.file_index import kept_hashes
from fusionkit.storage.identity import digest
from fusionkit.training.loader import PerWorker, shared_array, shared_lock

LISTS = frozenset({".txt", ".lst"})
_KINDS = "a data set, a folder of images or videos, a .txt list of image paths, an image or a video"


class Images(ABC):
    """Images by index. Several workers read them: each opens files for itself (:class:`PerWorker`)."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def read(self, index: int) -> np.ndarray | None:
        """Return RGB uint8 (H, W, 3) of any size; None if the image cannot be read."""

    @abstractmethod
    def where(self, index: int) -> str:
        """Return the name of an image, for messages."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identity of the images; it does not depend on their folder."""


def open_images(data: Sequence[str], *, every_split: bool = False, stride: int = 1, limit: int | None = None) -> Images:
    """Open sources and join their images.

    Args:
        data: data sets (``name:key=value``) or paths. A registered name is a data set; ``./name`` is always a path.
        every_split: take the frames of every split. Default: of train only.
        stride: take every ``stride``-th frame of a video.
        limit: about so many frames per split of each data set. Default: all.

    Raises:
        ConfigError: if a source is neither a data set nor a path of a known kind.
        DataError: if the data are missing or empty.
    """
    parts = [part for text in data for part in _open(text, every_split, stride, limit)]
    return parts[0] if len(parts) == 1 else JoinedImages(parts)


def data_problems(text: str) -> list[str]:
    """List the problems of a source that are visible without opening it."""
    if _is_dataset(text):
        try:
            return DATASETS.problems(Spec.parse(text))
        except ConfigError as error:
            return error.problems
    if expanded(text).exists():
        return []
    near = did_you_mean(text.partition(":")[0], DATASETS.names())
    return [f"{text!r} is neither a data set{near} nor an existing path; expected {_KINDS}"]


def _is_dataset(text: str) -> bool:
    return text.partition(":")[0].strip() in DATASETS.names()


def _open(text: str, every_split: bool, stride: int, limit: int | None) -> list[Images]:
    if problems := data_problems(text):
        raise ConfigError([f"data: {problem}" for problem in problems])
    if _is_dataset(text):
        source = open_source(Spec.parse(text), limit)
        rows = np.arange(len(source.table)) if every_split else training_rows(source)
        return [DatasetImages(source, rows)]
    path = expanded(text)
    if path.is_dir():
        return _open_folder(path, stride)
    ending = path.suffix.lower()
    if ending in LISTS:
        return [ImageFiles.of_list(path)]
    if ending in video.ENDINGS:
        return [VideoFrames(path, stride)]
    if ending in ENDINGS:
        return [ImageFiles(path.parent, [path.name])]
    raise ConfigError(f"data: {text} has an unknown ending; expected {_KINDS}")


def _open_folder(path: Path, stride: int) -> list[Images]:
    """Open the images of a folder, and the frames of its videos."""
    videos = sorted(file for file in path.rglob("*") if file.suffix.lower() in video.ENDINGS)
    parts: list[Images] = [VideoFrames(file, stride) for file in videos]
    try:
        return [ImageFiles.of_folder(path), *parts]
    except DataError:
        if not parts:
            raise
        return parts


def training_rows(source: Source) -> np.ndarray:
    """Return (n,) int64: rows that no benchmark tests on: the official train split, else those outside holdout's test.

    Raises:
        DataError: if there are official splits without train, or the table cannot be divided.
    """
    split = source.table.split
    if (split == "train").any():
        return np.flatnonzero(split == "train")
    if (split != "").any():
        raise DataError(
            f"data set {source.spec} has official splits but no train split", hint="use split = all for every frame"
        )
    (fold,) = Holdout().folds(source.table)
    return np.flatnonzero(fold.part != "test")


class JoinedImages(Images):
    """Several sources, one after the other."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self.parts = list(parts)
        self.ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, index: int) -> np.ndarray | None:
        """Read an image."""
        part, position = self._find(index)
        return part.read(position)

    def where(self, index: int) -> str:
        """Return the name given by its source."""
        part, position = self._find(index)
        return part.where(position)

    @property
    def fingerprint(self) -> str:
        """Identity of the sources, in their order."""
        return digest([part.fingerprint for part in self.parts])

    def _find(self, index: int) -> tuple[Images, int]:
        number = bisect_right(self.ends, index)
        return self.parts[number], index - (self.ends[number - 1] if number else 0)


class CachedImages(Images):
    """Keeps decoded images in memory that workers share, until it is full; the others are read each time.

    Args:
        images: the source.
        budget: bytes of memory; it is taken page by page.

    Raises:
        ConfigError: if the system refuses so much memory.
    """

    def __init__(self, images: Images, budget: int) -> None:
        self.images = images
        self.budget = budget
        try:
            self._pixels = shared_array((budget,), np.uint8)
        except OSError as error:
            raise ConfigError(
                f"run: {budget / 2**20:.0f} MB for decoded images are more than the system gives",
                hint="choose a smaller run.cache_mb",
            ) from error
        self._kept = shared_array((len(images) if budget else 0, 3), np.int64)  # end in the pixels, height, width
        self._used = shared_array((1,), np.int64)
        self._lock = shared_lock()

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> np.ndarray | None:
        """Read an image, from memory if it is there."""
        if not self.budget:
            return self.images.read(index)
        with self._lock:  # it also orders what other processes have written
            end, height, width = self._kept[index].tolist()
        if end:
            return self._pixels[end - height * width * 3 : end].reshape(height, width, 3)
        image = self.images.read(index)
        if image is not None and image.nbytes <= self.budget - self._used[0]:
            with self._lock:
                start, end = int(self._used[0]), int(self._used[0]) + image.nbytes
                if not self._kept[index, 0] and end <= self.budget:
                    self._pixels[start:end] = image.reshape(-1)
                    self._kept[index] = end, *image.shape[:2]
                    self._used[0] = end
        return image

    def where(self, index: int) -> str:
        """Return the name given by the source."""
        return self.images.where(index)

    @property
    def fingerprint(self) -> str:
        """Identity of the source."""
        return self.images.fingerprint


class ImageFiles(Images):
    """Image files below one folder.

    Args:
        root: the folder.
        names: paths below it, with ``/``, or absolute paths.
    """

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root = root
        self.names = names

    @classmethod
    def of_folder(cls, root: Path) -> ImageFiles:
        """Find every image below a folder, in the order of their names; hidden files and folders are skipped.

        Raises:
            DataError: if there is none.
        """
        names: list[str] = []
        for path, folders, files in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(path).relative_to(root).as_posix()
            prefix = "" if below == "." else f"{below}/"
            names += [prefix + name for name in files if _ending(name) in ENDINGS and not name.startswith(".")]
        if not names:
            raise DataError(
                f"no images in {root} and its sub-folders", hint=f"known endings: {', '.join(sorted(ENDINGS))}"
            )
        return cls(root, sorted(names))

    @classmethod
    def of_list(cls, path: Path) -> ImageFiles:
        """Read a text file with one path per line; relative paths are below the file's own folder.

        Raises:
            DataError: if the file cannot be read or is empty, or none of its paths exists.
        """
        try:
            names = [line.strip() for line in read_file(path).decode("utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a list of images: {error}") from error
        if not names:
            raise DataError(f"{path} lists no images", hint="write one path per line, relative to the list")
        if not any((path.parent / name).is_file() for name in names):
            raise DataError(f"{path}: none of the listed files exists; the first is {path.parent / names[0]}")
        return cls(path.parent, names)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> np.ndarray | None:
        """Read a file like every data set: :func:`fusionkit.contracts.image_file.load_image`."""
        return read_image(os.path.join(self.root, self.names[index]))  # noqa: PTH118  (five times faster than Path)

    def where(self, index: int) -> str:
        """Return the path."""
        return str(self.root / self.names[index])

    @cached_property
    def fingerprint(self) -> str:
        """Identity of names and contents; unchanged files are not read."""
        state = hashlib.sha256()
        for name, hash_ in zip(self.names, kept_hashes(str(self.root), self._paths()), strict=True):
            state.update(name.encode(errors="backslashreplace") + b"\t" + hash_ + b"\n")
        return state.hexdigest()[:16]

    def _paths(self) -> Iterator[str]:
        return map(self.where, range(len(self)))


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  (ten times faster than Path; there may be millions)


class VideoFrames(Images):
    """Every ``stride``-th frame of a video, as :class:`fusionkit.media.video.Video` numbers and shows them.

    The file is decoded once when it is opened. Then a frame is decoded from the key frame before it, so random access
    decodes the frames between. For long training on long videos, frames in files are faster.

    Args:
        path: the video.
        stride: Default: 1, every frame.

    Raises:
        DataError: if the file cannot be read as a video, or has no frames.
    """

    def __init__(self, path: Path, stride: int = 1) -> None:
        self.path = path
        self.stride = stride
        self._frames = FrameIndex(path)
        self._own = PerWorker(lambda: FrameReader(path, self._frames))  # a decoder has a position

    def __len__(self) -> int:
        return len(range(0, len(self._frames), self.stride))

    def read(self, index: int) -> np.ndarray | None:
        """Decode one frame."""
        try:
            return self._own.value.read(index * self.stride + 1)
        except (OSError, ValueError, DataError):  # PyAV's errors are of the first two kinds
            self._own.reset()
            return None

    def where(self, index: int) -> str:
        """Return the path and the frame number, from 1."""
        return f"{self.path} frame {index * self.stride + 1}"

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the file's name and content, of its number of frames, and of the stride."""
        (hash_,) = kept_hashes(str(self.path.parent), [str(self.path)])
        return digest([self.path.name, hash_.hex(), len(self._frames), self.stride])


class DatasetImages(Images):
    """Rows of a data set.

    Args:
        source: the data set.
        rows: (n,) int64, rows of the source.

    Raises:
        ConfigError: if the data set has embeddings and no images.
    """

    def __init__(self, source: Source, rows: np.ndarray) -> None:
        if type(source.dataset).read is FaceDataset.read:
            raise ConfigError(f"data set {source.spec} has ready embeddings and no images")
        self.source = source
        self.rows = rows
        self._opener = _caller()
        self._own = PerWorker(self._opened)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> np.ndarray | None:
        """Read the image of a row."""
        return self._own.value.images(self.rows[index : index + 1])[0]

    def where(self, index: int) -> str:
        """Return the name given by the data set."""
        return self.source.where(int(self.rows[index]))

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the data and of the rows."""
        return digest([self.source.fingerprint, self.rows.tolist()])

    def _opened(self) -> Source:
        """Return the source with a data set of this worker: a built one may hold open files."""
        if _caller() == self._opener:
            return self.source
        return replace(self.source, dataset=DATASETS.build(self.source.spec))


def _caller() -> tuple[int, int]:
    """Return the process and the thread that call."""
    return os.getpid(), threading.get_ident()
