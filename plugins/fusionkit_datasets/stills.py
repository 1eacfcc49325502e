"""Base of data sets of annotated still images: a reader lists annotations and files, the base makes the table."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from fusionkit.contracts import FaceDataset, FrameTable, Labels
from fusionkit.contracts.image_file import ENDINGS, library_needed, read_image
from fusionkit.errors import DataError, expanded, printable
from fusionkit.registry import did_you_mean_path
from fusionkit.registry.spec import Spec
from fusionkit_datasets.class_map import ClassMap

Box = tuple[int, int, int, int]


class Still(NamedTuple):
    """One annotated image, before classes are mapped.

    Attributes:
        clip: name of the clip; of a single image, its own name.
        label: number of the data set's own class; -1 is unlabelled.
        split: ``train``, ``val``, ``test`` or empty.
        line: line of the annotation, from 1; 0 if it has no lines.
        source: annotation file; empty if there is none.
        number: frame number in the clip.
        subject: identity of the person, if known.
        video: common source of several clips, such as a photo with several faces.
    """

    clip: str
    label: int
    split: str = ""
    line: int = 0
    source: str = ""
    number: int = 1
    subject: str = ""
    video: str = ""

    @property
    def origin(self) -> str:
        """File and line of the annotation."""
        return f"{self.source}:{self.line}" if self.line else self.source


class Images(Protocol):
    """The images of the rows: files, or pixels in a table."""

    def read(self, row: int) -> np.ndarray | None:
        """Return RGB uint8 (H, W, 3); None if the image is missing or broken."""

    def where(self, row: int) -> str:
        """Return the file, and the line if the file has lines."""

    def files(self, rows: np.ndarray) -> Iterable[str]:
        """Return the file of each row; nothing if ``content`` covers the pixels."""

    def content(self) -> str:
        """Return text that identifies the images besides their files, without the path of the root."""

    def there(self) -> np.ndarray | None:
        """Return (N,) bool: rows with a file that is not empty; None if only reading shows it."""

    def problems(self) -> Iterator[tuple[int, str]]:
        """Yield (row, problem) for each wrong image."""


@dataclass(frozen=True)
class FileImages:
    """Images in files, in the order of the rows. Sizes are read at once, contents when they are needed.

    Attributes:
        root: folder of the data set.
        names: paths below the root, with ``/``.
        boxes: part of each image to cut out: left, top, right, bottom in px; None for a frame without a usable box,
            which has no image, since the photo may show several faces. Empty: whole images.
        sizes: in bytes; -1 for a missing file.
    """

    root: Path
    names: Sequence[str]
    boxes: Sequence[Box | None] = ()
    sizes: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", [_size(self.where(row)) for row in range(len(self.names))])

    def read(self, row: int) -> np.ndarray | None:
        """Return RGB uint8 (H, W, 3); None if the file is missing or broken, or the box is not in the image."""
        if self.sizes[row] <= 0 or self._lacks_box(row):
            return None
        image = read_image(self.where(row))
        return _cut(image, self.boxes[row]) if self.boxes and image is not None else image

    def where(self, row: int) -> str:
        """Return the path of the file."""
        return os.path.join(self.root, self.names[row])  # noqa: PTH118  # ten times faster than Path

    def files(self, rows: np.ndarray) -> Iterable[str]:
        """Return the paths; a missing file has one too."""
        return map(self.where, rows.tolist())

    def content(self) -> str:
        """Return the boxes."""
        return str(self.boxes)

    def there(self) -> np.ndarray:
        """Return (N,) bool: files that exist and are not empty, with a box if boxes are cut out."""
        boxed = [not self._lacks_box(row) for row in range(len(self.names))]
        return (np.array(self.sizes, dtype=np.int64) > 0) & np.array(boxed, dtype=bool)

    def problems(self) -> Iterator[tuple[int, str]]:
        """Yield (row, problem) for each missing or empty file, and each one without a usable box."""
        for row, size in enumerate(self.sizes):
            if size <= 0:
                yield row, f"{self.where(row)} is {'empty' if size == 0 else 'missing'}"
            elif needed := library_needed(self.where(row)):
                yield row, f"{self.where(row)} is not read without {needed}"
            elif self._lacks_box(row):
                yield row, f"{self.where(row)} has no usable face box, so the frame has no image"

    def _lacks_box(self, row: int) -> bool:
        return bool(self.boxes) and self.boxes[row] is None


@dataclass(frozen=True, eq=False)
class TaskLabels:
    """Labels of another task than expression, for all rows.

    Attributes:
        labels: the labels.
        faults: errors in them, ``path:line: problem``; with any of them the labels are refused.
    """

    labels: Labels
    faults: Sequence[str] = ()


@dataclass(frozen=True)
class Listing:
    """The rows of a data set, before classes are mapped.

    Attributes:
        stills: the rows.
        images: their images, in the same order.
        annotation: hash of the annotation; empty if folder names are the annotation.
        dropped: reason to the number of images that are left out.
        faults: errors in the annotation, ``path:line: problem``; with any of them the table is refused.
        problems: other problems, one line each.
        tasks: task to a function that reads its labels; None if the data have none.
    """

    stills: Sequence[Still]
    images: Images
    annotation: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    faults: Sequence[str] = ()
    problems: Sequence[str] = ()
    tasks: Mapping[str, Callable[[], TaskLabels | None]] = field(default_factory=dict)


class Stills(FaceDataset):
    """A data set of annotated images. A subclass reads its layout into a :class:`Listing`.

    Args:
        root: folder of the data set; ``~`` is the home folder.
        class_map: rename, merge or remove classes: ``{old:new,old:null}``, where ``null`` makes frames unlabelled;
            ``abaw`` maps to the names of the ABAW challenge, contempt to Other. Default: unchanged.

    Attributes:
        dropped: reason to the number of images that are left out.
    """

    places: ClassVar[tuple[str, ...]] = ("root",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # images are needed to build it

    def __init__(self, listing: Listing, class_map: ClassMap) -> None:
        self.dropped = dict(listing.dropped)
        self._listing = listing
        self._map = class_map
        self._read_labels: dict[str, TaskLabels | None] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, mapped."""
        return self._map.classes

    @cached_property
    def frames(self) -> FrameTable:
        """One row per annotated image, in the order of the annotations.

        Raises:
            DataError: if the annotation has an error, an image is annotated twice, or there is no image.
        """
        self._check()
        stills = self._listing.stills
        return FrameTable.of(
            [printable(still.clip) for still in stills],
            [still.number for still in stills],
            self._map.apply(np.array([still.label for still in stills], dtype=np.int64)),
            subject=[printable(still.subject) for still in stills],
            split=[still.split for still in stills],
            video=[printable(still.video) for still in stills],
        )

    def labels(self, task: str) -> Labels | None:
        """Return the labels of a task; those of other tasks than expression are read when they are needed.

        Raises:
            DataError: if one of them has an error.
        """
        if task not in self._listing.tasks:
            return super().labels(task)
        found = self._labels_of(task)
        if found is None:
            return None
        self._refuse(found.faults)
        return found.labels

    def _labels_of(self, task: str) -> TaskLabels | None:
        if task not in self._read_labels:
            self._read_labels[task] = self._listing.tasks[task]()
        return self._read_labels[task]

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Return images, RGB uint8 (H, W, 3); None for a missing or broken one."""
        return [self._listing.images.read(int(row)) for row in rows]

    def content(self) -> str:
        """Return the hash of the annotations, and the content of the images without the path of the root."""
        return f"{self._listing.annotation}\n{self._listing.images.content()}"

    def image_files(self, rows: np.ndarray) -> Iterable[str]:
        """Return the file of each row; none if pixels are in a table."""
        return self._listing.images.files(rows)

    def where(self, row: int) -> str:
        """Return the file, and the line if the file has lines; with face boxes, also the line of the annotation."""
        images, origin = self._listing.images, self._listing.stills[row].origin
        boxed = isinstance(images, FileImages) and images.boxes
        return f"{images.where(row)} ({origin})" if boxed and origin else images.where(row)

    def has_image(self) -> np.ndarray | None:
        """Return (N,) bool: rows with a file that is not empty; None if pixels are in a table."""
        return self._listing.images.there()

    def problems(self) -> Iterable[str]:
        """Yield each error of the annotation, and each missing or empty image with its annotation line."""
        yield from self._faults
        yield from self._listing.problems
        for found in map(self._labels_of, self._listing.tasks):
            yield from found.faults if found else ()
        for row, problem in self._listing.images.problems():
            origin = self._listing.stills[row].origin
            yield f"{origin}: {problem}" if origin else problem

    @cached_property
    def _faults(self) -> list[str]:
        """Errors of the annotation, and images that are annotated twice."""
        faults = list(self._listing.faults)
        first: dict[tuple[str, int], Still] = {}
        for still in self._listing.stills:
            other = first.setdefault((still.clip, still.number), still)
            if other is not still:
                one, two = (each.origin or each.split for each in (still, other))
                faults.append(f"{one}: {still.clip!r} is also annotated at {two}")
        return faults

    def _refuse(self, faults: Sequence[str]) -> None:
        """Raise DataError with the first fault, if there is one."""
        if faults:
            more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
            hint = "fusionkit data check lists all" if more else ""
            raise DataError(f"{type(self).__name__.lower()}: {faults[0]}{more}", hint=hint)

    def _check(self) -> None:
        name, images = type(self).__name__.lower(), self._listing.images
        self._refuse(self._faults)
        if not self._listing.stills:
            dropped = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
            raise DataError(f"{name}: no annotated image{f'; left out: {dropped}' if dropped else ''}")
        there = images.there()
        if there is not None and not there.any():
            parent = next(folder for folder in Path(images.where(0)).parents if folder.is_dir())
            found = f"{parent} has: {content_of(parent)}"
            raise DataError(f"{name}: all {len(there)} images are missing, such as {images.where(0)}; {found}")


def root_folder(dataset: str, root: str, layout: str) -> Path:
    """Return the root as a path.

    Raises:
        DataError: if it is not a folder.
    """
    top = expanded(root)
    if not top.is_dir():
        near = "" if top.exists() else did_you_mean_path(top)
        problem = "is not a folder" if top.exists() else f"does not exist{near}"
        raise DataError(f"{dataset}: root {root!r} {problem}", hint="" if near else layout)
    return top


def wrong_root(dataset: str, top: Path, sought: Sequence[str], layout: str, spec: str = "") -> DataError:
    """Return the error of a root without the files of a layout: what was sought, what was found, what would be read.

    Args:
        dataset: name of the data set.
        top: the root.
        sought: files or folders of the layout, below the root.
        layout: the hint, unless a folder below the root, or above it, has what was sought.
        spec: SPEC that reads the root, if it is known.
    """
    near = [top.parent, *folders_in(top)]
    near += [folder for child in near[1:] for folder in folders_in(child)]
    other = next((folder for folder in near if any((folder / name).exists() for name in sought)), None)
    spec = spec or (str(Spec(dataset, {"root": str(other)})) if other else "")
    return DataError(
        f"{dataset}: root {str(top)!r} has no {' or '.join(sought)}; found: {content_of(top)}",
        hint=f"use {spec}" if spec else layout,
    )


def content_of(folder: Path) -> str:
    """Return the names of the first files and folders in a folder, for a message."""
    names = sorted(child.name for child in folder.iterdir() if not child.name.startswith("."))
    images = [name for name in names if Path(name).suffix.lower() in ENDINGS]
    others = [name for name in names if name not in images]
    shown = others[:5] + (["..."] if len(others) > 5 else [])
    return printable(", ".join(shown + ([f"{len(images)} images directly in it"] if images else []))) or "nothing"


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, sorted."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def usable_box(left: int, top: int, right: int, bottom: int) -> Box | None:
    """Return a box; None if it is inverted, empty, or left of or above every image."""
    return (left, top, right, bottom) if max(left, 0) < right and max(top, 0) < bottom else None


def _size(path: str) -> int:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _cut(image: np.ndarray, box: Box | None) -> np.ndarray | None:
    """Return the part inside the box; None if the box is outside of the image."""
    if box is None:
        return None
    left, top, right, bottom = (max(side, 0) for side in box)
    part = image[top:bottom, left:right]
    return np.ascontiguousarray(part) if part.size else None
