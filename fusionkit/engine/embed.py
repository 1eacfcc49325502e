"""Embed: frames to stored view embeddings. A frame is read once for all the views that still lack it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from fusionkit.contracts.backbone import Backbone
from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.embeddings import SHARD, EmbeddingStore
from fusionkit.engine.held_memory import held_memory
from fusionkit.engine.located import BATCH, LocatedBatch, locate, read_batches
from fusionkit.engine.record import Record, component_record, data_record
from fusionkit.engine.resize import resized
from fusionkit.engine.source import Source
from fusionkit.errors import CellError, DataError, FusionKitError, PluginError, out_of_memory
from fusionkit.identity import component_identity, digest
from fusionkit.registry import BACKBONES, EXTRACTORS
from fusionkit.spec import Spec
from fusionkit.views import FACE, View

REVISION = 1  # raise when the same components give other embeddings than before


@dataclass(frozen=True)
class Embedding:
    """One embedding to make: a view of a data set, through a backbone.

    Attributes:
        key: its identity; equal keys hold equal values.
        backbone: None where the data set brings this view ready-made.
        tokens: K tokens a view; 0 for one pooled embedding.
        record: what the key was made from, stored with each shard.
    """

    key: str
    extractor: Spec
    view: View
    backbone: Spec | None
    tokens: int = 0
    record: Record = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.view} by {self.backbone or 'the data set'}"


def embedding_of(source: Source, extractor: Spec, view: View, backbone: Spec, tokens: int, device: str) -> Embedding:
    """The embedding of a view, with its identity: data, extractor, view, backbone, precision and kind of device."""
    if str(view) in source.dataset.views:
        ready = {"data": data_record(source), "view": str(view), "extractor": None, "backbone": None}
        return Embedding(digest(["ready", source.fingerprint, str(view)]), extractor, view, None, record=ready)
    where = None if view == FACE else component_identity(EXTRACTORS, extractor)
    built: Backbone = _shared_backbone(backbone)
    how = component_identity(BACKBONES, backbone)
    identity = {
        "revision": REVISION,
        "data": source.fingerprint,
        "extractor": where,
        "view": str(view),
        "backbone": how,
        "tokens": tokens,
        "precision": built.precision(device),
        "device": device.partition(":")[0],
    }
    record = {
        **identity,
        "data": data_record(source),
        "extractor": where and component_record(EXTRACTORS, extractor, where),
        "backbone": component_record(BACKBONES, backbone, how),
    }
    return Embedding(digest(identity), extractor, view, backbone, tokens, record)


_BUILT: dict[str, Backbone] = {}


def _shared_backbone(spec: Spec) -> Backbone:
    """One instance a process: weights are read once, for planning and for embedding, unless their file has changed."""
    identity = digest(component_identity(BACKBONES, spec))
    if identity not in _BUILT:
        _BUILT[identity] = BACKBONES.build(spec)
    return _BUILT[identity]


def backbone_width(spec: Spec) -> int:
    """D of a backbone."""
    return _shared_backbone(spec).dim


def backbone_cost(spec: Spec) -> tuple[int, float]:
    """(parameters, GFLOP of one view) of a backbone."""
    return _shared_backbone(spec).cost()


def backbone_precision(spec: Spec, device: str) -> str:
    """The precision in which a backbone runs on a device."""
    return _shared_backbone(spec).precision(device)


def published_weights(spec: Spec) -> str:
    """The name of a backbone's pretrained weights, as their publisher calls them; empty without."""
    return _shared_backbone(spec).weights()


def labels_learned(spec: Spec) -> tuple[tuple[str, str], ...]:
    """Whose labels a backbone's weights have learned from: (fingerprint of the data, digest of the split)."""
    return _shared_backbone(spec).trained_on()


@held_memory()
def embed(
    source: Source,
    wanted: Sequence[Embedding],
    shards: Iterable[int],
    store: EmbeddingStore,
    device: str,
    advance: Callable[[int], None],
) -> None:
    """Make those of the shards that are missing; all the embeddings share one extractor.

    Args:
        source: the data.
        wanted: embeddings of this source.
        shards: which shards to look at.
        store: where shards go; finished ones stay when this is interrupted.
        device: where backbones run.
        advance: told how many frames are done, as they are.

    Raises:
        CellError: if a backbone gives a value that is not finite.
        PluginError: if a component fails or breaks its contract.
        DataError: if a shard cannot be written, or a ready embedding is neither whole nor missing as a whole.
    """
    extractor: Extractor | None = None
    if any(item.view != FACE and item.backbone is not None for item in wanted):
        extractor = EXTRACTORS.build(wanted[0].extractor)
    for index in shards:
        rows = np.arange(index * SHARD, min((index + 1) * SHARD, len(source.table)))
        now = [item for item in wanted if not store.has(item.key, index, verify=True, rows=len(rows))]
        for item in now:
            if item.backbone is None:
                began = perf_counter()
                values = _ready(source, item, rows)
                store.write(item.key, index, values, (), _about(source, item), perf_counter() - began, item.record)
        made = [item for item in now if item.backbone is not None]
        if made:
            looked_for = extractor if any(item.view != FACE for item in made) else None
            _embed_shard(source, index, rows, made, looked_for, store, device, advance)
        else:
            advance(len(rows))


def _about(source: Source, embedding: Embedding) -> str:
    return f"{embedding}, {len(source.table)} frames of {source.spec}"


