"""Estimate: how long the work ahead will take, by what the same work took before, in this folder and this cache."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from fusionkit.engine.embed import shared_backbone
from fusionkit.grid.executors import visible_gpus, workers_on
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.run import RunOptions
from fusionkit.grid.status import EmbeddingStatus, HeadStatus, PlanStatus
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.identity import canonical
from fusionkit.storage.record import Record


@dataclass(frozen=True)
class Stage:
    """What is ahead of one stage.

    Attributes:
        name: ``embed``, ``fit``.
        unit: what is counted.
        remaining: how many of ``total`` a run would do; frames count once a view.
        seconds: what those of known cost take one process, together.
        unknown: a line for each kind of work that nothing is known of: how much of it there is.
        workers: how many processes can share the work.
    """

    name: str
    unit: str
    remaining: int
    total: int
    seconds: float
    unknown: tuple[str, ...]
    workers: int

    @property
    def wall_seconds(self) -> float:
        """How long its known part takes."""
        return self.seconds / max(self.workers, 1)


def estimate(status: PlanStatus, folder: RunFolder, store: EmbeddingStore, options: RunOptions) -> tuple[Stage, Stage]:
    """Embedding and fitting; scoring takes moments. Past costs are looked up only for what remains."""
    embeddings = [ahead for ahead in status.embeddings if ahead.remaining]
    heads = [ahead for ahead in status.heads if ahead.status.runs]
    pace = _paces(store.metas()) if embeddings else {}
    costs = _fit_costs(folder.infos("heads")) if heads else {}
    shards = {(id(ahead.source), ahead.embedding.extractor, index) for ahead in embeddings for index in ahead.missing}
    known = [pace.get(_embedder(ahead.embedding.record)) for ahead in embeddings]
    fits = [_fit_cost(costs, ahead.head.record) for ahead in heads]
    return (
        Stage(
            name="embed",
            unit="frames",
            remaining=sum(ahead.remaining for ahead in embeddings),
            total=sum(ahead.frames for ahead in status.embeddings),
            seconds=sum(ahead.remaining * each for ahead, each in zip(embeddings, known, strict=True) if each),
            unknown=tuple(
                _unknown_embedding([ahead for ahead, each in zip(embeddings, known, strict=True) if each is None])
            ),
            workers=min(_workers(options, embedding=True), len(shards)),
        ),
        Stage(
            name="fit",
            unit="heads",
            remaining=len(heads),
            total=len(status.heads),
            seconds=sum(each for each in fits if each),
            unknown=tuple(_unknown_heads([ahead for ahead, each in zip(heads, fits, strict=True) if each is None])),
            workers=min(_workers(options, embedding=False), len(heads)),
        ),
    )


def _workers(options: RunOptions, *, embedding: bool) -> int:
    if options.executor == "serial":
        return 1
    return workers_on(visible_gpus(options.device), options.workers, os.cpu_count() or 1, embedding=embedding)


def _paces(notes: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds a frame by who embeds: the median of what was noted."""
    found: dict[str, list[float]] = {}
    for note in notes:
        if note.get("record") and note.get("seconds") is not None and note.get("rows"):
            found.setdefault(_embedder(note["record"]), []).append(note["seconds"] / note["rows"])
    return {name: median(values) for name, values in found.items()}


def _embedder(record: Record) -> str:
    """A backbone with its options, where and how it computes; or the data set that brings the view ready-made."""
    backbone = record.get("backbone")
    if not backbone:
        return canonical(["ready", record["data"]["name"]])
    how = [record.get(name) for name in ("tokens", "precision", "device")]
    return canonical([backbone["name"], backbone["options"], *how])


def _fit_costs(notes: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds a head: by fusion, and by fusion, views and recipe together; medians."""
    found: dict[str, list[float]] = {}
    for note in notes:
        seconds = note["cost"].get("fit_seconds")
        if note.get("record") and seconds is not None:
            for name in _like(note["record"]):
                found.setdefault(name, []).append(seconds)
    return {name: median(values) for name, values in found.items()}


def _fit_cost(costs: Mapping[str, float], record: Record) -> float | None:
    return next((costs[name] for name in _like(record) if name in costs), None)


def _like(record: Record) -> tuple[str, str]:
    """What a head's cost is known by, the nearer likeness first."""
    fusion = [record["fusion"]["name"], record["fusion"]["options"], record["device"]]
    return canonical([*fusion, list(record["views"]), record["recipe"]]), canonical(fusion)


def _unknown_embedding(ahead: Iterable[EmbeddingStatus]) -> Iterator[str]:
    frames: dict[str, int] = {}
    work: dict[str, float] = {}
    for each in ahead:
        backbone = each.embedding.backbone
        name = f"backbone {backbone}" if backbone else f"ready embeddings of {each.source.spec}"
        frames[name] = frames.get(name, 0) + each.remaining
        work[name] = shared_backbone(backbone).cost()[1] if backbone else 0.0
    for name, count in frames.items():
        gflop = work[name]
        product = f"{gflop:.3g} GFLOP x {count} frames = {gflop * count:.3g} GFLOP" if gflop else f"{count} frames"
        yield f"{name}: {product}"


def _unknown_heads(ahead: Iterable[HeadStatus]) -> Iterator[str]:
    counts: dict[str, int] = {}
    for each in ahead:
        name = f"fusion {each.head.fusion}"
        counts[name] = counts.get(name, 0) + 1
    yield from (f"{name}: {count} head{'s' * (count > 1)}" for name, count in counts.items())
