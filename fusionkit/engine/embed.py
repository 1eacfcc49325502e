"""Embed: frames to stored view embeddings. A frame is read once for all the views that still lack it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from fusionkit.config.views import FACE, View, cut, regions_of
from fusionkit.contracts.backbone import Backbone, Interpolation
from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.features import Arrays
from fusionkit.engine.source import Source, data_record
from fusionkit.errors import CellError, DataError, FusionKitError, PluginError, out_of_memory
from fusionkit.registry import BACKBONES, EXTRACTORS
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import SHARD, EmbeddingStore
from fusionkit.storage.identity import component_identity, digest
from fusionkit.storage.record import Record, component_record

# Of <malloc.h>: which option, and what it is by default.
_TRIM_THRESHOLD, _TRIM_DEFAULT = -1, 128 * 1024
_MMAP_MAX, _MMAP_DEFAULT = -4, 65536
_NEVER = 2**31 - 1


@contextmanager
def tuned_malloc() -> Iterator[None]:
    """Keep what is freed inside, for the layers of a network that follow each other.

    Each layer frees and takes buffers of up to hundreds of MiB. glibc maps those anew every time and the kernel clears
    them page by page, which is a fifth of the time of a conv net. At the end memory is given back, and is from
    then on; other C libraries than glibc are left alone.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (OSError, TypeError, AttributeError):  # no such functions, or no such way to find it
        yield
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        mallopt(_MMAP_MAX, _MMAP_DEFAULT)
        mallopt(_TRIM_THRESHOLD, _TRIM_DEFAULT)
        trim(0)


_FLAGS: dict[Interpolation, int] = {"nearest": 0, "linear": 1, "cubic": 2, "area": 3, "lanczos": 4}  # as OpenCV's


def resized(view: np.ndarray, size: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    """A view, its aspect ratio not kept.

    Args:
        view: RGB uint8 (h, w, 3).
        size: height and width in pixels.
        interpolation: as the backbone's contract names it.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    found: np.ndarray = cv2.resize(view, size[::-1], interpolation=_FLAGS[interpolation])
    return found


BATCH = 64


@dataclass(frozen=True, eq=False)
class LocatedBatch:
    """The images of a batch.

    Attributes:
        places: of the rows that have an image, from 0 in the batch.
        frames: their images, RGB uint8 (H, W, 3).
        boxes: their boxes by region; empty without an extractor.
    """

    places: list[int]
    frames: list[np.ndarray]
    boxes: list[dict[str, np.ndarray]]

    def views(self, view: View) -> dict[int, np.ndarray | None]:
        """One view by place; None where a region was not found. Rows without an image are not among them."""
        cuts = [cut(frame, box, view) for frame, box in zip(self.frames, self.boxes, strict=True)]
        return dict(zip(self.places, cuts, strict=True))


def locate(extractor: Extractor | None, images: Sequence[np.ndarray | None]) -> LocatedBatch:
    """Say where the regions of a batch are."""
    frames = [image for image in images if image is not None]
    found = extractor(frames) if extractor and frames else None
    boxes: list[dict[str, np.ndarray]] = [{} for _ in frames]
    if extractor and found:
        boxes = [dict(zip(extractor.regions, box, strict=True)) for box in found.boxes]
    return LocatedBatch([place for place, image in enumerate(images) if image is not None], frames, boxes)


def read_batches(source: Source, rows: np.ndarray) -> Iterator[tuple[int, list[np.ndarray | None]]]:
    """Batches of images with their start; the next one is read while this one is worked on."""
    starts = range(0, len(rows), BATCH)
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(source.images, rows[:BATCH])
        for start in starts:
            images = following.result()
            if start + BATCH < len(rows):
                following = reader.submit(source.images, rows[start + BATCH : start + 2 * BATCH])
            yield start, images


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


@tuned_malloc()
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


Boxes = list[dict[str, np.ndarray] | None]


@dataclass(frozen=True, eq=False)
class EmbeddedFrames:
    """What was made of n frames.

    Attributes:
        values: (n, D) or (n, K, D) float32 by key, rounded to float16; rows of NaN where a view is missing.
        boxes: of each frame by region, (5,) as an extractor gives them; nothing where no view is cut, None where there
            is no image.
    """

    values: Arrays
    boxes: Boxes


class FrameEmbedder:
    """Embeds frames batch by batch; the extractor and the backbones are built once.

    Args:
        wanted: embeddings through a backbone, which share one extractor.
        device: where backbones run.
        size: frames of a batch. As many as a benchmark takes give the very bits of stored embeddings, fewer an answer
            sooner.

    Raises:
        ConfigError: if a component cannot be built.
    """

    def __init__(self, wanted: Sequence[Embedding], device: str, size: int = BATCH) -> None:
        unique = list({item.key: item for item in wanted}.values())
        self.size = size
        self._views = [item.view for item in unique]
        cut = [item for item in unique if item.view != FACE]
        self._extractor: Extractor | None = EXTRACTORS.build(cut[0].extractor) if cut else None
        self._streams = [ViewStream(item, 0, device, size) for item in unique]

    @property
    def embedding_seconds(self) -> float:
        """What backbones took so far."""
        return sum(stream.embedding_seconds for stream in self._streams)

    @property
    def finds_faces(self) -> bool:
        """Whether views are cut by an extractor that looks for a face in the frame."""
        return self._extractor is not None and self._extractor.finds_faces

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that the views are cut from, in the extractor's order."""
        needed = regions_of(self._views)
        return tuple(region for region in self._extractor.regions if region in needed) if self._extractor else ()

    def __call__(self, frames: Sequence[np.ndarray | None]) -> EmbeddedFrames:
        """Embed frames.

        Args:
            frames: n, RGB uint8 (H, W, 3) each; None where there is no image.

        Raises:
            CellError: if a backbone gives a value that is not finite.
            PluginError: if a component fails or breaks its contract.
        """
        for stream in self._streams:
            stream.begin(len(frames))
        boxes: Boxes = [None] * len(frames)
        for start in range(0, len(frames), self.size):
            batch = locate(self._extractor, frames[start : start + self.size])
            add_batch(self._streams, start, batch)
            for place, found in zip(batch.places, batch.boxes, strict=True):
                boxes[start + place] = found
        values = {
            stream.embedding.key: stream.finished(lambda place: f"frame {place}").astype(np.float32)
            for stream in self._streams
        }
        return EmbeddedFrames(values, boxes)
