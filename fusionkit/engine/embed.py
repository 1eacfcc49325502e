"""Embed: frames to stored view embeddings. A frame is read once for all the views that still lack it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionkit.contracts.backbone import Backbone
from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.embeddings import SHARD, EmbeddingStore
from fusionkit.engine.source import Source
from fusionkit.errors import CellError, DataError, FusionKitError, PluginError, out_of_memory
from fusionkit.identity import component_identity, digest
from fusionkit.registry import BACKBONES, EXTRACTORS
from fusionkit.spec import Spec
from fusionkit.views import FACE, View, cut

REVISION = 1  # raise when the same components give other embeddings than before
BATCH = 64

_INTERPOLATION = {"nearest": 0, "linear": 1, "cubic": 2, "area": 3, "lanczos": 4}  # as OpenCV numbers them


@dataclass(frozen=True)
class Embedding:
    """One embedding to make: a view of a data set, through a backbone.

    Attributes:
        key: its identity; equal keys hold equal values.
        backbone: None where the data set brings this view ready-made.
        tokens: K tokens a view; 0 for one pooled embedding.
    """

    key: str
    extractor: Spec
    view: View
    backbone: Spec | None
    tokens: int = 0

    def __str__(self) -> str:
        return f"{self.view} by {self.backbone or 'the data set'}"


def embedding_of(source: Source, extractor: Spec, view: View, backbone: Spec, tokens: int, device: str) -> Embedding:
    """The embedding of a view, with its identity: data, extractor, view, backbone, precision and kind of device."""
    if str(view) in source.dataset.views:
        return Embedding(digest(["ready", source.fingerprint, str(view)]), extractor, view, None)
    where = None if view == FACE else component_identity(EXTRACTORS, extractor)
    built: Backbone = _shared_backbone(backbone)
    identity = {
        "revision": REVISION,
        "data": source.fingerprint,
        "extractor": where,
        "view": str(view),
        "backbone": component_identity(BACKBONES, backbone),
        "tokens": tokens,
        "precision": built.precision(device),
        "device": device.partition(":")[0],
    }
    return Embedding(digest(identity), extractor, view, backbone, tokens)


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
        now = [item for item in wanted if not store.has(item.key, index, verify=True)]
        rows = np.arange(index * SHARD, min((index + 1) * SHARD, len(source.table)))
        for item in now:
            if item.backbone is None:
                store.write(item.key, index, _ready(source, item, rows), (), _about(source, item))
        made = [item for item in now if item.backbone is not None]
        if made:
            _embed_shard(source, index, rows, made, extractor, store, device, advance)
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
    streams = [_Stream(item, len(rows), device) for item in wanted]
    unreadable: list[str] = []
    for start, images in _chunks(source, rows):
        frames = [image for image in images if image is not None]
        found = extractor(frames) if extractor and frames else None
        boxes: list[dict[str, np.ndarray]] = [{} for _ in frames]
        if extractor and found:
            boxes = [dict(zip(extractor.regions, box, strict=True)) for box in found.boxes]
        places = [place for place, image in enumerate(images) if image is not None]
        unreadable += [source.where(int(rows[start + place])) for place, image in enumerate(images) if image is None]
        for stream in streams:
            views = [cut(frame, box, stream.embedding.view) for frame, box in zip(frames, boxes, strict=True)]
            stream.add(start, dict(zip(places, views, strict=True)))
        advance(len(images))
    for stream in streams:
        about = _about(source, stream.embedding)
        store.write(stream.embedding.key, index, stream.finished(source, rows), unreadable, about)


def _chunks(source: Source, rows: np.ndarray) -> Iterator[tuple[int, list[np.ndarray | None]]]:
    """Batches of images with their start; the next one is read while this one is worked on."""
    starts = range(0, len(rows), BATCH)
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(source.images, rows[:BATCH])
        for start in starts:
            images = following.result()
            if start + BATCH < len(rows):
                following = reader.submit(source.images, rows[start + BATCH : start + 2 * BATCH])
            yield start, images


class _Stream:
    """One embedding's way through a shard: views in, a batch at a time, values out."""

    def __init__(self, embedding: Embedding, rows: int, device: str) -> None:
        assert embedding.backbone is not None
        self.embedding = embedding
        self.backbone = _shared_backbone(embedding.backbone)
        self.backbone.prepare(device, self.backbone.precision(device))
        shape = (embedding.tokens, self.backbone.dim) if embedding.tokens else (self.backbone.dim,)
        self.values = np.full((rows, *shape), np.nan, np.float32)
        self.present = np.zeros(rows, dtype=bool)
        self.parts = 1
        # Always a whole batch, padded with black: the values of a row do not depend on how many rows came with it.
        self.batch = np.zeros((BATCH, *self.backbone.input_size, 3), np.uint8)

    def add(self, start: int, views: dict[int, np.ndarray | None]) -> None:
        import cv2

        height, width = self.backbone.input_size
        flag = _INTERPOLATION[self.backbone.interpolation]
        self.batch[:] = 0
        there = [place for place, view in views.items() if view is not None]
        for place in there:
            view: Any = views[place]
            self.batch[place] = cv2.resize(view, (width, height), interpolation=flag)
        if there:
            values = self._embedded()
            rows = start + np.array(there)
            self.values[rows] = values[there]
            self.present[rows] = True

    def _embedded(self) -> np.ndarray:
        """The batch's embeddings, in as many parts as memory asks for: halves, quarters, down to single views."""
        while True:
            try:
                parts = [self.backbone(part, self.embedding.tokens) for part in np.split(self.batch, self.parts)]
                return np.concatenate(parts)
            except FusionKitError:
                raise
            except Exception as error:
                if not out_of_memory(error) or self.parts == BATCH:
                    raise PluginError(
                        f"backbone {self.embedding.backbone} failed on view {str(self.embedding.view)!r}: "
                        f"{type(error).__name__}: {error}"
                    ) from error
                self.parts *= 2

    def finished(self, source: Source, rows: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            stored = self.values.astype(np.float16)
        good = np.isfinite(stored).reshape(len(stored), -1).all(1)
        bad = np.flatnonzero(self.present & ~good)
        if len(bad):
            what = "beyond float16" if np.isfinite(self.values[bad[0]]).all() else "not finite"
            raise CellError(
                f"backbone {self.embedding.backbone} gave values that are {what} for view {str(self.embedding.view)!r} "
                f"of {len(bad)} frame(s), {source.where(int(rows[bad[0]]))} for one"
            )
        return stored
