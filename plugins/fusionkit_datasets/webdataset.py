"""Images with labels in tar files, as WebDataset names them."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.contracts.image_file import ENDINGS, decode_image
from fusionkit.contracts.regular_file import open_file
from fusionkit.errors import DataError, cause_of, expanded, printable
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

_SPLIT = re.compile(r"(train|val|test)(ing|id|idation)?(?![a-z])", re.IGNORECASE)
_MOST = 2**20  # bytes of a label or of a JSON member
_BLOCK = 512  # bytes of a tar header
_COMPRESSED = (".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2")


@dataclass(slots=True)
class _Sample:
    """Members of one key: place of the image, label, and fields of the JSON member."""

    shard: int
    key: str
    image: str = ""
    offset: int = 0
    size: int = 0
    label: str | None = None
    about: dict[str, Any] = field(default_factory=dict)


class WebDataset(FaceDataset):
    """Images with labels in uncompressed tar files: the WebDataset layout, for sets that are too large for files.

    Members of one sample share the name up to the first dot: ``p01/0007.jpg`` with ``p01/0007.cls`` (a class name or
    number) or ``p01/0007.json``. Tars are read in place: their headers once, and an image when it is needed. Nothing is
    extracted. A sample without an image is a frame without one; other members are ignored.

    A tar that is cut short, or has links, devices, sparse members or names that lead out of it, is refused.

    Args:
        root: a tar file, or a folder that is searched for ``*.tar``; ``~`` is the home folder.
        label: field of the JSON members with the class. Default: the ``.cls`` member.
        classes: class names in the order of the numbers, where classes are numbers. Default: the names, sorted.
        subject: field of the JSON members with the person, so that each person is in one part of a split. Default:
            unknown.
        clip: field with the name of the clip, for frames of videos. Default: every image is a clip.
        number: field with the frame number in the clip. Default: the order in the tars, from 1.
        split: field with ``train``, ``val`` or ``test``. Default: the beginning of the tars' names
            (``train-0000.tar``) or of their folders', if all have one.
        class_map: rename, merge or remove classes, as for ``folder``.

    Raises:
        ConfigError: if classes are numbers and ``classes`` is missing, or the class map is invalid.
        DataError: if a tar cannot be read or is refused, or a member or field is missing or wrong.

    Reference: the format of WebDataset (https://github.com/webdataset/webdataset).
    """

    places: ClassVar[tuple[str, ...]] = ("root",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # a tar is needed to build it

    def __init__(
        self,
        root: str,
        label: str = "",
        classes: list[str] | None = None,
        subject: str = "",
        clip: str = "",
        number: str = "",
        split: str = "",
        class_map: ClassMapOption = None,
    ) -> None:
        self._shards = _shards(root)
        shard_splits = [""] * len(self._shards) if split else _splits_of(expanded(root), self._shards)
        self._samples = [sample for index, shard in enumerate(self._shards) for sample in _samples(index, shard)]
        if not self._samples:
            raise DataError(f"webdataset: no sample in {len(self._shards)} tar file(s) below {root}")
        labels = read_labels(self._values(label), f"field {label!r}", self._at) if label else self._own_labels()
        own = class_names("webdataset", labels, classes)
        self._map = ClassMap.of(own, class_map)
        codes = self._map.apply(class_numbers(labels, own, self._at))
        clips = self._texts(clip) if clip else self._keys()
        numbers = read_numbers(self._required(number), f"field {number!r}", self._at) if number else None
        subjects = self._texts(subject) if subject else [""] * len(clips)
        splits = [shard_splits[sample.shard] for sample in self._samples]
        if split:
            splits = read_splits(self._required(split), f"field {split!r}", self._at)
        order, found = clip_order("webdataset", clips, numbers, self._at)
        self._samples = [self._samples[index] for index in order.tolist()]
        self._frames = FrameTable.of(
            np.array(clips)[order],
            found,
            codes[order],
            subject=np.array(subjects)[order],
            split=np.array(splits)[order],
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The given or found names, then mapped."""
        return self._map.classes

    @property
    def frames(self) -> FrameTable:
        """One row per sample, by clip in order of first appearance."""
        return self._frames

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Return images, RGB uint8 (H, W, 3); None where there is no image or it cannot be decoded."""
        return [self._image(row) for row in rows.tolist()]

    def where(self, row: int) -> str:
        """Return tar and member."""
        sample = self._samples[row]
        return f"{self._shards[sample.shard]}: {sample.image or sample.key}"

    def has_image(self) -> np.ndarray:
        """Return (N,) bool: rows with an image member that is not empty."""
        return np.array([sample.size > 0 for sample in self._samples], dtype=bool)

    def image_files(self, rows: np.ndarray) -> Iterable[str]:
        """Return the tars of the rows."""
        return [str(self._shards[index]) for index in sorted({self._samples[row].shard for row in rows.tolist()})]

    def problems(self) -> Iterable[str]:
        """Return each sample without an image."""
        return [f"{self.where(row)}: no image" for row, sample in enumerate(self._samples) if not sample.size]

    def _image(self, row: int) -> np.ndarray | None:
        sample = self._samples[row]
        if not sample.size:
            return None
        try:
            with open_file(self._shards[sample.shard]) as file:
                file.seek(sample.offset)
                data = file.read(sample.size)
            return decode_image(data, self.where(row))
        except (OSError, DataError):
            return None

    def _own_labels(self) -> list[str | None]:
        return [sample.label for sample in self._samples]

    def _keys(self) -> list[str]:
        """Return the keys, which name the clips, as texts of one line."""
        seen: dict[str, int] = {}
        for index, sample in enumerate(self._samples):
            if seen.setdefault(sample.key, index) != index:
                both = f"{self._at(seen[sample.key])} and {self._at(index)}"
                raise DataError(f"webdataset: two samples have one key: {both}")
        return list(map(printable, seen))

    def _values(self, name: str) -> list[Any]:
        """Return a field of the JSON members; None where it is missing."""
        return [sample.about.get(name) for sample in self._samples]

    def _required(self, name: str) -> list[Any]:
        for index, sample in enumerate(self._samples):
            if name not in sample.about:
                fields = printable(", ".join(sample.about))[:120]
                hint = f"its fields: {fields}" if fields else "it has no JSON member"
                raise DataError(f"{self._at(index)}: field {name!r} is missing", hint=hint)
        return self._values(name)

    def _texts(self, name: str) -> list[str]:
        return read_texts(self._required(name), f"field {name!r}", self._at)

    def _at(self, index: int) -> str:
        """Return tar and key of a sample."""
        sample = self._samples[index]
        return f"{self._shards[sample.shard]}: {printable(sample.key)}"


def _shards(root: str) -> list[Path]:
    """Return the tar files, in order of their names."""
    top = expanded(root)
    if top.is_file():
        return [top]
    if not top.is_dir():
        raise DataError(f"webdataset: root {root} is neither a folder nor a tar file")
    found = sorted(path for path in top.rglob("*.tar") if path.is_file() and not path.name.startswith("."))
    if found:
        return found
    packed = next((path for path in top.rglob("*") if path.name.endswith(_COMPRESSED)), None)
    hint = f"unpack the compression only, such as with gunzip: {packed.name}" if packed else "expected ROOT/*.tar"
    raise DataError(f"webdataset: no .tar file below {root}", hint=hint)


def _splits_of(top: Path, shards: list[Path]) -> list[str]:
    """Return the split that the name of each tar, or of the first folder above it, begins with."""
    base = top if top.is_dir() else top.parent
    found = []
    for shard in shards:
        parts = shard.relative_to(base).parts
        match = _SPLIT.match(parts[-1]) or _SPLIT.match(parts[0])
        found.append(SPLITS.get(match[0].lower(), "") if match else "")
    if any(found) and not all(found):
        odd = shards[found.index("")]
        raise DataError(f"webdataset: the name of {odd} begins with no split, as those of other tars do")
    return found


def _samples(index: int, shard: Path) -> Iterator[_Sample]:
    """Yield the samples of a tar, in order of first appearance. Image bytes are not read."""
    samples: dict[str, _Sample] = {}
    try:
        with open_file(shard) as file:
            size = file.seek(0, 2)
            file.seek(0)
            with tarfile.TarFile(fileobj=file, mode="r") as tar:
                for member in tar:
                    _check(member, shard, size)
                    folder, _, base = member.name.rpartition("/")
                    stem, _, ending = base.partition(".")
                    if member.isfile() and stem:  # hidden files have no stem
                        key = f"{folder}/{stem}".removeprefix("./").lstrip("/")
                        sample = samples.setdefault(key, _Sample(index, key))
                        _add(sample, member, ending.lower(), tar, shard)
                    tar.members.clear()  # tarfile keeps every header
                file.seek(tar.offset)
                if tar.offset + _BLOCK > size or file.read(_BLOCK).strip(b"\0"):
                    raise DataError(f"webdataset: {shard} has no end mark: it is cut short")
    except DataError:
        raise
    except (OSError, EOFError, ValueError, OverflowError, tarfile.TarError) as error:
        raise DataError(f"webdataset: {shard} cannot be read as an uncompressed tar: {cause_of(error)}") from error
    yield from samples.values()


def _check(member: tarfile.TarInfo, shard: Path, size: int) -> None:
    """Raise unless a member is a plain file or folder inside the tar."""
    name = printable(member.name)[:120]
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise DataError(f"webdataset: {shard}: member {name!r} is a link, a device or sparse, not a plain file")
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise DataError(f"webdataset: {shard}: member {name!r} leads out of the tar")
    if member.size < 0 or member.offset_data + member.size > size:
        raise DataError(f"webdataset: {shard}: member {name!r} claims {member.size:,} bytes, beyond the end of the tar")


def _add(sample: _Sample, member: tarfile.TarInfo, ending: str, tar: tarfile.TarFile, shard: Path) -> None:
    """Note an image, or read a label or JSON member."""
    if f".{ending}" in ENDINGS:
        if sample.image:
            raise DataError(f"webdataset: {shard}: sample {printable(sample.key)!r} has two images")
        sample.image, sample.offset, sample.size = printable(member.name), member.offset_data, member.size
        return
    if ending not in ("cls", "json"):
        return
    at = f"webdataset: {shard}: {printable(member.name)}"
    if member.size > _MOST:
        raise DataError(f"{at} has {member.size:,} bytes; at most {_MOST:,} are read")
    file = tar.extractfile(member)
    assert file is not None
    try:
        text = file.read().decode()
        if ending == "cls":
            sample.label = text.strip() or None
            return
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{at} is not {'text' if ending == 'cls' else 'JSON'} in UTF-8: {cause_of(error)}") from error
    if not isinstance(about, dict):
        raise DataError(f"{at} must be a JSON object")
    sample.about = about
