"""Embed: frames to stored view embeddings. A frame is read once for all views that lack it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from time import perf_counter
from typing import TypeVar

import numpy as np

from fusionkit.config.views import FACE, View, cut, regions_of
from fusionkit.contracts.backbone import Backbone, Interpolation, TokenCount
from fusionkit.contracts.extractor import Extractor
from fusionkit.contracts.inputs import errors_of
from fusionkit.engine.features import Arrays
from fusionkit.engine.malloc import tuned_malloc
from fusionkit.engine.source import Source
from fusionkit.errors import (
    CellError,
    DataError,
    FusionKitError,
    PluginError,
    cause_of,
    component_errors,
    out_of_memory,
)
from fusionkit.registry import BACKBONES, EXTRACTORS
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import SHARD, EmbeddingStore
from fusionkit.storage.identity import component_identity, digest
from fusionkit.storage.record import Record, component_record, identity_of

REVISION = 1  # raise when the same components give other embeddings than before
BATCH = 64  # frames that are read together, and embedded together on a CPU
GPU_BATCH = 256  # frames that are embedded together on a GPU
_SLOTS = 3  # batches in memory: one is being cut, one begins to be embedded, the values of one are awaited

T = TypeVar("T")
Boxes = list[dict[str, np.ndarray] | None]


@dataclass(frozen=True)
class Embedding:
    """One view of a data set, embedded by a backbone.

    Attributes:
        key: its identity; equal keys hold equal values.
        backbone: None if the data set has embeddings of this view.
        tokens: K tokens per view; 0 for one pooled embedding; ``map`` for tokens in their grid.
        width: D of the features; None if the data set has embeddings of this view.
        random_weights: whether the backbone has random weights.
        record: what the key depends on, stored with each shard.
    """

    key: str
    extractor: Spec
    view: View
    backbone: Spec | None
    tokens: TokenCount = 0
    width: int | None = None
    random_weights: bool = False
    record: Record = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.view} by {self.backbone or 'the data set'}"


def embedding_of(
    source: Source, extractor: Spec, view: View, backbone: Spec, tokens: TokenCount, device: str
) -> Embedding:
    """Identify the embedding of a view by data, extractor, view, backbone, precision and kind of device."""
    if str(view) in source.dataset.views:
        ready = {"data": source.record, "view": str(view), "extractor": None, "backbone": None}
        return Embedding(digest(["ready", source.fingerprint, str(view)]), extractor, view, None, record=ready)
    precision, width, random_weights = backbone_fact(
        backbone,
        lambda built: (built.precision(device), built.token_dim if tokens else built.dim, built.random_weights),
    )
    record: Record = {
        "revision": REVISION,
        "data": source.record,
        "extractor": None if view == FACE else component_record(EXTRACTORS, extractor),
        "view": str(view),
        "backbone": component_record(BACKBONES, backbone),
        "tokens": tokens,
        "precision": precision,
        "device": device.partition(":")[0],
    }
    identity = {
        **record,
        "data": source.fingerprint,
        "extractor": record["extractor"] and identity_of(record["extractor"]),
        "backbone": identity_of(record["backbone"]),
    }
    return Embedding(digest(identity), extractor, view, backbone, tokens, width, random_weights, record)


def backbone_fact(spec: Spec, read: Callable[[Backbone], T]) -> T:
    """Return what a function reads of a backbone, such as its cost.

    Raises:
        PluginError: if the backbone fails; it names the backbone.
    """
    with errors_of(f"backbone {spec}"):
        return read(shared_backbone(spec))


_BUILT: dict[str, Backbone] = {}


def shared_backbone(spec: Spec) -> Backbone:
    """Return this process's instance of a backbone. It is built again if its code or its weights file has changed."""
    identity = digest(component_identity(BACKBONES, spec))
    if identity not in _BUILT:
        _BUILT[identity] = BACKBONES.build(spec)
    return _BUILT[identity]


