"""Output of ``--dry-run``: state of each embedding, head and cell, and an estimate of the remaining time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from fusionkit.grid.estimate import Stage, estimate
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import HeadWork, Plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.run import RunOptions
from fusionkit.grid.status import HeadStatus, TaskStatus, plan_status
from fusionkit.report.row_names import varying
from fusionkit.report.table import random_weights_warnings
from fusionkit.report.versions import planned_version_warnings
from fusionkit.storage.embeddings import EmbeddingStore


def plan_lines(
    plan: Plan, folder: RunFolder, store: EmbeddingStore, options: RunOptions, progress: Progress | None = None
) -> Iterator[str]:
    """Yield a line per embedding, and per group of heads or cells that differ only in seed and fold.

    Then follow the remaining work of each stage with its estimated time, and warnings.

    Args:
        plan: plan of the grid.
        folder: run folder, for finished work and failures.
        store: embedding cache.
        options: options of the run.
        progress: receives checked heads and rows.
    """
    status = plan_status(plan, folder, store, retry_failed=options.retry_failed, progress=progress)
    yield f"run folder {folder.path}; data: {'; '.join(plan.data)}"
    for each in status.embeddings:
        yield f"embed {each.embedding}, {each.frames} frames of {each.source.spec}: {_state(each.status)}"
    suffixes = _name_suffixes(plan)
    folds = len({head.fold_data.fold.name for head in plan.heads.values()}) > 1
    heads = ((_head_name(each) + suffixes[each.head.id], each.head, each.status) for each in status.heads)
    yield from _grouped("fit", heads, folds)
    cells = ((cell.row.axes.name + suffixes[cell.head.id], cell.head, cell.status) for cell in status.cells)
    yield from _grouped("score", cells, folds)
    stages = estimate(status, folder, store, options)
    yield from map(_stage_line, stages)
    yield f"score: {sum(cell.status.runs for cell in status.cells)} of {len(status.cells)} cells remain"
    yield _total_line(stages)
    yield from (f"note: {note}" for note in plan.backbone_notes)
    yield from (f"warning: {note}" for note in plan.notes)
    yield from (f"warning: {line}" for line in random_weights_warnings(row.random_backbones for row in plan.rows))
    yield from (f"warning: {line}" for line in planned_version_warnings(status, folder, store))


def _state(status: TaskStatus) -> str:
    return f"{status.state}: {status.reason}" if status.reason else status.state


def _head_name(status: HeadStatus) -> str:
    head = status.head
    name = f"{','.join(head.embeddings)}/{head.fusion}"
    return f"{name} ({head.recipe})" if head.swept else name


def _name_suffixes(plan: Plan) -> dict[str, str]:
    """Return by head the data set, extractor and backbone, where the grid compares several."""
    compared = varying((row.axes for row in plan.rows), ("dataset", "extractor", "backbone"))
    return {
        head.id: "".join(f", {name} {getattr(row.axes, name)}" for name in compared)
        for row in plan.rows
        for head in row.heads
    }


def _grouped(stage: str, tasks: Iterable[tuple[str, HeadWork, TaskStatus]], folds: bool) -> Iterator[str]:
    """Yield a line per group of neighbours that differ only in seed and fold; one line if all are done."""
    listed = list(tasks)
    if all(status == TaskStatus("done") for _, _, status in listed):
        yield f"{stage}: all done"
        return
    for name, same in groupby(listed, key=lambda task: task[0]):
        by_state: dict[str, list[HeadWork]] = {}
        for _, head, status in same:
            by_state.setdefault(_state(status), []).append(head)
        for state, heads in by_state.items():
            yield f"{stage} {name}, {_seeds(heads, folds)}: {state}"


def _seeds(heads: Sequence[HeadWork], folds: bool) -> str:
    """Format ``seed 3`` or ``seeds 0, 1, 2``, with the folds if there are several."""
    seeds = list(dict.fromkeys(head.seed for head in heads))
    text = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    names = list(dict.fromkeys(head.fold_data.fold.name for head in heads))
    return f"{text}, {', '.join(names)}" if folds else text


def _stage_line(stage: Stage) -> str:
    line = f"{stage.name}: {stage.remaining} of {stage.total} {stage.unit} remain"
    parts = [f"about {_duration(stage.wall_seconds)}"] if stage.seconds else []
    parts += [f"unknown ({'; '.join(stage.unknown)})"] if stage.unknown else []
    return f"{line}, {' and '.join(parts)}" if parts else line


def _total_line(stages: Sequence[Stage]) -> str:
    if not any(stage.remaining for stage in stages):
        return "total: nothing to embed or train"
    seconds = sum(stage.wall_seconds for stage in stages)
    unknown = any(stage.unknown for stage in stages)
    if not seconds:
        time = "unknown: no comparable task was run on this machine"
    else:
        time = f"{'at least' if unknown else 'about'} {_duration(seconds)}"
    workers = max(stage.workers for stage in stages)
    return f"total: {time}, with {workers} worker{'s' * (workers > 1)}"


def _duration(seconds: float) -> str:
    """Format ``0.4 s``, ``12 s``, ``3.5 min`` or ``2.1 h``, at least ``0.1 s``."""
    if seconds < 60:
        return f"{max(seconds, 0.1):.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
