"""Drawn faces, written as a known data set lays out its files: for trying pipelines before one has the data."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED, Export, FaceDataset, FrameTable, Layout
from fusionkit.engine.source import Source
from fusionkit.errors import ConfigError, DataError, PluginError, cause_of
from fusionkit.registry import DATASETS, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.artifact import unwritable

GROUP = "fusionkit.layouts"
FEWEST_CLIPS = 32  # a quarter of them, the val and the test set each, must hold all eight classes
# Shares of frames. The first is that of Aff-Wild2; the second is less than its 44 %.
_SHARE_MISSING, _SHARE_UNLABELLED = 0.017, 0.08


@dataclass(frozen=True)
class Drawing:
    """What is drawn: so many clips, half of them for training, of about so many frames.

    Attributes:
        difficulty: of the data set ``synthetic``, 0..1.
    """

    clips: int
    frames: int
    seed: int
    faults: bool
    difficulty: float = 0.5

    def spec(self) -> Spec:
        """The data set of drawn faces: each clip shows another person."""
        quarter = self.clips // 4
        share = (
            {"missing": _SHARE_MISSING, "unlabelled": _SHARE_UNLABELLED}
            if self.faults
            else {"missing": 0.0, "unlabelled": 0.0}
        )
        people = {"train": self.clips - 2 * quarter, "val": quarter, "test": quarter, "clips": 1}
        drawn = {"clip_length": self.frames, "seed": self.seed, "difficulty": self.difficulty}
        return Spec("synthetic", {**people, **drawn, **share})


def layout_names() -> list[str]:
    """The layouts that there are, sorted."""
    return sorted(_points())


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def find_layout(name: str) -> Layout:
    """A layout by name.

    Raises:
        ConfigError: if there is none of that name.
        PluginError: if it cannot be imported.
    """
    points = _points()
    if name not in points:
        raise ConfigError(f"unknown layout {name!r}{did_you_mean(name, points)}; known: {', '.join(layout_names())}")
    try:
        layout: Layout = points[name].load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"layout {name!r} ({points[name].value}) cannot be imported: {cause_of(error)}") from error
    return layout


def check_free(folder: Path) -> None:
    """Refuse a place where something is.

    Raises:
        ConfigError: if it is a file, or a folder that is not empty.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already", hint="name a folder that is new or empty")


