"""A plan in words: each piece of work with its state and the reason why it will run, for ``--dry-run``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from fusionkit.grid.estimate import Stage, estimate
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import HeadWork, Plan
from fusionkit.grid.run import RunOptions
from fusionkit.grid.status import HeadStatus, TaskStatus, plan_status
from fusionkit.storage.embeddings import EmbeddingStore


def plan_lines(plan: Plan, folder: RunFolder, store: EmbeddingStore, options: RunOptions) -> Iterator[str]:
    """A line for each embedding, and for the heads and cells that differ in nothing but their seed or fold.

    After them what remains of each stage, how long it may take, and what to be careful of.
    """
    status = plan_status(plan, folder, store, retry_failed=options.retry_failed)
    yield f"run folder {folder.path}; data: {'; '.join(plan.data)}"
    for ahead in status.embeddings:
        yield f"embed {ahead.embedding}, {ahead.frames} frames of {ahead.source.spec}: {_state(ahead.status)}"
    places = _places(plan)
    folds = len({head.fold_data.fold.name for head in plan.heads.values()}) > 1
    heads = ((_head_name(ahead) + places[ahead.head.id], ahead.head, ahead.status) for ahead in status.heads)
    yield from _grouped("fit", heads, folds)
    cells = ((cell.row.axes.name + places[cell.head.id], cell.head, cell.status) for cell in status.cells)
    yield from _grouped("score", cells, folds)
    stages = estimate(status, folder, store, options)
    yield from map(_stage_line, stages)
    yield f"score: {sum(cell.status.runs for cell in status.cells)} of {len(status.cells)} cells remain"
    yield _total_line(stages)
    yield from (f"warning: {note}" for note in plan.notes)


def _state(status: TaskStatus) -> str:
    return f"{status.state}: {status.reason}" if status.reason else status.state


def _head_name(ahead: HeadStatus) -> str:
    head = ahead.head
    name = f"{','.join(head.embeddings)}/{head.fusion}"
    return f"{name} ({head.recipe})" if head.swept else name


def _places(plan: Plan) -> dict[str, str]:
    """What else stands beside the name of each head: of data set, extractor and backbone those that a grid compares."""
    axes = [row.axes for row in plan.rows]
    compared = [
        name for name in ("dataset", "extractor", "backbone") if len({getattr(each, name) for each in axes}) > 1
    ]
    return {
        head.id: "".join(f", {name} {getattr(row.axes, name)}" for name in compared)
        for row in plan.rows
        for head in row.heads
    }


def _grouped(stage: str, pieces: Iterable[tuple[str, HeadWork, TaskStatus]], folds: bool) -> Iterator[str]:
    """Neighbours that differ in nothing but seed and fold in one line; a stage that is all done in one, too."""
    found = list(pieces)
    if all(status == TaskStatus("done") for _, _, status in found):
        yield f"{stage}: all done"
        return
    for name, same in groupby(found, key=lambda piece: piece[0]):
        by_state: dict[str, list[HeadWork]] = {}
        for _, head, status in same:
            by_state.setdefault(_state(status), []).append(head)
        for state, heads in by_state.items():
            yield f"{stage} {name}, {_seeds(heads, folds)}: {state}"


def _seeds(heads: Sequence[HeadWork], folds: bool) -> str:
    """``seed 3``, ``seeds 0, 1, 2``, with the folds where there are several."""
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
        time = "unknown: nothing like it was run here"
    else:
        time = f"{'at least' if unknown else 'about'} {_duration(seconds)}"
    workers = max(stage.workers for stage in stages)
    return f"total: {time}, with {workers} worker{'s' * (workers > 1)}"


def _duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3.5 min``, ``2.1 h``; never less than ``0.1 s``."""
    if seconds < 60:
        return f"{max(seconds, 0.1):.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