def embed(
    source: Source,
    wanted: Sequence[Embedding],
    shards: Iterable[int],
    store: EmbeddingStore,
    device: str,
    advance: Callable[[int], None],
) -> None:
    """Compute and store the shards that are missing.

    Args:
        source: the data.
        wanted: embeddings of this source, all with the same extractor.
        shards: indices of the shards to check.
        store: where shards are stored; an interruption keeps the finished ones.
        device: where backbones run.
        advance: called with the number of frames done, batch by batch.

    Raises:
        CellError: if a backbone gives a value that is not finite.
        PluginError: if a component fails or breaks its contract.
        DataError: if a shard cannot be written, or an embedding of the data set is neither finite nor a row of NaN.
    """
    extractor: Extractor | None = None
    if any(item.view != FACE and item.backbone is not None for item in wanted):
        extractor = EXTRACTORS.build(wanted[0].extractor)
    with tuned_malloc():
        for index in shards:
            rows = np.arange(index * SHARD, min((index + 1) * SHARD, len(source.table)))
            missing = [item for item in wanted if not store.has(item.key, index, verify=True, rows=len(rows))]
            for item in missing:
                if item.backbone is None:
                    began = perf_counter()
                    values = _ready(source, item, rows)
                    _write(store, source, index, item, values, (), perf_counter() - began)
            computed = [item for item in missing if item.backbone is not None]
            if computed:
                _embed_shard(source, index, rows, computed, extractor, store, device, advance)
            else:
                advance(len(rows))