def write_layout(
    layout: Layout, faces: FaceDataset, folder: Path, faults: bool, advance: Callable[[int], None]
) -> None:
    """Write faces in a layout; the folder is there when it is whole.

    Args:
        layout: how.
        faces: what.
        folder: where; new or empty.
        faults: with what is wrong in the real data.
        advance: told how many frames are done, as they are.

    Raises:
        ConfigError: if something is there.
        StorageError: if it cannot be written.
    """
    with new_folder(folder) as aside:
        for count in layout(aside, faces, faults=faults):
            advance(count)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A place to write to, which becomes the folder when all is written; otherwise nothing is left.

    Raises:
        ConfigError: if something is there.
        StorageError: if it cannot be written.
    """
    check_free(folder)
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        aside.mkdir(parents=True)
        yield aside
        aside.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def draw(drawing: Drawing) -> FaceDataset:
    """The data set of a drawing.

    Raises:
        ConfigError: if there are too few clips, or the data set refuses its options.
    """
    if drawing.clips < FEWEST_CLIPS:
        raise ConfigError(f"{drawing.clips} clips are too few", hint=f"{FEWEST_CLIPS} or more, so that no class lacks")
    faces: FaceDataset = DATASETS.build(drawing.spec())
    return faces


Form = Literal["same", "jpg", "png"]

_JPEG = (".jpg", ".jpeg")


def export_of(source: Source, rows: np.ndarray, form: Form) -> tuple[Export, str]:
    """The layout of some rows, and the name of the data set that reads it.

    Raises:
        DataError: if no layout can hold the rows, or two of them would be one file.
    """
    own = source.dataset.export(source.rows[rows])
    export = own or _class_folders(source.table.take(rows), source.classes)
    return replace(export, paths=_with_endings(export.paths, form)), source.spec.name if own else "folder"


def reader(source: Source, name: str, export: Export, root: str) -> Spec:
    """The SPEC that reads what was written."""
    places = (*DATASETS.get(source.spec.name).places, "root")
    kept = {} if name != source.spec.name else source.spec.options
    options = {key: value for key, value in {**kept, **export.options}.items() if key not in places}
    return Spec(name, {"root": root, **{key: value for key, value in options.items() if value is not None}})


def _class_folders(table: FrameTable, classes: tuple[str, ...]) -> Export:
    """One folder a class; the unit, if it is not the clip, the clip and the frame's number stand in the name.

    Without official splits all is below ``train``, so that no class can be taken for a split. A class of its own holds
    the unlabelled frames. Names that no file can have are escaped as in addresses; all others are kept.
    """
    _check_clips(table)
    free = "unlabelled"
    while free in classes:
        free += "_"
    label = [*map(_folder_name, classes), free]
    united = bool((table.unit != table.clip).any())
    names = {clip: _path_name(clip) for clip in dict.fromkeys(table.clip.tolist())}
    end = "/" if len(names) < len(table) else "."
    paths = []
    for split, code, unit, clip, number in zip(
        table.split.tolist(), table.label.tolist(), table.unit.tolist(), table.clip.tolist(), table.number.tolist(),
        strict=True,
    ):  # fmt: skip
        person = f"{_folder_name(unit)}/" if united else ""
        paths.append(f"{split or 'train'}/{label[code]}/{person}{names[clip]}{end}{number:05d}.jpg")
    options = {
        "clip": f"^{'[^/]+/' if united else ''}(.+)[./]-?[0-9]+[.][a-z]+$",
        "number": "(-?[0-9]+)[.][a-z]+$",
        "subject": "^([^/]+)/" if united else None,
        "class_map": {free: None} if (table.label == UNLABELLED).any() else None,
    }
    return Export(paths, np.zeros(len(paths), bool), options=options)


def _check_clips(table: FrameTable) -> None:
    """Refuse what class folders cannot say: a clip of two people or in two splits, and frames of no split."""
    same = table.clip[1:] == table.clip[:-1]
    for name, column in (("splits", table.split), ("units", table.unit)):
        torn = np.flatnonzero(same & (column[1:] != column[:-1]))
        if len(torn):
            raise DataError(f"clip {str(table.clip[torn[0]])!r} is in two {name}: class folders cannot hold that")
    if (table.split == "").any() and (table.split != "").any():
        row = int(np.flatnonzero(table.split == "")[0])
        raise DataError(f"clip {str(table.clip[row])!r} is in no split, others are: class folders cannot hold that")


def _path_name(name: str) -> str:
    """A clip's name as a path below a folder: its slashes make folders where that changes nothing."""
    parts = name.split("/")
    return "/".join(map(_folder_name, parts)) if all(parts) else _folder_name(name)


def _folder_name(name: str) -> str:
    """One name of a file or folder: slashes, a dot at the start, which hides files, and what is unreadable escaped."""
    letters = (letter if letter.isprintable() and letter not in "/%" else quote(letter, safe="") for letter in name)
    written = "".join(letters)
    return f"%2E{written[1:]}" if written.startswith(".") else written


def _with_endings(paths: Sequence[str], form: Form) -> list[str]:
    """The paths with the endings of their formats; where two would be one, the old ending stays before the new one.

    Raises:
        DataError: if two rows have one path.
    """
    fitted = [_fitted(path, form) for path in paths]
    twice = {path for path, count in Counter(fitted).items() if count > 1}
    out = [
        f"{path}{PurePosixPath(new).suffix}" if new in twice else new for path, new in zip(paths, fitted, strict=True)
    ]
    if len(set(out)) < len(out):
        path = next(path for path, count in Counter(out).items() if count > 1)
        raise DataError(f"two frames would be written to {path}")
    return out


def _fitted(path: str, form: Form) -> str:
    ending = PurePosixPath(path).suffix
    jpeg = ending.lower() in _JPEG
    if (form == "same" and (jpeg or ending.lower() == ".png")) or (form == "jpg" and jpeg):
        return path
    if form == "png" and ending.lower() == ".png":
        return path
    return path.removesuffix(ending) + (".jpg" if form == "jpg" else ".png")
