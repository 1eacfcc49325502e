"""Contract of a data set: a table of frames, and the images (or ready embeddings) of its rows."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.contracts.file_hash import file_hashes
from fusionkit.contracts.inputs import errors_of, read_only
from fusionkit.contracts.task import Labels
from fusionkit.errors import DataError

UNLABELLED = -1


@dataclass(frozen=True, eq=False)
class FrameTable:
    """The frames of a data set as columns of length N, ordered by clip and by frame number within a clip.

    Attributes:
        clip: (N,) str; name of a clip: the frames of one person in one video. A still image is a clip of one frame.
        number: (N,) int64; the frame's number in its clip, in frames. Gaps in it are gaps in time.
        label: (N,) int64 in ``-1 .. C-1``; -1 is unlabelled.
        subject: (N,) str; identifier of the person, empty if unknown.
        split: (N,) str in ``train``, ``val``, ``test``; all empty if the data set has no official split.
        video: (N,) str; the raw video of the clip, shared by all persons in it. Empty: the clip.
        rate: (N,) float64; frames per second of the clip, NaN if unknown. Frame numbers count frames at this rate.
    """

    clip: np.ndarray
    number: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    split: np.ndarray
    video: np.ndarray
    rate: np.ndarray

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
        rate: float | Sequence[float] | np.ndarray | None = None,
    ) -> FrameTable:
        """Build a table from plain columns. Optional columns are empty by default; ``rate`` may be one number."""
        blank = np.full(len(clip), "", dtype=np.str_)

        def text(column: Sequence[str] | np.ndarray | None) -> np.ndarray:
            return blank if column is None else np.asarray(column, dtype=np.str_)

        rates = np.asarray(np.nan if rate is None else rate, dtype=np.float64)

        return cls(
            clip=np.asarray(clip, dtype=np.str_),
            number=np.asarray(number, dtype=np.int64),
            label=np.asarray(label, dtype=np.int64),
            subject=text(subject),
            split=text(split),
            video=text(video),
            rate=rates if rates.ndim else np.full(len(clip), rates),
        )

    def __len__(self) -> int:
        return len(self.clip)

    @cached_property
    def unit(self) -> np.ndarray:
        """(N,) str: the unit that statistics resample: the subject if known, else the raw video, else the clip."""
        return np.where(self.subject != "", self.subject, np.where(self.video != "", self.video, self.clip))

    @cached_property
    def clip_index(self) -> np.ndarray:
        """(N,) int64: number of each frame's clip, from 0, in the order of the table."""
        return np.cumsum(np.r_[False, self.clip[1:] != self.clip[:-1]]) if len(self) else np.zeros(0, np.int64)

    def take(self, rows: np.ndarray) -> FrameTable:
        """Return the table of the given rows (indices or a mask), in that order."""
        return FrameTable(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    @cached_property
    def rates(self) -> str:
        """Hash of the rates of all frames (16 hex digits); empty if no rate is known."""
        known = ~np.isnan(self.rate).all()
        return hashlib.sha256(np.ascontiguousarray(self.rate, "<f8").tobytes()).hexdigest()[:16] if known else ""

    def digest(self) -> str:
        """Return the hash of every value in the table (16 hex digits), without rates: only smoothers use them."""
        state = hashlib.sha256()
        for item in (item for item in fields(self) if item.name != "rate"):
            column = getattr(self, item.name)
            if column.dtype.kind == "U":
                state.update("\n".join(column.tolist()).encode())
            else:
                state.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
            state.update(f"|{item.name}|{len(column)}|".encode())
        return state.hexdigest()[:16]


class FaceDataset(Component, ABC):
    """Faces with labels.

    A data set provides either images (implement :meth:`read`) or ready embeddings (set ``views`` and implement
    :meth:`embeddings`). For ready embeddings the kernel skips extractors and backbones.
    """

    kind: ClassVar[str] = "dataset"

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The C class names, in the order of the label numbers."""

    @property
    @abstractmethod
    def frames(self) -> FrameTable:
        """The table of all frames, including those without label or image. Compute it once."""

    def labels(self, task: str) -> Labels | None:
        """Return the labels of a task for all frames of the table, in its order; None if the data have none.

        Default: the classes and the column ``label`` for the task ``expression``, nothing for others.

        Args:
            task: name of the task, as registered.
        """
        return Labels(self.classes, self.frames.label) if task == "expression" else None

    def labels_hint(self, task: str) -> str:
        """Return how to get labels of a task that :meth:`labels` does not give, for messages; empty, the default."""
        return ""

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Read the images of some rows.

        Args:
            rows: (n,) int64, indices into the table, read-only.

        Returns:
            n images, each RGB uint8 of shape (H, W, 3) and of any size, or None if the frame has no readable image.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no images")

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the ready embeddings, for a data set without images."""
        return ()

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        """Return the ready embeddings of one view: (n, D) float32; a row of NaN is a missing view."""
        raise NotImplementedError(f"{type(self).__name__} gives no ready embeddings")

    def content(self) -> str:
        """Return what decides the images besides the table and the image files, as text: boxes, generator options.

        Leave out root paths: a copy of the data in another folder is the same data.
        """
        return ""

    def image_files(self, rows: np.ndarray) -> Iterable[str]:
        """Return the files that images of some rows are read from, in a fixed order; missing files are allowed.

        Their bytes are part of the identity of the data, their paths are not. A name that is no file does not count.
        Default: what :meth:`where` returns. Override it if that is not the file, or an image has several.

        Args:
            rows: (n,) int64, indices into the table.
        """
        return map(self.where, rows.tolist())

    def where(self, row: int) -> str:
        """Return the name of a row for messages: a file if there is one."""
        return f"clip {str(self.frames.clip[row])!r} frame {self.frames.number[row]}"

    def has_image(self) -> np.ndarray | None:
        """Return which rows have an image, (N,) bool, without reading images; None if only reading can tell."""
        return None

    def composed_of(self) -> np.ndarray | None:
        """Return the source rows of each composite frame: (N, S) int64, padded with -1; all -1 for a real frame.

        A composite frame is used for training if the units of all its sources are in train or in no part. It is never
        in dev or test. None: every frame is real.
        """
        return None

    def export(self, rows: np.ndarray) -> Export | None:
        """Return a layout for images of these rows that this kind of data set can read, for ``data views``.

        Args:
            rows: (n,) int64, ascending: frames of complete splits, train among them.

        Returns:
            The layout; None, the default, for one folder per class, as the data set ``folder`` reads it.
        """
        return None

    def problems(self) -> Iterable[str]:
        """Return every problem of the data, as ``path:line: problem`` if it is in a file, for ``data check``.

        It is called before the table is read, and must work where the table raises: that error may name only the first
        problems. Properties of the published data, such as frames without a crop, are no problems.
        """
        return ()

    # -- what the kernel calls -------------------------------------------------------------------------------------

    def table(self) -> FrameTable:
        """Return the checked table, with read-only columns.

        Raises:
            DataError: if columns differ in length, labels are out of range, a clip is out of order, or a frame repeats.
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
            raise DataError(f"{name}: the frames of a clip must be contiguous")
        wrong = np.flatnonzero(~change & (np.diff(frames.number) <= 0))
        if len(wrong):
            raise DataError(f"{name}: {self.where(int(wrong[0]) + 1)}: frame numbers must rise within a clip")
        self._check_rates(frames.rate, change)
        return FrameTable(**{item.name: read_only(getattr(frames, item.name)) for item in fields(frames)})

    def _check_rates(self, rate: np.ndarray, change: np.ndarray) -> None:
        bad = np.flatnonzero(~(np.isnan(rate) | (np.isfinite(rate) & (rate > 0))))
        if len(bad):
            where = self.where(int(bad[0]))
            raise DataError(f"{type(self).__name__}: {where}: rate {rate[bad[0]]:g} must be above 0, or NaN")
        known = np.nan_to_num(rate)
        wrong = np.flatnonzero(~change & (known[1:] != known[:-1]))
        if len(wrong):
            where = self.where(int(wrong[0]) + 1)
            raise DataError(f"{type(self).__name__}: {where}: the frames of a clip must have one rate")

    def task_labels(self, task: str) -> Labels | None:
        """Call :meth:`labels` and check its result.

        Raises:
            PluginError: if it fails.
            DataError: if names repeat, or the values do not have one row per frame and the right type.
        """
        with errors_of(f"data set {type(self).__name__}: labels of task {task}"):
            found = self.labels(task)
        if found is None:
            return None
        values, count = found.values, len(self.frames)
        where = f"{type(self).__name__}: labels of task {task}"
        if len(set(found.names)) != len(found.names):
            raise DataError(f"{where}: names repeat: {', '.join(found.names)}")
        if not isinstance(values, np.ndarray) or values.shape not in ((count,), (count, len(found.names))):
            shape = getattr(values, "shape", type(values).__name__)
            raise DataError(f"{where} are {shape}, not ({count},) or ({count}, {len(found.names)})")
        if values.ndim == 1 and values.dtype.kind not in "iu":
            raise DataError(f"{where} are {values.dtype}; one class per frame is a whole number")
        return Labels(found.names, read_only(values.astype(np.int64 if values.ndim == 1 else np.float32, copy=False)))

    def images(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Call :meth:`read` and check its result.

        Raises:
            PluginError: if it fails.
            DataError: if the count, type or shape of the images breaks the contract.
        """
        with errors_of(f"data set {type(self).__name__}"):
            images = self.read(read_only(rows))
        if len(images) != len(rows):
            raise DataError(f"{type(self).__name__}.read gave {len(images)} images for {len(rows)} rows")
        for row, image in zip(rows, images, strict=True):
            if image is not None and not _is_rgb(image):
                found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
                raise DataError(f"{type(self).__name__}: {self.where(int(row))} is {found}, not uint8 (H, W, 3)")
        return images

    def ready(self, view: str, rows: np.ndarray) -> np.ndarray:
        """Call :meth:`embeddings` and check its result.

        Raises:
            PluginError: if it fails.
            DataError: if shape or type breaks the contract.
        """
        with errors_of(f"data set {type(self).__name__}"):
            values: Any = self.embeddings(view, read_only(rows))
        if not isinstance(values, np.ndarray) or values.ndim != 2 or len(values) != len(rows):
            raise DataError(
                f"{type(self).__name__}: embeddings of view {view!r} must be (n, D) for {len(rows)} rows, "
                f"not {getattr(values, 'shape', type(values).__name__)}"
            )
        return values.astype(np.float32, copy=False)

    def fingerprint(
        self,
        rows: np.ndarray | None = None,
        hashes: Callable[[Iterable[str]], Iterator[bytes]] = file_hashes,
    ) -> str:
        """Return the identity of the data: hash of classes, table, content and image files (16 hex digits).

        Args:
            rows: (n,) int64, rows whose image files count. Default: all.
            hashes: function that yields the content hash of each file. Default: reads all of them.
        """
        table = self.table()
        text = "\n".join([type(self).__name__, *self.classes, table.digest(), self.content()])
        state = hashlib.sha256(text.encode())
        if type(self).read is not FaceDataset.read:
            for hash_ in hashes(self.image_files(np.arange(len(table)) if rows is None else rows)):
                state.update(hash_)
        return state.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Export:
    """A layout for n rows of a data set.

    Attributes:
        paths: path of each row's image below the new root, with ``/``. The suffix decides the format: ``.jpg``,
            ``.jpeg`` or ``.png``; any other suffix is replaced by ``.png``.
        annotated: (n,) bool: rows that an annotation file keeps in the table even without an image. For any other row
            without an image an empty file is written; otherwise the row would be lost silently.
        files: annotation files: path below the new root to the file that is copied there, byte for byte.
        options: options to read the new root with, where they differ from the source's; None: without that option.
            Options with the location of data are left out, and ``root`` is set.
    """

    paths: Sequence[str]
    annotated: np.ndarray
    files: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Layout(Protocol):
    """Writes a data set's images and labels in a layout."""

    def __call__(self, folder: Path, faces: FaceDataset, *, faults: bool) -> Iterator[int]:
        """Write all clips of all splits, the same bytes for the same faces.

        Args:
            folder: an empty folder. The caller renames it when all is written, or removes it.
            faces: the images, with labels and the splits train, val and test.
            faults: also write the faults of the real data, to test readers.

        Yields:
            The number of frames written since the last yield. They add up to the frames of ``faces``.

        Raises:
            DataError: if the faces do not fit the layout.
        """
        ...


def _is_rgb(image: Any) -> bool:
    """Return whether an image is uint8 (H, W, 3) with at least one pixel."""
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,) and image.size > 0
