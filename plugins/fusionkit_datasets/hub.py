"""Data sets of the Hugging Face hub, and local Parquet, Arrow and image folders, by the library datasets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.contracts.image_file import decode_image, read_image
from fusionkit.errors import ConfigError, DataError, cause_of, expanded, printable
from fusionkit.registry import did_you_mean, did_you_mean_path
from fusionkit_datasets.class_map import ClassMap, ClassMapOption
from fusionkit_datasets.columns import (
    SPLITS,
    class_names,
    class_numbers,
    clip_order,
    read_labels,
    read_numbers,
    read_splits,
    read_texts,
)

_FILES = {".parquet": "parquet", ".arrow": "arrow"}
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class Hub(FaceDataset):
    """A data set of the Hugging Face hub by name, or a local Parquet or Arrow file, a saved data set, or a folder.

    Nothing is fetched unless ``download=true``: a name must be in the local cache of the library ``datasets``. Its
    tables are memory-mapped, so that a set may be larger than the memory. A Parquet file is converted once, into that
    cache. Images that are only an address of the web stay missing.

    Args:
        path: local path, or name on the hub such as ``owner/name``.
        image: column of the images. Default: the only one of that type, else ``image``.
        label: column of the classes: names, or numbers with names in the file or in ``classes``.
        classes: class names in the order of the numbers. Default: those of the file, else the labels, sorted.
        subject: column with the person, so that each person is in one part of a split. Default: unknown.
        clip: column with the name of the clip, for frames of videos. Default: every image is a clip.
        number: column with the frame number in the clip. Default: the order in the file, from 1.
        split: column with ``train``, ``val`` or ``test``. Default: the splits of the data set; one alone is no split.
        config: name of the configuration, for a name with several.
        revision: commit, branch or tag, for a name on the hub.
        download: fetch what is not in the local cache.
        class_map: rename, merge or remove classes, as for ``folder``.

    Raises:
        ConfigError: if the library is missing, a column is unknown, or classes are numbers without names.
        DataError: if the data cannot be opened, or a value is missing or wrong.

    Reference: Lhoest et al. 2021, "Datasets: A Community Library for Natural Language Processing"
    (https://arxiv.org/abs/2109.02846).
    """

    places: ClassVar[tuple[str, ...]] = ("path", "download")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # data are needed to build it

    def __init__(
        self,
        path: str,
        image: str = "",
        label: str = "label",
        classes: list[str] | None = None,
        subject: str = "",
        clip: str = "",
        number: str = "",
        split: str = "",
        config: str | None = None,
        revision: str | None = None,
        download: bool = False,
        class_map: ClassMapOption = None,
    ) -> None:
        self._path = path
        parts = _opened(path, config, revision, download)
        names = ["" if split else _split_name(name, list(parts)) for name in parts]
        columns = next(iter(parts.values())).features
        self._image = _image_column(image, columns)
        asked = {"label": label, "subject": subject, "clip": clip, "number": number, "split": split}
        _check_columns(asked, columns)
        self._parts = [_encoded(part, self._image) for part in parts.values()]
        stored = [_stored(part, self._image) for part in self._parts]
        self._has_bytes, self._paths = [there for there, _ in stored], [paths for _, paths in stored]
        self._part_names = list(parts)
        self._first = np.cumsum([0, *map(len, self._parts)])
        self._order = np.arange(self._first[-1])
        values = {
            use: [value for part in parts.values() for value in part[column]] for use, column in asked.items() if column
        }
        labels = read_labels(values["label"], f"label {label!r}", self.where)
        own = class_names("hub", labels, classes or _known_classes(columns[label]))
        self._map = ClassMap.of(own, class_map)
        codes = class_numbers(labels, own, self.where)
        rows = self._order.tolist()
        clips = read_texts(values["clip"], f"clip {clip!r}", self.where) if clip else list(map(self._key, rows))
        numbers = read_numbers(values["number"], f"number {number!r}", self.where) if number else None
        splits = np.repeat(names, np.diff(self._first)).tolist()
        if split:
            splits = read_splits(values["split"], f"split {split!r}", self.where)
        subjects = read_texts(values["subject"], f"subject {subject!r}", self.where) if subject else [""] * len(rows)
        order, found = clip_order("hub", clips, numbers, self.where)
        self._frames = FrameTable.of(
            np.array(clips)[order],
            found,
            self._map.apply(codes[order]),
            subject=np.array(subjects)[order],
            split=np.array(splits)[order],
        )
        self._order = order

    @property
    def classes(self) -> tuple[str, ...]:
        """The given or stored names, then mapped."""
        return self._map.classes

    @property
    def frames(self) -> FrameTable:
        """One row per image, by clip in order of first appearance."""
        return self._frames

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Return images, RGB uint8 (H, W, 3); None where there is no image or it cannot be decoded."""
        return [self._read(row) for row in rows.tolist()]

    def where(self, row: int) -> str:
        """Return the path of the data set and the row in its split."""
        return f"{self._path}: {self._key(int(self._order[row]))}"

    def image_files(self, rows: np.ndarray) -> Iterable[str]:
        """Return the tables that hold the images, then the image files that they name."""
        tables, files = set(), []
        for row in rows.tolist():
            part, index = self._at(int(self._order[row]))
            found = self._paths[part][index]
            if found is None:
                tables.add(part)
            else:
                files.append(found)
        stored = [str(item["filename"]) for part in sorted(tables) for item in self._parts[part].cache_files]
        return [*stored, *files]

    def has_image(self) -> np.ndarray | None:
        """Return (N,) bool: rows with bytes; None if images are files."""
        if any(path is not None for paths in self._paths for path in paths):
            return None
        there = np.concatenate([np.asarray(found, bool) for found in self._has_bytes])
        return there[self._order]

    def _read(self, row: int) -> np.ndarray | None:
        part, index = self._at(int(self._order[row]))
        if (path := self._paths[part][index]) is not None:
            return read_image(path)
        value = self._parts[part][index][self._image]
        data = value.get("bytes") if isinstance(value, dict) else value
        try:
            return decode_image(bytes(data), self.where(row)) if data else None
        except DataError:
            return None

    def _at(self, row: int) -> tuple[int, int]:
        """Return split and position of a row of the file."""
        part = int(np.searchsorted(self._first, row, side="right")) - 1
        return part, row - int(self._first[part])

    def _key(self, row: int) -> str:
        part, index = self._at(row)
        return f"{printable(self._part_names[part])}/{index:08d}"


def _opened(path: str, config: str | None, revision: str | None, download: bool) -> dict[str, Any]:
    """Return the splits of a data set, by name."""
    try:
        import datasets
    except ImportError as error:
        hint = "pip install 'fusionkit[hub]'"
        raise ConfigError(f"hub: {path}: datasets is not installed", hint=hint) from error
    local = expanded(path)
    if not local.exists() and (local.suffix in _FILES or not _ID.fullmatch(path)):
        raise DataError(
            f"hub: there is no file or folder {path}{did_you_mean_path(path)}",
            hint="a local path, or owner/name on the hub",
        )
    if local.is_file() and local.suffix not in _FILES:
        raise DataError(f"hub: {path} is no {' or '.join(_FILES)} file")
    with _settings(datasets, download=download and not local.exists()):
        try:
            found = (
                _loaded(datasets, local) if local.exists() else datasets.load_dataset(path, config, revision=revision)
            )
        except Exception as error:  # the library and those below it raise classes of their own
            if local.exists() or download:
                raise DataError(f"hub: {path} cannot be opened: {cause_of(error)}") from error
            raise DataError(
                f"hub: {path} is neither a local path nor in the local cache, and nothing is downloaded unasked",
                hint="download=true fetches it",
            ) from error
    parts = dict(found) if isinstance(found, dict) else {"all": found}
    parts = {str(name): part for name, part in parts.items() if len(part)}
    if not parts:
        raise DataError(f"hub: {path} has no rows")
    if len({str(part.features) for part in parts.values()}) > 1:
        raise DataError(f"hub: the splits of {path} have different columns: {', '.join(parts)}")
    return parts


def _loaded(datasets: Any, local: Path) -> Any:
    if local.is_file():
        return datasets.load_dataset(_FILES[local.suffix], data_files=str(local))
    if (local / "state.json").exists() or (local / "dataset_dict.json").exists():
        return datasets.load_from_disk(str(local))
    return datasets.load_dataset(str(local))


@contextmanager
def _settings(datasets: Any, *, download: bool) -> Iterator[None]:
    """Switch the library offline unless a download was asked for, and its progress bars off."""
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    if not download:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
        if bars:
            datasets.enable_progress_bars()


def _image_column(given: str, columns: Any) -> str:
    found = [name for name, feature in columns.items() if type(feature).__name__ == "Image"]
    name = given or (found[0] if len(found) == 1 else "image")
    listed = ", ".join(columns)
    if name not in columns:
        near = did_you_mean(name, list(columns))
        raise ConfigError(f"hub: there is no column {name!r} with images{near}; columns: {listed}", hint="image=COLUMN")
    kind = columns[name]
    is_bytes = getattr(kind, "dtype", "") in ("binary", "large_binary") or (isinstance(kind, dict) and "bytes" in kind)
    if name not in found and not is_bytes:
        raise ConfigError(f"hub: column {name!r} holds no images, but {kind}", hint=f"image=COLUMN of: {listed}")
    return name


def _check_columns(asked: dict[str, str], columns: Any) -> None:
    wanted = {use: name for use, name in asked.items() if name and name not in columns}
    missing = [f"{use}={name}{did_you_mean(name, list(columns))}" for use, name in wanted.items()]
    if missing:
        raise ConfigError(f"hub: there is no column for {', '.join(missing)}; columns: {', '.join(columns)}")
    if not asked["label"]:
        raise ConfigError("hub: option label is missing: the column of the classes")


def _known_classes(feature: Any) -> list[str] | None:
    """Return the names of the class numbers that the file states."""
    return list(feature.names) if type(feature).__name__ == "ClassLabel" else None


def _split_name(name: str, names: list[str]) -> str:
    """Return ``train``, ``val`` or ``test``; empty for a data set of one split."""
    if len(names) == 1:
        return ""
    if name.lower() not in SPLITS:
        raise DataError(
            f"hub: split {name!r} is not train, val or test; splits: {', '.join(names)}", hint="split=COLUMN"
        )
    return SPLITS[name.lower()]


def _encoded(part: Any, image: str) -> Any:
    """Return the images of a split as they are stored, undecoded."""
    import datasets

    only = part.select_columns([image])
    is_image = isinstance(part.features[image], datasets.Image)
    return only.cast_column(image, datasets.Image(decode=False)) if is_image else only


def _stored(part: Any, image: str) -> tuple[list[bool], list[str | None]]:
    """Return for each row whether its bytes are in the table, and else its file, without reading bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = part.data.column(image)
    if not pa.types.is_struct(column.type):
        return pc.is_valid(column).to_pylist(), [None] * len(column)
    there: list[bool] = pc.is_valid(pc.struct_field(column, "bytes")).to_pylist()
    paths: list[str | None] = pc.struct_field(column, "path").to_pylist()
    return there, [None if has else path for has, path in zip(there, paths, strict=True)]
