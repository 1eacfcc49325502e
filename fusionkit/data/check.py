"""Counts and problems of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from rich.table import Table

from fusionkit.contracts.dataset import UNLABELLED, FaceDataset, FrameTable
from fusionkit.errors import DataError
from fusionkit.grid.progress import Progress

_BATCH = 64
_ALL = "all"
_MANY = 10  # classes of one frame each from which the folders are doubted
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split, or of the whole data set.

    Attributes:
        name: name of the split; ``all`` for the whole.
        counts: labelled frames of each class.
        units: number of units (subjects or videos), which statistics resample.
        clips: number of clips.
        frames: number of frames.
        imageless: labelled frames without an image; None if unknown.
        gaps: number of jumps in the frame numbers of a clip.
        longest_gap: frames missing at the longest gap.
    """

    name: str
    counts: tuple[int, ...]
    units: int
    clips: int
    frames: int
    imageless: int | None
    gaps: int
    longest_gap: int

    @property
    def labelled(self) -> int:
        """Number of labelled frames."""
        return sum(self.counts)


@dataclass(frozen=True)
class DataCheck:
    """Result of a check.

    Attributes:
        classes: class names.
        splits: counts of each split, then of the whole; empty if the table is invalid.
        problems: one line each.
    """

    classes: tuple[str, ...]
    splits: tuple[SplitCounts, ...] = ()
    problems: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """Return the counts as a table with a column per split."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("labelled frames", no_wrap=True, min_width=15)
        for split in self.splits:
            table.add_column(split.name, justify="right", no_wrap=True)
        for index, name in enumerate(self.classes):
            table.add_row(name, *(_with_share(split.counts[index], split.labelled) for split in self.splits))
        table.add_section()
        lines: dict[str, Callable[[SplitCounts], str]] = {
            "labelled": lambda split: f"{split.labelled:,}",
            "without image": lambda split: (
                "?" if split.imageless is None else _with_share(split.imageless, split.labelled)
            ),
            "unlabelled": lambda split: f"{split.frames - split.labelled:,}",
            "frames": lambda split: f"{split.frames:,}",
            "clips": lambda split: f"{split.clips:,}",
            "units": lambda split: f"{split.units:,}",
            "gaps": lambda split: f"{split.gaps:,}",
            "longest gap": lambda split: f"{split.longest_gap:,}",
        }
        for name, line in lines.items():
            table.add_row(name, *map(line, self.splits))
        return table


def check_data(dataset: FaceDataset, *, read: bool, progress: Progress) -> DataCheck:
    """Count what a data set holds and collect its problems.

    Args:
        dataset: data set to check.
        read: decode every image; otherwise rely on :meth:`FaceDataset.has_image`.
        progress: receives the number of frames read.
    """
    problems = list(dataset.problems())
    try:
        table = dataset.table()
    except DataError as error:
        # The problems of the data set are listed line by line; its error would repeat them.
        return DataCheck(dataset.classes, (), problems or [str(error)])
    available = dataset.has_image()
    if read:
        with progress.stage("read", len(table), "frames"):
            decoded = _decode_all(dataset, len(table), progress)
        broken = np.flatnonzero(available & ~decoded) if available is not None else ()
        problems += [f"{dataset.where(int(row))}: cannot be decoded" for row in broken]
        available = decoded
    problems += _units_in_several_splits(table)
    names = [name for name in ("", *_SPLITS) if (table.split == name).any()]
    splits = [_counts(name or "no split", table, table.split == name, dataset.classes, available) for name in names]
    if len(splits) > 1:
        splits.append(_counts(_ALL, table, np.ones(len(table), bool), dataset.classes, available))
    train = next((split for split in splits if split.name == "train"), splits[-1])
    problems += _singles(train)
    problems += [
        f"class {name!r} has no labelled frame in {train.name}"
        for name, count in zip(dataset.classes, train.counts, strict=True)
        if not count
    ]
    return DataCheck(dataset.classes, tuple(splits), problems)


def _decode_all(dataset: FaceDataset, count: int, progress: Progress) -> np.ndarray:
    """Return (N,) bool: rows with a readable image, or with every ready-made embedding."""
    decoded = np.zeros(count, bool)
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count))
        if dataset.views:
            decoded[rows] = np.all([~np.isnan(dataset.ready(view, rows)).any(1) for view in dataset.views], axis=0)
        else:
            decoded[rows] = [image is not None for image in dataset.images(rows)]
        progress.advance(len(rows))
    return decoded


def _counts(
    name: str, table: FrameTable, mask: np.ndarray, classes: tuple[str, ...], available: np.ndarray | None
) -> SplitCounts:
    label, clip = table.label[mask], table.clip[mask]
    labelled = label != UNLABELLED
    jump = np.diff(table.number[mask])[clip[1:] == clip[:-1]]
    return SplitCounts(
        name,
        counts=tuple(np.bincount(label[labelled], minlength=len(classes)).tolist()),
        units=len(np.unique(_runs(table.unit[mask]))),
        clips=int((clip[1:] != clip[:-1]).sum()) + 1,
        frames=len(label),
        imageless=None if available is None else int((labelled & ~available[mask]).sum()),
        gaps=int((jump > 1).sum()),
        longest_gap=int(jump.max(initial=1)) - 1,
    )


def _units_in_several_splits(table: FrameTable) -> Iterator[str]:
    """Yield a problem per unit that is in several splits: training on test units inflates scores."""
    pairs = np.unique(_runs(np.stack([table.unit, table.split])), axis=1)
    units, counts = np.unique(pairs[0], return_counts=True)
    for unit in units[counts > 1]:
        yield f"unit {str(unit)!r} is in several splits: {', '.join(pairs[1][pairs[0] == unit].tolist())}"


def _singles(split: SplitCounts) -> Iterator[str]:
    """Yield a problem if most classes have one labelled frame: their names are rather those of images or people."""
    used = [count for count in split.counts if count]
    single = sum(count == 1 for count in used)
    if len(used) >= _MANY and 2 * single > len(used):
        yield (
            f"{single:,} of {len(used):,} classes have a single labelled frame in {split.name}: the folders are "
            "probably not those of classes (folder: label=REGEX reads the class from the file name)"
        )


def _runs(columns: np.ndarray) -> np.ndarray:
    """Return the first of each run of equal values, (..., N) to (..., n), so that fewer strings are sorted."""
    change = columns[..., 1:] != columns[..., :-1]
    first: np.ndarray = columns[..., np.r_[True, change if columns.ndim == 1 else change.any(0)]]
    return first


def _with_share(count: int, whole: int) -> str:
    return f"{count:,} {100 * count / whole:4.1f} %" if whole else f"{count:,}"
