"""Layouts: write synthetic clips in the layout of a known data set, and choose the layout of written views."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED, Export, FaceDataset, FrameTable, Layout
from fusionkit.engine.source import Source
from fusionkit.errors import ConfigError, DataError, PluginError, cause_of, component_errors
from fusionkit.registry import DATASETS, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.artifact import unwritable

GROUP = "fusionkit.layouts"
MIN_CLIPS = 32  # the val and the test set have a quarter each, which must contain all eight classes
# Shares of frames. The first is that of Aff-Wild2; the second is less than its 44 %.
_MISSING_SHARE, _UNLABELLED_SHARE = 0.017, 0.08
_JPEG = (".jpg", ".jpeg")

Form = Literal["same", "jpg", "png"]


def synthetic_clips(clips: int, frames: int, seed: int, *, faults: bool, difficulty: float = 0.5) -> FaceDataset:
    """Return synthetic clips, each of another person: half of them in train, a quarter each in val and test.

    Args:
        clips: number of clips, at least :data:`MIN_CLIPS`.
        frames: mean number of frames per clip.
        seed: random seed of all clips.
        faults: include frames without image and without label.
        difficulty: 0..1, of the data set ``synthetic``.

    Raises:
        ConfigError: if there are too few clips, or an option is invalid.
    """
    if clips < MIN_CLIPS:
        raise ConfigError(f"clips = {clips} must be at least {MIN_CLIPS}", hint="fewer clips would lack some classes")
    missing, unlabelled = (_MISSING_SHARE, _UNLABELLED_SHARE) if faults else (0.0, 0.0)
    options: dict[str, Any] = {"train": clips - 2 * (clips // 4), "val": clips // 4, "test": clips // 4, "clips": 1}
    options |= {"clip_length": frames, "seed": seed, "difficulty": difficulty}
    faces: FaceDataset = DATASETS.build(Spec("synthetic", {**options, "missing": missing, "unlabelled": unlabelled}))
    return faces


def find_layout(name: str) -> Layout:
    """Return a layout by name.

    Raises:
        ConfigError: if no layout has the name.
        PluginError: if it cannot be imported.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        available = ", ".join(sorted(points))
        raise ConfigError(f"unknown layout {name!r}{did_you_mean(name, points)}; available layouts: {available}")
    try:
        layout: Layout = points[name].load()
    except component_errors() as error:
        raise PluginError(f"layout {name!r} ({points[name].value}) cannot be imported: {cause_of(error)}") from error
    return layout


def write_layout(
    layout: Layout, faces: FaceDataset, folder: Path, faults: bool, advance: Callable[[int], None]
) -> None:
    """Write a data set in a layout; the folder appears only when it is complete.

    Args:
        layout: layout to write.
        faces: data set to write.
        folder: new or empty folder.
        faults: include the irregularities of the real data.
        advance: receives the number of frames written since the last call.

    Raises:
        ConfigError: if the folder exists and is not empty.
        StorageError: if it cannot be written.
    """
    with new_folder(folder) as partial:
        for count in layout(partial, faces, faults=faults):
            advance(count)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``folder`` at the end, or deleted after an error.

    Raises:
        ConfigError: if the folder exists and is not empty.
        StorageError: if it cannot be written.
    """
    check_free(folder)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(folder: Path) -> None:
    """Raise unless the path is new or an empty folder.

    Raises:
        ConfigError: if it is a file, or a folder that is not empty.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder} already exists", hint="choose a new or empty folder")


def export_of(source: Source, rows: np.ndarray, form: Form) -> tuple[Export, str]:
    """Return the layout in which the views of some rows are written, and the name of the data set that reads it.

    Raises:
        DataError: if no layout can represent the rows, or two rows would be written to one file.
    """
    own = source.dataset.export(source.rows[rows])
    export = own or _class_folders(source.table.take(rows), source.classes)
    return replace(export, paths=_with_extensions(export.paths, form)), source.spec.name if own else "folder"