def _ready(source: Source, embedding: Embedding, rows: np.ndarray) -> np.ndarray:
    values = source.dataset.ready(str(embedding.view), source.rows[rows])
    bad = np.flatnonzero(~np.isfinite(values).all(1) & ~np.isnan(values).all(1))
    if len(bad):
        raise DataError(
            f"data set {source.spec}: view {str(embedding.view)!r} of {len(bad)} frame(s), "
            f"{source.where(int(rows[bad[0]]))} for one, is not finite",
            hint="a missing view is a row of NaN",
        )
    return values


def _embed_shard(
    source: Source,
    index: int,
    rows: np.ndarray,
    wanted: list[Embedding],
    extractor: Extractor | None,
    store: EmbeddingStore,
    device: str,
    advance: Callable[[int], None],
) -> None:
    streams = [ViewStream(item, len(rows), device) for item in wanted]
    unreadable: list[str] = []
    began, locating = perf_counter(), 0.0
    for start, images in read_batches(source, rows):
        asked = perf_counter()
        batch = locate(extractor, images)
        locating += perf_counter() - asked
        add_batch(streams, start, batch)
        unreadable += [source.where(int(rows[start + place])) for place, image in enumerate(images) if image is None]
        advance(len(images))
    costs = _seconds(streams, locating, perf_counter() - began)
    for stream, seconds in zip(streams, costs, strict=True):
        item, values = stream.embedding, stream.finished(lambda place: source.where(int(rows[place])))
        store.write(item.key, index, values, unreadable, _about(source, item), seconds, item.record)


def add_batch(streams: Sequence[ViewStream], start: int, batch: LocatedBatch) -> None:
    """Cut and embed the views of one batch, whose first row is ``start``."""
    for stream in streams:
        turn = perf_counter()
        stream.add(start, batch.views(stream.embedding.view))
        stream.seconds += perf_counter() - turn


def _seconds(streams: Sequence[ViewStream], locating: float, whole: float) -> list[float]:
    """What each stream took of a pass: its own cutting and embedding, and a share of what was done for several.

    Views that are cut share the locating of regions, all share the rest: the reading, as far as it was waited for.
    So the streams' seconds add up to those of the pass.
    """
    cropped = [stream for stream in streams if stream.embedding.view != FACE]
    rest = whole - locating - sum(stream.seconds for stream in streams)
    return [
        stream.seconds + rest / len(streams) + (locating / len(cropped) if stream in cropped else 0.0)
        for stream in streams
    ]


class ViewStream:
    """One embedding's way through some rows: views in, a batch at a time, values out.

    Args:
        embedding: through a backbone.
        rows: how many.
        device: where the backbone runs.
        size: rows of a batch.
    """

    def __init__(self, embedding: Embedding, rows: int, device: str, size: int = BATCH) -> None:
        assert embedding.backbone is not None
        self.embedding = embedding
        self.backbone = _shared_backbone(embedding.backbone)
        self.backbone.prepare(device, self.backbone.precision(device))
        self.parts = 1
        self.seconds = 0.0  # of its own cutting, resizing and embedding
        self.embedding_seconds = 0.0
        # Always a whole batch, padded with black: the values of a row do not depend on how many rows came with it.
        self.batch = np.zeros((size, *self.backbone.input_size, 3), np.uint8)
        self.begin(rows)

    def begin(self, rows: int) -> None:
        """Forget all values: other rows come."""
        tokens, dim = self.embedding.tokens, self.backbone.dim
        self.values = np.full((rows, tokens, dim) if tokens else (rows, dim), np.nan, np.float32)
        self.present = np.zeros(rows, dtype=bool)

    def add(self, start: int, views: dict[int, np.ndarray | None]) -> None:
        """Embed the views of a batch, by their place in it."""
        size, interpolation = self.backbone.input_size, self.backbone.interpolation
        self.batch[:] = 0
        there = [place for place, view in views.items() if view is not None]
        for place in there:
            view: Any = views[place]
            self.batch[place] = resized(view, size, interpolation)
        if there:
            began = perf_counter()
            values = self._embedded()
            self.embedding_seconds += perf_counter() - began
            rows = start + np.array(there)
            self.values[rows] = values[there]
            self.present[rows] = True

    def _embedded(self) -> np.ndarray:
        """The batch's embeddings, in as many parts as memory asks for: halves, quarters, down to single views."""
        while True:
            try:
                parts = [self.backbone(part, self.embedding.tokens) for part in np.array_split(self.batch, self.parts)]
                return np.concatenate(parts)
            except FusionKitError:
                raise
            except Exception as error:
                if not out_of_memory(error) or self.parts == len(self.batch):
                    raise PluginError(
                        f"backbone {self.embedding.backbone} failed on view {str(self.embedding.view)!r}: "
                        f"{type(error).__name__}: {error}"
                    ) from error
                self.parts = min(2 * self.parts, len(self.batch))

    def finished(self, where: Callable[[int], str]) -> np.ndarray:
        """The values of all rows, float16; rows of NaN where the view is missing.

        Args:
            where: how to name a row to a person.

        Raises:
            CellError: if a value is not finite, or beyond float16.
        """
        with np.errstate(over="ignore"):
            stored = self.values.astype(np.float16)
        good = np.isfinite(stored).reshape(len(stored), -1).all(1)
        bad = np.flatnonzero(self.present & ~good)
        if len(bad):
            what = "beyond float16" if np.isfinite(self.values[bad[0]]).all() else "not finite"
            raise CellError(
                f"backbone {self.embedding.backbone} gave values that are {what} for view {str(self.embedding.view)!r} "
                f"of {len(bad)} frame(s), {where(int(bad[0]))} for one"
            )
        return stored
