"""Estimate the time of the remaining work from the times of similar work in the run folder and the cache."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from fusionkit.engine.embed import backbone_fact
from fusionkit.grid.executors import free_gpu_memory, visible_gpus, workers_on
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.run import RunOptions
from fusionkit.grid.status import EmbeddingStatus, HeadStatus, PlanStatus
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.identity import canonical
from fusionkit.storage.record import Record


@dataclass(frozen=True)
class Stage:
    """Remaining work of one stage.

    Attributes:
        name: ``embed`` or ``fit``.
        unit: ``frames`` or ``heads``.
        remaining: number of units that a run would do; frames count per view.
        total: number of units of the plan.
        seconds: of one process, for the units of known cost.
        unknown: a line per kind of work of unknown cost, with its amount.
        workers: number of processes that can share the work.
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
        """Duration of the part of known cost."""
        return self.seconds / max(self.workers, 1)


def estimate(status: PlanStatus, folder: RunFolder, store: EmbeddingStore, options: RunOptions) -> tuple[Stage, Stage]:
    """Return the remaining work of embedding and of fitting; scoring takes moments."""
    embeddings = [each for each in status.embeddings if each.remaining]
    heads = [each for each in status.heads if each.status.runs]
    return _embedding(embeddings, status, store, options), _fitting(heads, status, folder, options)


def _embedding(
    remaining: list[EmbeddingStatus], status: PlanStatus, store: EmbeddingStore, options: RunOptions
) -> Stage:
    costs = _frame_costs(store.metas()) if remaining else {}
    seconds = [costs.get(_embedder(each.embedding.record)) for each in remaining]
    shards = {(id(each.source), each.embedding.extractor, index) for each in remaining for index in each.missing}
    return Stage(
        name="embed",
        unit="frames",
        remaining=sum(each.remaining for each in remaining),
        total=sum(each.frames for each in status.embeddings),
        seconds=sum(each.remaining * cost for each, cost in zip(remaining, seconds, strict=True) if cost),
        unknown=tuple(_unknown_embeddings(each for each, cost in zip(remaining, seconds, strict=True) if cost is None)),
        workers=min(_workers(options, embedding=True), len(shards)),
    )


def _fitting(remaining: list[HeadStatus], status: PlanStatus, folder: RunFolder, options: RunOptions) -> Stage:
    costs = _head_costs(folder.infos("heads")) if remaining else {}
    seconds = [_head_cost(costs, each.head.record) for each in remaining]
    return Stage(
        name="fit",
        unit="heads",
        remaining=len(remaining),
        total=len(status.heads),
        seconds=sum(cost for cost in seconds if cost),
        unknown=tuple(_unknown_heads(each for each, cost in zip(remaining, seconds, strict=True) if cost is None)),
        workers=min(_workers(options, embedding=False), len(remaining)),
    )


def _workers(options: RunOptions, *, embedding: bool) -> int:
    if options.executor == "serial":
        return 1
    gpus, cores = visible_gpus(options.device), os.cpu_count() or 1
    return workers_on(gpus, options.workers, cores, free=free_gpu_memory(gpus), embedding=embedding)


def _frame_costs(metas: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Median seconds per frame, by :func:`_embedder`."""
    found: dict[str, list[float]] = {}
    for meta in metas:
        if meta.get("record") and meta.get("seconds") is not None and meta.get("rows"):
            found.setdefault(_embedder(meta["record"]), []).append(meta["seconds"] / meta["rows"])
    return {name: median(values) for name, values in found.items()}


def _embedder(record: Record) -> str:
    """Backbone with options, tokens, precision and device; or the data set, for ready embeddings."""
    backbone = record.get("backbone")
    if not backbone:
        return canonical(["ready", record["data"]["name"]])
    how = [record.get(name) for name in ("tokens", "precision", "device")]
    return canonical([backbone["name"], backbone["options"], *how])


def _head_costs(infos: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Median seconds per head, by each of :func:`_kinds_of_head`."""
    found: dict[str, list[float]] = {}
    for info in infos:
        seconds = info["cost"].get("fit_seconds")
        if info.get("record") and seconds is not None:
            for kind in _kinds_of_head(info["record"]):
                found.setdefault(kind, []).append(seconds)
    return {kind: median(values) for kind, values in found.items()}


def _head_cost(costs: Mapping[str, float], record: Record) -> float | None:
    return next((costs[kind] for kind in _kinds_of_head(record) if kind in costs), None)


def _kinds_of_head(record: Record) -> tuple[str, str]:
    """Fusion, views and recipe together; then the fusion alone."""
    fusion = [record["fusion"]["name"], record["fusion"]["options"], record["device"]]
    return canonical([*fusion, list(record["views"]), record["recipe"]]), canonical(fusion)


def _unknown_embeddings(remaining: Iterable[EmbeddingStatus]) -> Iterator[str]:
    frames: dict[str, int] = {}
    work: dict[str, float] = {}
    for each in remaining:
        backbone = each.embedding.backbone
        name = f"backbone {backbone}" if backbone else f"ready embeddings of {each.source.spec}"
        frames[name] = frames.get(name, 0) + each.remaining
        work[name] = backbone_fact(backbone, lambda built: built.cost())[1] if backbone else 0.0
    for name, count in frames.items():
        gflop = work[name]
        product = f"{gflop:.3g} GFLOP x {count} frames = {gflop * count:.3g} GFLOP" if gflop else f"{count} frames"
        yield f"{name}: {product}"


def _unknown_heads(remaining: Iterable[HeadStatus]) -> Iterator[str]:
    counts = Counter(f"fusion {each.head.fusion}" for each in remaining)
    yield from (f"{name}: {count} head{'s' * (count > 1)}" for name, count in counts.items())
