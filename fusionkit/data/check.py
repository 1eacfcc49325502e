"""What a data set holds and what is wrong with it, before hours are spent on it."""

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
_ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class Part:
    """One split, or all of them: what it holds.

    Attributes:
        name: of the split; ``all`` for the whole.
        counts: labelled frames of each class.
        units: what statistics resample.
        clips: number of clips.
        frames: number of frames.
        imageless: labelled frames without an image; None where nobody looked.
        gaps: places where frame numbers jump.
        longest_gap: most frames that such a place lacks.
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
        """Frames with a label."""
        return sum(self.counts)


@dataclass(frozen=True)
class DataCheck:
    """What was found.

    Attributes:
        classes: names.
        parts: the splits, then the whole; empty where the table is not sound.
        problems: a line each.
    """

    classes: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    problems: list[str] = field(default_factory=list)


def check_data(dataset: FaceDataset, *, read: bool, progress: Progress) -> DataCheck:
    """DetectionOptions through a data set.

    Args:
        dataset: the data set.
        read: decode every image; else only what the data set knows without reading counts.
        progress: told of the reading.
    """
    problems = list(dataset.problems())
    try:
        table = dataset.table()
    except DataError as error:
        # The data set's own problems say it line by line; its error would say it again.
        return DataCheck(dataset.classes, (), problems or [str(error)])
    there = dataset.has_image()
    if read:
        with progress.stage("read", len(table), "frames"):
            found = _read_all(dataset, len(table), progress)
        broken = np.flatnonzero(there & ~found) if there is not None else ()
        problems += [f"{dataset.where(int(row))}: cannot be decoded" for row in broken]
        there = found
    problems += _in_several_splits(table)
    splits = [name for name in ("", *_ORDER) if (table.split == name).any()]
    parts = [_part(name or "no split", table, table.split == name, dataset.classes, there) for name in splits]
    if len(parts) > 1:
        parts.append(_part(_ALL, table, np.ones(len(table), bool), dataset.classes, there))
    learned = next((part for part in parts if part.name == "train"), parts[-1])
    problems += _absent_classes(dataset.classes, learned)
    return DataCheck(dataset.classes, tuple(parts), problems)


def _read_all(dataset: FaceDataset, count: int, progress: Progress) -> np.ndarray:
    """(N,) bool: which rows have an image that can be read, or every ready embedding."""
    found = np.zeros(count, bool)
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count))
        if dataset.views:
            found[rows] = np.all([~np.isnan(dataset.ready(view, rows)).any(1) for view in dataset.views], axis=0)
        else:
            found[rows] = [image is not None for image in dataset.images(rows)]
        progress.advance(len(rows))
    return found


def _part(name: str, table: FrameTable, mask: np.ndarray, classes: tuple[str, ...], there: np.ndarray | None) -> Part:
    label, clip = table.label[mask], table.clip[mask]
    labelled = label != UNLABELLED
    jump = np.diff(table.number[mask])[clip[1:] == clip[:-1]]
    return Part(
        name,
        counts=tuple(np.bincount(label[labelled], minlength=len(classes)).tolist()),
        units=len(np.unique(_runs(table.unit[mask]))),
        clips=int((clip[1:] != clip[:-1]).sum()) + 1,
        frames=len(label),
        imageless=None if there is None else int((labelled & ~there[mask]).sum()),
        gaps=int((jump > 1).sum()),
        longest_gap=int(jump.max(initial=1)) - 1,
    )


def _runs(columns: np.ndarray) -> np.ndarray:
    """(..., N) to (..., n): the first of each run of equal values, so that only a few strings need sorting."""
    change = columns[..., 1:] != columns[..., :-1]
    started: np.ndarray = columns[..., np.r_[True, change if columns.ndim == 1 else change.any(0)]]
    return started


def _in_several_splits(table: FrameTable) -> Iterator[str]:
    """Units of more than one split: who is trained on and tested makes numbers look better than they are."""
    pairs = np.unique(_runs(np.stack([table.unit, table.split])), axis=1)
    units, counts = np.unique(pairs[0], return_counts=True)
    for unit in units[counts > 1]:
        yield f"unit {str(unit)!r} is in several splits: {', '.join(pairs[1][pairs[0] == unit].tolist())}"


def _absent_classes(classes: tuple[str, ...], learned: Part) -> Iterator[str]:
    """What the part that heads are trained on lacks: it cannot be learned."""
    for name, count in zip(classes, learned.counts, strict=True):
        if not count:
            yield f"class {name!r} has no labelled frame in {learned.name}"


def data_table(check: DataCheck) -> Table:
    """Classes and what else there is to count, a column a split."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("labelled frames", no_wrap=True, min_width=15)
    for part in check.parts:
        table.add_column(part.name, justify="right", no_wrap=True)
    for place, name in enumerate(check.classes):
        table.add_row(name, *(_share(part.counts[place], part.labelled) for part in check.parts))
    table.add_section()
    facts: dict[str, Callable[[Part], str]] = {
        "labelled": lambda part: f"{part.labelled:,}",
        "without image": lambda part: "?" if part.imageless is None else _share(part.imageless, part.labelled),
        "unlabelled": lambda part: f"{part.frames - part.labelled:,}",
        "frames": lambda part: f"{part.frames:,}",
        "clips": lambda part: f"{part.clips:,}",
        "units": lambda part: f"{part.units:,}",
        "gaps": lambda part: f"{part.gaps:,}",
        "longest gap": lambda part: f"{part.longest_gap:,}",
    }
    for name, fact in facts.items():
        table.add_row(name, *map(fact, check.parts))
    return table


def _share(count: int, whole: int) -> str:
    return f"{count:,} {100 * count / whole:4.1f} %" if whole else f"{count:,}"
