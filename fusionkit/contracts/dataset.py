"""The contract of a data set: a table of frames, and the images (or ready embeddings) of its rows."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.errors import DataError


@dataclass(frozen=True, eq=False)
class Export:
    """A layout for n rows of a data set.

    Attributes:
        paths: where each row's image goes, below the new root, with ``/``. The ending says in which format: ``.jpg``,
            ``.jpeg`` or ``.png``; in place of another one the image becomes a ``.png``.
        annotated: (n,) bool: rows that an annotation file keeps in the table when they have no image. In place of the
            image of another row an empty file is written: without it the row would be lost, and nobody would miss it.
        files: annotation, path below the new root to the file that is copied there, byte for byte.
        options: which options the new root is read with, other than those of the source; None: without that option.
            Those that say where data lie are left out anyway, and ``root`` is set.
    """

    paths: Sequence[str]
    annotated: np.ndarray
    files: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


UNLABELLED = -1


@dataclass(frozen=True, eq=False)
class FrameTable:
    """The frames of a data set as columns of one length N, ordered by clip and by frame number within a clip.

    Attributes:
        clip: (N,) str; the frames of one person in one video. A still image is a clip of one frame.
        number: (N,) int64; the frame's number in its clip, in frames. Gaps in it are gaps in time.
        label: (N,) int64 in ``-1 .. C-1``; -1 is unlabelled.
        subject: (N,) str; who it is, empty where that is unknown.
        split: (N,) str in ``train``, ``val``, ``test``; all empty where the data set has no official split.
        video: (N,) str; the raw video the clip was taken from; several people of one video share it. Empty: the clip.
    """

    clip: np.ndarray
    number: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    split: np.ndarray
    video: np.ndarray

    @classmethod
    def of(
        cls,
        clip: Sequence[str] | np.ndarray,
        number: Sequence[int] | np.ndarray,
        label: Sequence[int] | np.ndarray,
        *,
        subject: Sequence[str] | np.ndarray | None = None,
        split: Sequence[str] | np.ndarray | None = None,
        video: Sequence[str] | np.ndarray | None = None,
    ) -> FrameTable:
        """Build a table from plain columns; the optional ones are empty where they are not given."""
        blank = np.full(len(clip), "", dtype=np.str_)

        def text(column: Sequence[str] | np.ndarray | None) -> np.ndarray:
            return blank if column is None else np.asarray(column, dtype=np.str_)

        return cls(
            clip=np.asarray(clip, dtype=np.str_),
            number=np.asarray(number, dtype=np.int64),
            label=np.asarray(label, dtype=np.int64),
            subject=text(subject),
            split=text(split),
            video=text(video),
        )

    def __len__(self) -> int:
        return len(self.clip)

    @cached_property
    def unit(self) -> np.ndarray:
        """(N,) str: what statistics resample: the subject where known, else the raw video, else the clip."""
        return np.where(self.subject != "", self.subject, np.where(self.video != "", self.video, self.clip))

    def take(self, rows: np.ndarray) -> FrameTable:
        """The table of the given rows (indices or a mask), in that order."""
        return FrameTable(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def digest(self) -> str:
        """Hash of every value in the table (16 hex digits)."""
        state = hashlib.sha256()
        for item in fields(self):
            column = getattr(self, item.name)
            if column.dtype.kind == "U":
                state.update("\n".join(column.tolist()).encode())
            else:
                state.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
            state.update(f"|{item.name}|{len(column)}|".encode())
        return state.hexdigest()[:16]


class FaceDataset(Component, ABC):
    """Faces with labels.

    A data set gives either images (implement :meth:`read`) or ready embeddings (set ``views`` and implement
    :meth:`embeddings`); the kernel then skips extractors and backbones and fuses what it is given.
    """

    kind: ClassVar[str] = "dataset"

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The C class names, in the order of the label numbers."""

    @property
    @abstractmethod
    def frames(self) -> FrameTable:
        """The table of all frames, unlabelled ones and those without an image too. Computed once."""

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """The images of some rows.

        Args:
            rows: (n,) int64, indices into the table.

        Returns:
            n images, each RGB uint8 of shape (H, W, 3) and of any size, or None where the frame has no readable image.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no images")

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the ready embeddings, for a data set that has no images."""
        return ()

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        """Ready embeddings of one view: (n, D) float32; a row of NaN is a missing view."""
        raise NotImplementedError(f"{type(self).__name__} gives no ready embeddings")

    def content(self) -> str:
        """What decides the images besides the table, as text: relative paths and sizes, generator options.

        Never root paths: the same data elsewhere is the same data.
        """
        return ""

    def where(self, row: int) -> str:
        """How to name a row to a person: a file where there is one."""
        return f"clip {str(self.frames.clip[row])!r} frame {self.frames.number[row]}"

    def has_image(self) -> np.ndarray | None:
        """(N,) bool: which rows have an image to read, told without reading; None where only reading tells."""
        return None

    def composed_of(self) -> np.ndarray | None:
        """(N, S) int64: the rows that a made-up frame was made of, -1 where there are fewer; all -1 for a real one.

        A made-up frame is trained on where all units of these rows are in train or nowhere, and never chosen on or
        tested on. None: every frame is real.
        """
        return None

    def export(self, rows: np.ndarray) -> Export | None:
        """Where images of these rows go, so that this kind of data set reads them again; ``data views`` writes them.

        Args:
            rows: (n,) int64, rising: frames of whole splits, train among them.

        Returns:
            The layout; None, the default, for one folder a class, as the data set ``folder`` reads it.
        """
        return None

    def problems(self) -> Iterable[str]:
        """Everything that is wrong with the data, ``path:line: what`` where it is in a file; for ``data check``.

        It is asked before the table, and works where that raises: a table's error may name the first problems only.
        What belongs to the data as they are given out, such as frames without a crop, is no problem.
        """
        return ()

    # -- what the kernel calls -------------------------------------------------------------------------------------

    def table(self) -> FrameTable:
        """The checked table.

        Raises:
            DataError: if columns differ in length, labels are out of range, a clip is out of order or a frame is twice.
        """
        frames, name = self.frames, type(self).__name__
        lengths = {field.name: len(getattr(frames, field.name)) for field in fields(frames)}
        if len(set(lengths.values())) != 1:
            raise DataError(f"{name}: columns of the frame table differ in length: {lengths}")
        if len(frames) == 0:
            raise DataError(f"{name}: there are no frames")
        classes = self.classes
        if len(set(classes)) != len(classes):
            raise DataError(f"{name}: class names repeat: {', '.join(classes)}")
        bad = np.flatnonzero((frames.label < UNLABELLED) | (frames.label >= len(classes)))
        if len(bad):
            raise DataError(
                f"{name}: label {frames.label[bad[0]]} at {self.where(int(bad[0]))} is not in -1..{len(classes) - 1}"
            )
        unknown = sorted(set(np.unique(frames.split).tolist()) - {"", "train", "val", "test"})
        if unknown:
            raise DataError(f"{name}: split names must be train, val or test, not {', '.join(unknown)}")
        change = frames.clip[1:] != frames.clip[:-1]
        starts = np.flatnonzero(np.r_[True, change])
        if len(np.unique(frames.clip[starts])) != len(starts):
            raise DataError(f"{name}: the frames of a clip must stand together in the table")
        wrong = np.flatnonzero(~change & (np.diff(frames.number) <= 0))
        if len(wrong):
            raise DataError(f"{name}: {self.where(int(wrong[0]) + 1)}: frame numbers must rise within a clip")
        return frames

    def images(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """:meth:`read` with the result checked.

        Raises:
            DataError: if the count, type or shape of what was read is not as promised.
        """
        images = self.read(rows)
        if len(images) != len(rows):
            raise DataError(f"{type(self).__name__}.read gave {len(images)} images for {len(rows)} rows")
        for row, image in zip(rows, images, strict=True):
            if image is not None and not _is_rgb(image):
                found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
                raise DataError(f"{type(self).__name__}: {self.where(int(row))} is {found}, not uint8 (H, W, 3)")
        return images

    def ready(self, view: str, rows: np.ndarray) -> np.ndarray:
        """:meth:`embeddings` with the result checked.

        Raises:
            DataError: if shape or type are not as promised.
        """
        values: Any = self.embeddings(view, rows)
        if not isinstance(values, np.ndarray) or values.ndim != 2 or len(values) != len(rows):
            raise DataError(
                f"{type(self).__name__}: embeddings of view {view!r} must be (n, D) for {len(rows)} rows, "
                f"not {getattr(values, 'shape', type(values).__name__)}"
            )
        return values.astype(np.float32, copy=False)

    def fingerprint(self) -> str:
        """Hash of the classes, the table and the content (16 hex digits): the identity of the data."""
        text = "\n".join([type(self).__name__, *self.classes, self.table().digest(), self.content()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_rgb(image: Any) -> bool:
    """Whether it is uint8 (H, W, 3) with at least one pixel."""
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,) and image.size > 0


class Layout(Protocol):
    """Writes a data set's images and labels in a layout."""

    def __call__(self, folder: Path, faces: FaceDataset, *, faults: bool) -> Iterator[int]:
        """Write all clips of all splits, the same bytes for the same faces.

        Args:
            folder: empty; it is put in its place, or removed, by the caller.
            faces: the images, with labels and the splits train, val and test.
            faults: write what is wrong in the real data too, so that readers can be tried.

        Yields:
            How many frames were done since last time, now and then; they add up to the frames of ``faces``.

        Raises:
            DataError: if the faces do not fit the layout.
        """
        ...
