"""Counts and problems of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from rich.table import Table

from fusionkit.contracts.dataset import FaceDataset, FrameTable
from fusionkit.contracts.task import Task
from fusionkit.errors import DataError
from fusionkit.grid.progress import Progress
from fusionkit.registry import TASKS

_BATCH = 64
_ALL = "all"
_MANY = 10  # classes of one frame each from which the folders are doubted
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class TaskCounts:
    """Counts of the labels of one task in one split, or in the whole data set.

    Attributes:
        task: name of the task.
        parts: classes, action units or dimensions.
        counts: frames by which each part can be scored: those of a class, with an active unit, or with a value.
        labelled: number of labelled frames.
        imageless: labelled frames without an image; None if unknown.
    """

    task: str
    parts: tuple[str, ...]
    counts: tuple[int, ...]
    labelled: int
    imageless: int | None


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split, or of the whole data set.

    Attributes:
        name: name of the split; ``all`` for the whole.
        tasks: counts of each task that the data set has labels of.
        units: number of units (subjects or videos), which statistics resample.
        clips: number of clips.
        frames: number of frames.
        gaps: number of jumps in the frame numbers of a clip.
        longest_gap: frames missing at the longest gap.
    """

    name: str
    tasks: tuple[TaskCounts, ...]
    units: int
    clips: int
    frames: int
    gaps: int
    longest_gap: int


@dataclass(frozen=True)
class DataCheck:
    """Result of a check.

    Attributes:
        splits: counts of each split, then of the whole; empty if the table is invalid.
        problems: one line each.
    """

    splits: tuple[SplitCounts, ...] = ()
    problems: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """Return the counts as a table with a column per split."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("labelled frames", no_wrap=True, min_width=15)
        for split in self.splits:
            table.add_column(split.name, justify="right", no_wrap=True)
        of_tasks = list(zip(*(split.tasks for split in self.splits), strict=True))
        for found in of_tasks:
            if len(of_tasks) > 1:
                table.add_row(f"[bold]{found[0].task}[/bold]")
            for index, name in enumerate(found[0].parts):
                table.add_row(name, *(_with_share(each.counts[index], each.labelled) for each in found))
            table.add_section()
            unlabelled = [split.frames - each.labelled for split, each in zip(self.splits, found, strict=True)]
            table.add_row("labelled", *(f"{each.labelled:,}" for each in found))
            table.add_row("without image", *map(_imageless, found))
            table.add_row("unlabelled", *(f"{count:,}" for count in unlabelled))
            if len(of_tasks) > 1:
                table.add_section()
        lines: dict[str, Callable[[SplitCounts], str]] = {
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
        return DataCheck((), problems or [str(error)])
    available = dataset.has_image()
    if read:
        with progress.stage("read", len(table), "frames"):
            decoded = _decode_all(dataset, len(table), progress)
        broken = np.flatnonzero(available & ~decoded) if available is not None else ()
        problems += [f"{dataset.where(int(row))}: cannot be decoded" for row in broken]
        available = decoded
    problems += _units_in_several_splits(table)
    names = [name for name in ("", *_SPLITS) if (table.split == name).any()]
    masks = {name or "no split": table.split == name for name in names}
    if len(masks) > 1:
        masks[_ALL] = np.ones(len(table), bool)
    labels, wrong = _labels(dataset)
    problems += [problem for problem in wrong if problem not in problems]
    splits = [_counts(name, table, mask, labels, available) for name, mask in masks.items()]
    train = next((split for split in splits if split.name == "train"), splits[-1])
    problems += [problem for problem in _of_classes(train, labels) if problem not in problems]
    return DataCheck(tuple(splits), problems)


def _labels(dataset: FaceDataset) -> tuple[dict[str, tuple[Task, np.ndarray]], list[str]]:
    """Return each task that the data set has labels of, with the labels; and a problem for each that is refused."""
    found: dict[str, tuple[Task, np.ndarray]] = {}
    problems = []
    for name in sorted(TASKS.names(), key=lambda name: (name != "expression", name)):
        try:
            labels = dataset.task_labels(name)
        except DataError as error:
            problems.append(f"task {name}: {error}")
            continue
        if labels is not None:
            task: Task = TASKS.build(name, names=labels.names)
            if problem := task.problem(labels.values):
                problems.append(f"task {name}: {problem}")
            else:
                found[name] = task, labels.values
    return found, problems


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
    name: str,
    table: FrameTable,
    mask: np.ndarray,
    labels: Mapping[str, tuple[Task, np.ndarray]],
    available: np.ndarray | None,
) -> SplitCounts:
    clip = table.clip[mask]
    jump = np.diff(table.number[mask])[clip[1:] == clip[:-1]]
    return SplitCounts(
        name,
        tasks=tuple(_of_task(name, task, values, mask, available) for name, (task, values) in labels.items()),
        units=len(np.unique(_runs(table.unit[mask]))),
        clips=int((clip[1:] != clip[:-1]).sum()) + 1,
        frames=len(clip),
        gaps=int((jump > 1).sum()),
        longest_gap=int(jump.max(initial=1)) - 1,
    )


def _of_task(name: str, task: Task, values: np.ndarray, mask: np.ndarray, available: np.ndarray | None) -> TaskCounts:
    rows = np.flatnonzero(mask & task.labelled(values))
    support = task.frames_of_parts(values[rows])
    imageless = None if available is None else int((~available[rows]).sum())
    return TaskCounts(name, task.names, tuple(map(int, support.tolist())), len(rows), imageless)


def _units_in_several_splits(table: FrameTable) -> Iterator[str]:
    """Yield a problem per unit that is in several splits: training on test units inflates scores."""
    pairs = np.unique(_runs(np.stack([table.unit, table.split])), axis=1)
    units, counts = np.unique(pairs[0], return_counts=True)
    for unit in units[counts > 1]:
        yield f"unit {str(unit)!r} is in several splits: {', '.join(pairs[1][pairs[0] == unit].tolist())}"


def _of_classes(split: SplitCounts, labels: Mapping[str, tuple[Task, np.ndarray]]) -> Iterator[str]:
    """Yield a problem for each class without labelled frame, of tasks with one class per frame.

    If most classes have one labelled frame, their names are rather those of images or people: a problem too.
    """
    for found in split.tasks:
        if not labels[found.task][0].exclusive:
            continue
        used = [count for count in found.counts if count]
        single = sum(count == 1 for count in used)
        if len(used) >= _MANY and 2 * single > len(used):
            yield (
                f"{single:,} of {len(used):,} classes have a single labelled frame in {split.name}: the folders are "
                "probably not those of classes (folder: label=REGEX reads the class from the file name)"
            )
        for name, count in zip(found.parts, found.counts, strict=True):
            if not count:
                yield f"class {name!r} has no labelled frame in {split.name}"


def _runs(columns: np.ndarray) -> np.ndarray:
    """Return the first of each run of equal values, (..., N) to (..., n), so that fewer strings are sorted."""
    change = columns[..., 1:] != columns[..., :-1]
    first: np.ndarray = columns[..., np.r_[True, change if columns.ndim == 1 else change.any(0)]]
    return first


def _imageless(found: TaskCounts) -> str:
    return "?" if found.imageless is None else _with_share(found.imageless, found.labelled)


def _with_share(count: int, whole: int) -> str:
    return f"{count:,} {100 * count / whole:4.1f} %" if whole else f"{count:,}"
