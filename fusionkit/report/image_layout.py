"""Where images go when a data set is written anew: as the data set itself lays them out, else in one folder a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import quote

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.contracts.export import Export
from fusionkit.engine.source import Source
from fusionkit.errors import DataError
from fusionkit.registry import DATASETS
from fusionkit.spec import Spec

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
