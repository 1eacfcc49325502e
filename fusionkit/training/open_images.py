"""From what a config names as data, a SPEC or a path, to images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fusionkit.contracts.image_file import ENDINGS
from fusionkit.engine.source import open_source
from fusionkit.errors import ConfigError, DataError
from fusionkit.media import video
from fusionkit.registry import DATASETS, did_you_mean
from fusionkit.spec import Spec
from fusionkit.training.dataset_images import DatasetImages, training_rows
from fusionkit.training.image_files import ImageFiles
from fusionkit.training.images import Images, JoinedImages
from fusionkit.training.video_frames import VideoFrames

LISTS = frozenset({".txt", ".lst"})
_KINDS = "a data set's SPEC, a folder of images or videos, a .txt list of image paths, an image or a video"


def open_images(data: Sequence[str], *, every_split: bool = False, stride: int = 1, limit: int | None = None) -> Images:
    """The images of several sources, joined.

    Args:
        data: each a data set's SPEC, or a path. A name that is registered is a data set; ``./name`` is always a path.
        every_split: take the frames of every split, not of train alone.
        stride: every so many frames of a video.
        limit: about so many frames a split of each data set.

    Raises:
        ConfigError: if something named is neither a data set nor a path that can be read.
        DataError: if the data are missing or empty.
    """
    parts = [part for text in data for part in _open(text, every_split, stride, limit)]
    return parts[0] if len(parts) == 1 else JoinedImages(parts)


def data_problems(text: str) -> list[str]:
    """What is wrong with one source, as far as it can be said without opening it."""
    if _is_dataset(text):
        try:
            return DATASETS.problems(Spec.parse(text))
        except ConfigError as error:
            return error.problems
    if Path(text).expanduser().exists():
        return []
    near = did_you_mean(text.partition(":")[0], DATASETS.names())
    return [f"{text!r} is neither a data set{near} nor a path that exists ({_KINDS})"]


def _is_dataset(text: str) -> bool:
    return text.partition(":")[0].strip() in DATASETS.names()


def _open(text: str, every_split: bool, stride: int, limit: int | None) -> list[Images]:
    if problems := data_problems(text):
        raise ConfigError([f"data: {problem}" for problem in problems])
    if _is_dataset(text):
        source = open_source(Spec.parse(text), limit)
        rows = np.arange(len(source.table)) if every_split else training_rows(source)
        return [DatasetImages(source, rows)]
    path = Path(text).expanduser()
    if path.is_dir():
        return _open_folder(path, stride)
    ending = path.suffix.lower()
    if ending in LISTS:
        return [ImageFiles.of_list(path)]
    if ending in video.ENDINGS:
        return [VideoFrames(path, stride)]
    if ending in ENDINGS:
        return [ImageFiles(path.parent, [path.name])]
    raise ConfigError(f"data: {text} is none of {_KINDS}")


def _open_folder(path: Path, stride: int) -> list[Images]:
    """The images of a folder, and the frames of its videos."""
    videos = sorted(file for file in path.rglob("*") if file.suffix.lower() in video.ENDINGS)
    parts: list[Images] = [VideoFrames(file, stride) for file in videos]
    try:
        return [ImageFiles.of_folder(path), *parts]
    except DataError:
        if not parts:
            raise
        return parts
