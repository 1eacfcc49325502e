"""What data sets of still images share: a list of annotated images becomes a table, and its rows are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.errors import DataError
from fusionkit_datasets.class_map import ClassMap
from fusionkit_datasets.listing import Listing
from fusionkit_datasets.still import Still

ClassMapOption = dict[str, str | None] | str | None


class Stills(FaceDataset):
    """A data set whose reader lists annotated images and says where they are.

    Attributes:
        own: the data set's own class names, in the order of its label numbers.
        abaw: own class name to ABAW name: what ``class_map=abaw`` stands for.
        dropped: how many images the reader passed over on purpose, by reason.
    """

    places: ClassVar[tuple[str, ...]] = ("root",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # there is nothing to build without somebody's images
    own: ClassVar[tuple[str, ...]]
    abaw: ClassVar[dict[str, str | None]]

    def __init__(self, listing: Listing, class_map: ClassMap) -> None:
        self.dropped = dict(listing.dropped)
        self._listing = listing
        self._map = class_map

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, mapped."""
        return self._map.classes

    @cached_property
    def frames(self) -> FrameTable:
        """One row an annotated image, in the order of the annotations.

        Raises:
            DataError: if a line of the annotation is wrong, an image is annotated twice, or none is there.
        """
        self._check()
        stills = self._listing.stills
        return FrameTable.of(
            [_text(still.clip) for still in stills],
            [still.number for still in stills],
            self._map.apply(np.array([still.label for still in stills], dtype=np.int64)),
            subject=[_text(still.subject) for still in stills],
            split=[still.split for still in stills],
            video=[_text(still.video) for still in stills],
        )

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """The images of some rows, RGB uint8 (H, W, 3); None where one is missing or broken."""
        return [self._listing.images.read(int(row)) for row in rows]

    def content(self) -> str:
        """Hash of the annotations; paths below the root and sizes in bytes."""
        return f"{self._listing.annotation}\n{self._listing.images.content()}"

    def where(self, row: int) -> str:
        """The file, and the line in it where it has lines."""
        return self._listing.images.where(row)

    def has_image(self) -> np.ndarray | None:
        """(N,) bool: which rows have a file with something in it; None where the pixels stand in a table."""
        return self._listing.images.there()

    def problems(self) -> Iterable[str]:
        """Each fault of the annotation, and each image that is missing or empty, with the line that names it."""
        yield from self._faults
        for row, problem in self._listing.images.problems():
            origin = self._listing.stills[row].origin
            yield f"{origin}: {problem}" if origin else problem

    @cached_property
    def _faults(self) -> list[str]:
        return [*self._listing.faults, *_twice(self._listing.stills)]

    def _check(self) -> None:
        name, images = type(self).__name__.lower(), self._listing.images
        if self._faults:
            more = f"; and {len(self._faults) - 1} more" if len(self._faults) > 1 else ""
            raise DataError(f"{name}: {self._faults[0]}{more}", hint="fusionkit data check lists all" if more else "")
        if not self._listing.stills:
            dropped = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
            raise DataError(f"{name}: no image is annotated{f' (passed over: {dropped})' if dropped else ''}")
        there = images.there()
        if there is not None and not there.any():
            raise DataError(f"{name}: none of the {len(there)} images is there, such as {images.where(0)}")


def root_folder(dataset: str, root: str, layout: str) -> Path:
    """The root as a path.

    Raises:
        DataError: if it is no folder.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        raise DataError(
            f"{dataset}: root {root!r} {'is not a folder' if top.exists() else 'does not exist'}", hint=layout
        )
    return top


def _twice(stills: Sequence[Still]) -> Iterator[str]:
    """An image must not be annotated twice."""
    first: dict[tuple[str, int], Still] = {}
    for still in stills:
        other = first.setdefault((still.clip, still.number), still)
        if other is not still:
            yield f"{still.origin or still.split}: {still.clip!r} is annotated at {other.origin or other.split} too"


def _text(name: str) -> str:
    """The name in valid Unicode: bytes of a file name that are not UTF-8 are written out."""
    return name.encode(errors="backslashreplace").decode()