def _ready(source: Source, embedding: Embedding, rows: np.ndarray) -> np.ndarray:
    values = source.dataset.ready(str(embedding.view), source.rows[rows])
    bad = np.flatnonzero(~np.isfinite(values).all(1) & ~np.isnan(values).all(1))
    if len(bad):
        raise DataError(
            f"data set {source.spec}: the embedding of view {str(embedding.view)!r} is not finite for {len(bad)} "
            f"frame(s), the first is {source.where(int(rows[bad[0]]))}",
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
    if all(item.view == FACE for item in wanted):
        extractor = None
    embedders = [ViewEmbedder(item, len(rows), device) for item in wanted]
    unreadable: list[str] = []
    began, locating = perf_counter(), 0.0

    def collect(batch: PreparedBatch, waiting: Sequence[Callable[[], None]]) -> None:
        for wait in waiting:
            wait()
        advance(batch.frames)

    with closing(ahead(prepared_batches(source, rows, extractor, embedders, device))) as batches:
        running: tuple[PreparedBatch, list[Callable[[], None]]] | None = None
        for batch in batches:
            locating += batch.locating
            unreadable += [source.where(int(rows[row])) for row in batch.unreadable]
            launched = [view.embedder.launch(batch.start, view) for view in batch.views]
            if running:
                collect(*running)
            running = batch, launched
        if running:
            collect(*running)
    costs = _seconds(embedders, locating, perf_counter() - began)
    for embedder, seconds in zip(embedders, costs, strict=True):
        values = embedder.result(lambda i: source.where(int(rows[i])))
        _write(store, source, index, embedder.embedding, values, unreadable, seconds)


def _seconds(embedders: Sequence[ViewEmbedder], locating: float, total: float) -> list[float]:
    """Divide the seconds of a pass among its views.

    Each view has its own cutting and embedding. Cut views share the locating of regions. All share the rest, which is
    the wait for images. Threads overlap: where the parts exceed the whole, each is reduced in proportion.
    """
    cropped = [embedder for embedder in embedders if embedder.embedding.view != FACE]
    own = [embedder.seconds + (locating / len(cropped) if embedder in cropped else 0.0) for embedder in embedders]
    rest = total - sum(own)
    if rest < 0:
        return [seconds * total / sum(own) for seconds in own]
    return [seconds + rest / len(own) for seconds in own]


def _write(
    store: EmbeddingStore,
    source: Source,
    index: int,
    item: Embedding,
    values: np.ndarray,
    unreadable: Sequence[str],
    seconds: float,
) -> None:
    about = f"{item}, {len(source.table)} frames of {source.spec}"
    store.write(item.key, index, values, unreadable, about, seconds, item.record)


@dataclass(frozen=True, eq=False)
class EmbeddedFrames:
    """Embeddings and region boxes of n frames.

    Attributes:
        values: (n, D), (n, K, D) or (n, H, W, D) float32 by key, rounded to float16; rows of NaN where a view is
            missing.
        boxes: one dict per frame: (5,) by region, as an extractor gives it. It is empty if no view is cut, None if
            there is no image.
    """

    values: Arrays
    boxes: Boxes


class FrameEmbedder:
    """Embeds frames in memory, batch by batch. The extractor and the backbones are built once.

    Args:
        wanted: embeddings by backbones, all with the same extractor.
        device: where backbones run.
        size: frames per batch; None: as in a benchmark, which gives exactly the stored embeddings. A smaller one lowers
            the latency.

    Raises:
        ConfigError: if a component cannot be built.
    """

    def __init__(self, wanted: Sequence[Embedding], device: str, size: int | None = None) -> None:
        unique = list({item.key: item for item in wanted}.values())
        self.size = size or batch_size(device)
        self._views = [item.view for item in unique]
        cropped = [item for item in unique if item.view != FACE]
        self._extractor: Extractor | None = EXTRACTORS.build(cropped[0].extractor) if cropped else None
        self._embedders = [ViewEmbedder(item, 0, device) for item in unique]
        self._batches = [ViewBatch(embedder, self.size, device) for embedder in self._embedders]

    @property
    def embedding_seconds(self) -> float:
        """Seconds that backbones have taken so far."""
        return sum(embedder.embedding_seconds for embedder in self._embedders)

    @property
    def finds_faces(self) -> bool:
        """Whether the extractor looks for a face in the frame."""
        return self._extractor is not None and self._extractor.finds_faces

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions of the views, in the extractor's order."""
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
        for embedder in self._embedders:
            embedder.reset(len(frames))
        boxes: Boxes = [None] * len(frames)
        for start in range(0, len(frames), self.size):
            batch = locate(self._extractor, frames[start : start + self.size])
            for view in self._batches:
                view.embed(start, batch)
            for position, found in zip(batch.positions, batch.boxes, strict=True):
                boxes[start + position] = found
        values = {
            embedder.embedding.key: embedder.result(lambda i: f"frame {i}").astype(np.float32)
            for embedder in self._embedders
        }
        return EmbeddedFrames(values, boxes)


class ViewEmbedder:
    """Embeds one view of some rows, batch by batch.

    Args:
        embedding: view and backbone.
        rows: number of rows.
        device: where the backbone runs.

    Attributes:
        seconds: spent so far on cutting, resizing and embedding.
        embedding_seconds: spent by the backbone alone.
    """

    def __init__(self, embedding: Embedding, rows: int, device: str) -> None:
        assert embedding.backbone is not None
        self.embedding = embedding
        self.backbone = shared_backbone(embedding.backbone)
        with errors_of(f"backbone {embedding.backbone}"):
            self.backbone.prepare(device, self.backbone.precision(device))
        self.parts = 1
        self.seconds = 0.0
        self.embedding_seconds = 0.0
        self.reset(rows)

    def reset(self, rows: int) -> None:
        """Discard all values and begin with other rows."""
        self.values = np.full((rows, *self.backbone.feature_shape(self.embedding.tokens)), np.nan, np.float32)
        self.present = np.zeros(rows, dtype=bool)

    def launch(self, start: int, batch: ViewBatch) -> Callable[[], None]:
        """Begin to embed a batch whose first row is ``start``.

        Returns:
            A function that waits for the values and keeps them. Until then the batch must not be changed.
        """
        self.seconds += batch.seconds
        there = batch.there.copy()
        if not there:
            return lambda: None
        batch.blank()
        parts = self._timed(lambda: self._launched(batch.pixels))

        def wait() -> None:
            values = self._timed(lambda: self._awaited(batch.pixels, parts))
            self.values[start + np.array(there)] = values[there]
            self.present[start + np.array(there)] = True

        return wait

    def _timed(self, work: Callable[[], T]) -> T:
        began = perf_counter()
        found = work()
        spent = perf_counter() - began
        self.seconds += spent
        self.embedding_seconds += spent
        return found

    def _launched(self, pixels: np.ndarray) -> list[Callable[[], np.ndarray]]:
        """Begin to embed a batch. If memory runs out, try halves, then quarters, down to single views."""

        def launch() -> list[Callable[[], np.ndarray]]:
            parts = np.array_split(pixels, self.parts)
            return [self.backbone.launched(part, self.embedding.tokens) for part in parts]

        return self._in_memory(launch, len(pixels))

    def _awaited(self, pixels: np.ndarray, parts: Sequence[Callable[[], np.ndarray]]) -> np.ndarray:
        """Wait for the values. If memory runs out only then, begin again with smaller parts."""
        waiting = [parts]

        def wait() -> np.ndarray:
            begun = waiting.pop() if waiting else self._launched(pixels)
            return np.concatenate([part() for part in begun])

        return self._in_memory(wait, len(pixels))

    def _in_memory(self, work: Callable[[], T], most: int) -> T:
        """Return what work returns. Where memory runs out, it is done again with twice as many parts, up to ``most``.

        Raises:
            PluginError: if the backbone fails, or memory does not suffice for a single view.
        """
        while True:
            try:
                return work()
            except FusionKitError:
                raise
            except component_errors() as error:
                if not out_of_memory(error) or self.parts == most:
                    raise PluginError(
                        f"backbone {self.embedding.backbone} failed on view {str(self.embedding.view)!r}: "
                        f"{cause_of(error)}"
                    ) from error
                self.parts = min(2 * self.parts, most)

    def result(self, where: Callable[[int], str]) -> np.ndarray:
        """Return the values of all rows, float16; a missing view is a row of NaN.

        Args:
            where: returns the name of a row for an error message.

        Raises:
            CellError: if a value is not finite, or exceeds the range of float16.
        """
        with np.errstate(over="ignore"):
            stored = self.values.astype(np.float16)
        good = np.isfinite(stored).reshape(len(stored), -1).all(1)
        bad = np.flatnonzero(self.present & ~good)
        if len(bad):
            what = "beyond float16" if np.isfinite(self.values[bad[0]]).all() else "not finite"
            raise CellError(
                f"backbone {self.embedding.backbone} gave values that are {what} for view {str(self.embedding.view)!r} "
                f"of {len(bad)} frame(s), the first is {where(int(bad[0]))}"
            )
        return stored


class ViewBatch:
    """One view of a batch of rows, cut and resized as its backbone takes it.

    It always holds a whole batch, padded with black: the values of a row do not depend on the number of rows.

    Args:
        embedder: of the view.
        size: rows per batch.
        device: of the backbone. For a GPU the memory is page-locked, so that copies to it overlap.

    Attributes:
        pixels: (size, H, W, 3) uint8.
        there: positions of the rows that have the view.
        seconds: spent on cutting and resizing.
    """

    def __init__(self, embedder: ViewEmbedder, size: int, device: str) -> None:
        self.embedder = embedder
        self.pixels = _zeros((size, *embedder.backbone.input_size, 3), device)
        self.clear()

    def clear(self) -> None:
        """Begin another batch."""
        self.there: list[int] = []
        self.seconds = 0.0

    def add(self, offset: int, batch: LocatedBatch) -> None:
        """Cut the view from rows whose first is at position ``offset``."""
        began = perf_counter()
        backbone = self.embedder.backbone
        for position, view in batch.views(self.embedder.embedding.view).items():
            if view is not None:
                self.pixels[offset + position] = resized(view, backbone.input_size, backbone.interpolation)
                self.there.append(offset + position)
        self.seconds += perf_counter() - began

    def embed(self, start: int, batch: LocatedBatch) -> None:
        """Cut and embed a batch whose first row is ``start``."""
        self.clear()
        self.add(0, batch)
        self.embedder.launch(start, self)()

    def blank(self) -> None:
        """Black out the rows without the view, which may hold those of an earlier batch."""
        missing = np.ones(len(self.pixels), dtype=bool)
        missing[self.there] = False
        self.pixels[missing] = 0


def _zeros(shape: tuple[int, ...], device: str) -> np.ndarray:
    if device.startswith("cuda"):
        import torch

        with suppress(RuntimeError):  # the system locks no more pages: copies are slower, but right
            return torch.zeros(shape, dtype=torch.uint8, pin_memory=True).numpy()
    return np.zeros(shape, np.uint8)


_FLAGS: dict[Interpolation, int] = {"nearest": 0, "linear": 1, "cubic": 2, "area": 3, "lanczos": 4}  # OpenCV's numbers


def resized(view: np.ndarray, size: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    """Resize a view without keeping its aspect ratio.

    Args:
        view: RGB uint8 (h, w, 3).
        size: height and width in pixels.
        interpolation: as in the contract of backbones.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    found: np.ndarray = cv2.resize(view, size[::-1], interpolation=_FLAGS[interpolation])
    return found


@dataclass(frozen=True, eq=False)
class LocatedBatch:
    """The images of a batch, with region boxes.

    Attributes:
        positions: in the batch, of the rows that have an image.
        frames: their images, RGB uint8 (H, W, 3).
        boxes: their boxes by region; empty without an extractor.
    """

    positions: list[int]
    frames: list[np.ndarray]
    boxes: list[dict[str, np.ndarray]]

    def views(self, view: View) -> dict[int, np.ndarray | None]:
        """Cut a view from each image, by position; None where a region was not found."""
        cuts = [cut(frame, box, view) for frame, box in zip(self.frames, self.boxes, strict=True)]
        return dict(zip(self.positions, cuts, strict=True))


def locate(extractor: Extractor | None, images: Sequence[np.ndarray | None]) -> LocatedBatch:
    """Locate the regions of a batch; None is a row without an image."""
    frames = [image for image in images if image is not None]
    found = extractor(frames) if extractor and frames else None
    boxes: list[dict[str, np.ndarray]] = [{} for _ in frames]
    if extractor and found:
        boxes = [dict(zip(extractor.regions, box, strict=True)) for box in found.boxes]
    return LocatedBatch([i for i, image in enumerate(images) if image is not None], frames, boxes)


@dataclass(eq=False)
class PreparedBatch:
    """A batch of rows, cut for each embedder.

    Attributes:
        start: its first row.
        views: one for each embedder.
        frames: number of rows.
        unreadable: rows without an image.
        locating: seconds spent on locating regions.
    """

    start: int
    views: Sequence[ViewBatch]
    frames: int = 0
    unreadable: list[int] = field(default_factory=list)
    locating: float = 0.0


def prepared_batches(
    source: Source, rows: np.ndarray, extractor: Extractor | None, embedders: Sequence[ViewEmbedder], device: str
) -> Generator[PreparedBatch]:
    """Read rows, locate their regions and cut their views. A batch is valid until the second one after it is taken."""
    size = batch_size(device)
    slots = cycle([[ViewBatch(embedder, size, device) for embedder in embedders] for _ in range(_SLOTS)])
    batch: PreparedBatch | None = None
    with closing(read_batches(source, rows)) as chunks:
        for start, images in chunks:
            if batch and start % size == 0:
                yield batch
                batch = None
            if not batch:
                batch = PreparedBatch(start, next(slots))
                for view in batch.views:
                    view.clear()
            began = perf_counter()
            located = locate(extractor, images)
            batch.locating += perf_counter() - began
            for view in batch.views:
                view.add(start - batch.start, located)
            batch.unreadable += [start + i for i, image in enumerate(images) if image is None]
            batch.frames += len(images)
    if batch:
        yield batch


def read_batches(source: Source, rows: np.ndarray) -> Generator[tuple[int, list[np.ndarray | None]]]:
    """Yield batches of images with the position of their first row. A thread reads the next batch ahead."""
    return ahead((start, source.images(rows[start : start + BATCH])) for start in range(0, len(rows), BATCH))


def ahead(items: Generator[T]) -> Generator[T]:
    """Yield items that a thread makes, one ahead."""
    with closing(items), ThreadPoolExecutor(1) as thread:
        following = thread.submit(lambda: list(islice(items, 1)))
        while found := following.result():
            following = thread.submit(lambda: list(islice(items, 1)))
            yield found[0]


def batch_size(device: str) -> int:
    """Return the number of frames that a backbone embeds together. On a GPU the rounding of values depends on it."""
    return GPU_BATCH if device.startswith("cuda") else BATCH
