"""Features that somebody has already: of faces, sound, text or pose, by any model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import UNLABELLED, FaceDataset, FrameTable
from fusionkit.errors import DataError
from fusionkit_datasets.array_files import bytes_digest, read_arrays
from fusionkit_datasets.class_map import ClassMap
from fusionkit_datasets.expression_names import abaw_names

_COLUMNS = ("label", "clip", "frame", "subject", "split", "video")


class Embeddings(FaceDataset):
    """Ready features of named views, which are fused, smoothed and compared without an image.

    ``path`` holds arrays by name: each matrix (N, D) of floats is a view under its own name, a row of NaN a missing
    view; columns (N,) are

    - ``label`` (needed): class names, or numbers into ``classes``; ``-1`` or an empty name is unlabelled;
    - ``clip``: the frames of one person in one video; without it every row is a clip of its own;
    - ``frame``: its number in the clip; without it the place among the clip's rows, from 1;
    - ``subject``, ``split`` (``train``, ``val``, ``test``), ``video``: as in any data set, empty where unknown;

    and ``classes`` (C,) the class names in the order of the numbers; without it, the names in ``label``, sorted.

    Args:
        path: a .npz file, a folder of .npy files (mapped, not read into memory), or a .parquet file whose list columns
            are views (needs pyarrow).
        class_map: classes renamed, merged or left out: ``{contempt:Other,unsure:null}``; ``abaw`` for the names of the
            ABAW challenge.

    Raises:
        DataError: if arrays are missing, differ in length, or hold what they must not.

    Reference: none; it is a door for features made elsewhere.
    """

    places: ClassVar[tuple[str, ...]] = ("path",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # there is nothing to build without somebody's features

    def __init__(self, path: str, class_map: dict[str, str | None] | str | None = None) -> None:
        self._path = path
        arrays = read_arrays(path)
        self._views = {name: array for name, array in arrays.items() if array.ndim == 2}
        columns = {name: array for name, array in arrays.items() if array.ndim != 2}
        rows = self._checked(columns)
        own, label = _classes_and_labels(columns, path)
        self._map = ClassMap.of(own, class_map, abaw_names(own))
        clip = _text(columns.get("clip", np.char.add("row", np.arange(rows).astype(np.str_))))
        number = columns["frame"].astype(np.int64) if "frame" in columns else _places(clip)
        self._order = np.lexsort((number, clip))
        optional = {
            name: _text(columns[name])[self._order] for name in ("subject", "split", "video") if name in columns
        }
        self._frames = FrameTable.of(
            clip[self._order], number[self._order], self._map.apply(label)[self._order], **optional
        )

    def _checked(self, columns: Mapping[str, np.ndarray]) -> int:
        """N, once everything fits together."""
        if not self._views:
            raise DataError(f"embeddings: {self._path} holds no view: no array of two dimensions, frames by features")
        unknown = sorted(set(columns) - {*_COLUMNS, "classes"})
        if unknown:
            raise DataError(
                f"embeddings: {self._path}: array {unknown[0]!r} of shape {columns[unknown[0]].shape} is no view "
                f"(frames by features) and no column; columns are {', '.join(_COLUMNS)}"
            )
        if "label" not in columns:
            raise DataError(f"embeddings: {self._path} holds no column 'label'")
        lengths = {name: len(array) for name, array in {**self._views, **columns}.items() if name != "classes"}
        if len(set(lengths.values())) != 1:
            said = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(f"embeddings: {self._path}: arrays differ in length: {said}")
        for name, view in self._views.items():
            if not np.issubdtype(view.dtype, np.floating):
                raise DataError(
                    f"embeddings: {self._path}: view {name!r} holds {view.dtype}, not floating point numbers"
                )
        if "frame" in columns and not np.issubdtype(columns["frame"].dtype, np.integer):
            raise DataError(
                f"embeddings: {self._path}: column 'frame' holds {columns['frame'].dtype}, not whole numbers"
            )
        return len(columns["label"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names; or what ``class_map`` makes of them."""
        return self._map.classes

    @property
    def frames(self) -> FrameTable:
        """One row a row of the arrays, ordered by clip and frame number."""
        return self._frames

    @property
    def views(self) -> tuple[str, ...]:
        """The names of the matrices."""
        return tuple(self._views)

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        """Features of one view: (n, D) float32."""
        found: np.ndarray = np.asarray(self._views[view][self._order[rows]], dtype=np.float32)
        return found

    def content(self) -> str:
        """Hash of the bytes of all arrays."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return bytes_digest(self._path)

    def where(self, row: int) -> str:
        """The row in the arrays, counted from 0."""
        return f"{self._path} row {self._order[row]}"


def _classes_and_labels(columns: Mapping[str, np.ndarray], path: str) -> tuple[tuple[str, ...], np.ndarray]:
    label = columns["label"]
    named = tuple(map(str, columns["classes"].tolist())) if "classes" in columns else None
    if np.issubdtype(label.dtype, np.integer):
        if named is None:
            raise DataError(f"embeddings: {path}: labels are numbers: an array 'classes' must name them in their order")
        bad = np.flatnonzero((label < UNLABELLED) | (label >= len(named)))
        if len(bad):
            raise DataError(f"embeddings: {path} row {bad[0]}: label {label[bad[0]]} is not in -1..{len(named) - 1}")
        return named, label.astype(np.int64)
    texts = _text(label)
    found = sorted(set(texts.tolist()) - {""})
    codes = {name: code for code, name in enumerate(named or found)}
    strange = [name for name in found if name not in codes]
    if strange:
        raise DataError(f"embeddings: {path}: label {strange[0]!r} is not among the classes {', '.join(codes)}")
    numbers = np.array([codes.get(name, UNLABELLED) for name in texts.tolist()], dtype=np.int64)
    return tuple(codes), numbers


def _text(column: np.ndarray) -> np.ndarray:
    return np.array(["" if value is None else str(value) for value in column.tolist()], dtype=np.str_)


def _places(clip: np.ndarray) -> np.ndarray:
    """Each row's place among the rows of its clip, from 1."""
    order = np.argsort(clip, kind="stable")
    starts = np.flatnonzero(np.r_[True, clip[order][1:] != clip[order][:-1]])
    runs = np.diff(np.r_[starts, len(clip)])
    places = np.empty(len(clip), dtype=np.int64)
    places[order] = np.arange(len(clip)) - np.repeat(starts, runs) + 1
    return places