def reader(source: Source, name: str, export: Export, root: str) -> Spec:
    """Return the spec that reads the written files."""
    locations = (*DATASETS.get(source.spec.name).places, "root")
    own = source.spec.options if name == source.spec.name else {}
    options = {key: value for key, value in own.items() if key not in locations} | dict(export.options)
    return Spec(name, {"root": root, **{key: value for key, value in options.items() if value is not None}})


def _class_folders(table: FrameTable, classes: tuple[str, ...]) -> Export:
    """Return a layout with one folder per class; file names contain the unit (unless it is the clip), clip and frame.

    Without official splits all files are below ``train``, so that no class can be mistaken for a split. Unlabelled
    frames are in a class folder of their own. Names that are not valid file names are percent-encoded.
    """
    _check_clips(table)
    unlabelled = "unlabelled"
    while unlabelled in classes:
        unlabelled += "_"
    label = [*map(_file_name, classes), unlabelled]
    has_units = bool((table.unit != table.clip).any())
    names = {clip: _clip_path(clip) for clip in dict.fromkeys(table.clip.tolist())}
    end = "/" if len(names) < len(table) else "."
    paths = []
    for split, code, unit, clip, number in zip(
        table.split.tolist(), table.label.tolist(), table.unit.tolist(), table.clip.tolist(), table.number.tolist(),
        strict=True,
    ):  # fmt: skip
        unit_folder = f"{_file_name(unit)}/" if has_units else ""
        paths.append(f"{split or 'train'}/{label[code]}/{unit_folder}{names[clip]}{end}{number:05d}.jpg")
    options = {
        "clip": f"^{'[^/]+/' if has_units else ''}(.+)[./]-?[0-9]+[.][a-z]+$",
        "number": "(-?[0-9]+)[.][a-z]+$",
        "subject": "^([^/]+)/" if has_units else None,
        "class_map": {unlabelled: None} if (table.label == UNLABELLED).any() else None,
    }
    return Export(paths, np.zeros(len(paths), bool), options=options)


def _check_clips(table: FrameTable) -> None:
    """Raise for clips of two units or in two splits, and if only some clips have a split."""
    same = table.clip[1:] == table.clip[:-1]
    for name, column in (("splits", table.split), ("units", table.unit)):
        changes = np.flatnonzero(same & (column[1:] != column[:-1]))
        if len(changes):
            clip = str(table.clip[changes[0]])
            raise DataError(f"clip {clip!r} is in two {name}: one folder per class cannot represent that")
    if (table.split == "").any() and (table.split != "").any():
        clip = str(table.clip[int(np.flatnonzero(table.split == "")[0])])
        raise DataError(f"clip {clip!r} is in no split, others are: one folder per class cannot represent that")


def _clip_path(name: str) -> str:
    """Return a clip name as a relative path: its slashes become folders unless a part is empty."""
    parts = name.split("/")
    return "/".join(map(_file_name, parts)) if all(parts) else _file_name(name)


def _file_name(name: str) -> str:
    """Return a valid file name: slashes, a leading dot and unprintable characters are percent-encoded."""
    letters = (letter if letter.isprintable() and letter not in "/%" else quote(letter, safe="") for letter in name)
    written = "".join(letters)
    return f"%2E{written[1:]}" if written.startswith(".") else written


def _with_extensions(paths: Sequence[str], form: Form) -> list[str]:
    """Return the paths with the extension of the written format; the old one is kept before it if two would be equal.

    Raises:
        DataError: if two rows have one path.
    """
    renamed = [_with_extension(path, form) for path in paths]
    ambiguous = {path for path, count in Counter(renamed).items() if count > 1}
    out = [
        f"{path}{PurePosixPath(new).suffix}" if new in ambiguous else new
        for path, new in zip(paths, renamed, strict=True)
    ]
    if len(set(out)) < len(out):
        path = next(path for path, count in Counter(out).items() if count > 1)
        raise DataError(f"two frames would be written to {path}")
    return out


def _with_extension(path: str, form: Form) -> str:
    suffix = PurePosixPath(path).suffix
    is_jpeg, is_png = suffix.lower() in _JPEG, suffix.lower() == ".png"
    if (form != "png" and is_jpeg) or (form != "jpg" and is_png):
        return path
    return path.removesuffix(suffix) + (".jpg" if form == "jpg" else ".png")
