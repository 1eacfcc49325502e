"""Features: stored embeddings, imputed and standardised as fitted on the training frames of one fold.

Features are held in memory, or read from the store batch by batch where they exceed a memory limit. Both give the same
bits. K in a shape (n, K, D) stands for the tokens of a view, and for rows and columns (H, W) of a map.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np

from fusionkit.errors import CellError
from fusionkit.storage.embeddings import EmbeddingStore, FrameFormat, present_rows

if TYPE_CHECKING:
    from torch import Tensor

    from fusionkit.contracts.dataset import FrameTable
    from fusionkit.contracts.fusion import Views

    Tensors = tuple[Views, Views]  # views, present

Arrays = dict[str, np.ndarray]
Blocks = Callable[[], Iterator[np.ndarray]]
Read = Callable[[np.ndarray], np.ndarray]
Index = np.ndarray | slice

_ALIGNMENT = 64  # bytes
_BLOCK, _BLOCK_VALUES = 2048, 2**24  # rows and values per step when mean and scale are computed, at most
WINDOW = 2**28  # bytes read together where features are streamed


@dataclass(frozen=True, eq=False)
class Timeline:
    """Clip and number of n frames, in the order of clips and time.

    Attributes:
        clip: (n,) int64; equal for the frames of one clip.
        number: (n,) int64; number of the frame in its clip.
    """

    clip: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, table: FrameTable) -> Self:
        """Return clip and number of the frames of a table."""
        return cls(table.clip_index, table.number)

    @classmethod
    def of_stills(cls, count: int) -> Self:
        """Return the timeline of some frames that are a clip each."""
        return cls(np.arange(count), np.zeros(count, np.int64))


@dataclass(frozen=True, eq=False)
class FoldRows:
    """Row numbers of one fold. Test labels are not included.

    Attributes:
        train: (n,) labelled rows only.
        train_label: (n, ...) labels of the task.
        train_unit: (n,) str.
        dev: (m,) rows, unlabelled ones too.
        dev_label: (m, ...) labels of the task, unlabelled ones too.
        test: (k,) rows, unlabelled ones too.
        clip: (N,) int64 of all rows of the table; equal for the frames of one clip.
        number: (N,) int64 of all rows: number of the frame in its clip.
    """

    train: np.ndarray
    train_label: np.ndarray
    train_unit: np.ndarray
    dev: np.ndarray
    dev_label: np.ndarray
    test: np.ndarray
    clip: np.ndarray
    number: np.ndarray

    def timeline(self, rows: np.ndarray) -> Timeline:
        """Return clip and number of some rows."""
        return Timeline(self.clip[rows], self.number[rows])

    def of_clips(self) -> FoldRows:
        """Return the first row of each clip in each part, with its label and unit."""
        return self.take(*(clip_edges(self.clip[rows])[:-1] for rows in (self.train, self.dev, self.test)))

    def take(self, train: Index, dev: Index, test: Index) -> FoldRows:
        """Return some of the rows of each part, with their labels and units."""
        return replace(
            self,
            train=self.train[train],
            train_label=self.train_label[train],
            train_unit=self.train_unit[train],
            dev=self.dev[dev],
            dev_label=self.dev_label[dev],
            test=self.test[test],
        )


@dataclass(frozen=True, eq=False)
class Scaling:
    """Mean and scale of one view's features.

    Attributes:
        mean: (D,) float32, over the training frames that have the view.
        scale: (D,) float32, their standard deviation. It is 1 for a constant feature, and if nothing is standardised.
        standardize: whether features are scaled to mean 0 and variance 1.
    """

    mean: np.ndarray
    scale: np.ndarray
    standardize: bool

    @classmethod
    def of(cls, blocks: Blocks, *, standardize: bool) -> Self | None:
        """Fit the scaling on some rows; None if the view is missing in all of them.

        Args:
            blocks: yields (n, D) or (n, K, D) blocks of the rows, at each call again; NaN rows are missing.
            standardize: see the attribute.
        """
        center = _mean(_present(blocks()))
        if np.isnan(center).all():
            return None
        mean = center.astype(np.float32)
        if not standardize:
            return cls(mean, np.ones_like(mean), standardize)
        spread = _deviation(blocks, center)
        spread[spread < 1e-6 * np.maximum(np.abs(center), 1e-6)] = 1.0  # a constant feature stays constant
        return cls(mean, spread.astype(np.float32), standardize)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Impute the mean and standardise, in place.

        Args:
            values: (n, D) or (n, K, D) float32; NaN rows are missing.

        Returns:
            (n,) bool: rows that have the view.
        """
        there = present_rows(values)
        values[~there] = self.mean
        if self.standardize:
            np.subtract(values, self.mean, out=values)
            np.divide(values, self.scale, out=values)
        return there


class FrameFeatures(ABC):
    """Features of n frames.

    Attributes:
        present: (n,) bool by view.
    """

    present: Arrays

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(n, D_v) or (n, K, D_v) by view, main view first."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> FeaturesInMemory:
        """Return the features of some frames."""

    def batches(self, batches: Iterable[np.ndarray]) -> Iterator[FeaturesInMemory]:
        """Yield the features of each batch of frames.

        Args:
            batches: (b,) frame numbers of each batch.
        """
        return (self.take(rows) for rows in batches)

    @property
    def seen(self) -> np.ndarray:
        """(n,) bool: frames with at least one view."""
        anything: np.ndarray = np.any(list(self.present.values()), axis=0)
        return anything

    @property
    def complete(self) -> np.ndarray:
        """(n,) bool: frames with every view."""
        everything: np.ndarray = np.all(list(self.present.values()), axis=0)
        return everything


@dataclass(frozen=True, eq=False)
class FeaturesInMemory(FrameFeatures):
    """Features of n frames, in memory.

    Attributes:
        views: (n, D_v) or (n, K, D_v) float32 by view; a missing view holds the training mean.
        present: (n,) bool by view.
    """

    views: Arrays
    present: Arrays

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(n, D_v) or (n, K, D_v) by view, main view first."""
        return {name: value.shape for name, value in self.views.items()}

    def take(self, rows: np.ndarray | slice) -> FeaturesInMemory:
        """Return a copy of the features of some frames."""
        return FeaturesInMemory(
            {
                name: _aligned_copy(value[rows]) if isinstance(rows, slice) else value[rows]
                for name, value in self.views.items()
            },
            {name: value[rows].copy() for name, value in self.present.items()},
        )


@dataclass(frozen=True, eq=False)
class FeaturesInStore(FrameFeatures):
    """Features of n frames, read from the memory-mapped store when asked for.

    Attributes:
        present: (n,) bool by view.
        store: where the embeddings are.
        keys: embedding key by view, main view first.
        formats: shape of one frame, (D_v,) or (K, D_v), and stored type, by view.
        rows: (n,) rows of the embeddings.
        scaling: by view.
        window: bytes read together.
    """

    present: Arrays
    store: EmbeddingStore
    keys: dict[str, str]
    formats: dict[str, FrameFormat]
    rows: np.ndarray
    scaling: dict[str, Scaling]
    window: int

    @classmethod
    def of(
        cls,
        store: EmbeddingStore,
        keys: dict[str, str],
        rows: np.ndarray,
        scaling: dict[str, Scaling],
        *,
        formats: dict[str, FrameFormat] | None = None,
        window: int = WINDOW,
    ) -> Self:
        """Look up which views are present; read nothing else."""
        present = {name: store.present(key, rows) for name, key in keys.items()}
        return cls(present, store, keys, formats or _formats(store, keys, rows), rows, scaling, window)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(n, D_v) or (n, K, D_v) by view, main view first."""
        return {name: (len(self.rows), *shape) for name, (shape, _) in self.formats.items()}

    def take(self, rows: np.ndarray) -> FeaturesInMemory:
        """Return the features of some frames."""
        return next(self.batches([rows]))

    def batches(self, batches: Iterable[np.ndarray]) -> Iterator[FeaturesInMemory]:
        """Yield the features of each batch of frames.

        Batches that fit into the window are read together, so that a shard is opened once for all of them.

        Args:
            batches: (b,) frame numbers of each batch.
        """
        frame = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self.formats.values())
        waiting: list[np.ndarray] = []
        for batch in batches:
            if waiting and (sum(map(len, waiting)) + len(batch)) * frame > self.window:
                yield from self._read(waiting)
                waiting = []
            waiting.append(batch)
        if waiting:
            yield from self._read(waiting)

    def _read(self, batches: list[np.ndarray]) -> Iterator[FeaturesInMemory]:
        rows = self.rows[np.concatenate(batches)]
        stored = {}
        for name, key in self.keys.items():
            shape, dtype = self.formats[name]
            stored[name] = np.empty((len(rows), *shape), dtype)
            self.store.read_into(stored[name], key, rows)
        start = 0
        for batch in batches:
            views, present = {}, {}
            for name, values in stored.items():
                views[name] = aligned((len(batch), *values.shape[1:]))
                views[name][:] = values[start : start + len(batch)]
                present[name] = self.scaling[name].apply(views[name])
            start += len(batch)
            yield FeaturesInMemory(views, present)


@dataclass(frozen=True, eq=False)
class FoldFeatures:
    """Train, dev and test features of one fold, with the scaling fitted on train.

    Attributes:
        mean: (D_v,) float32 by view.
        scale: (D_v,) float32 by view.
        size: bytes that all features take in memory.
        limit: bytes they may take; features above it are streamed.
    """

    train: FrameFeatures
    dev: FrameFeatures
    test: FrameFeatures
    mean: Arrays
    scale: Arrays
    size: int = 0
    limit: int = 0

    @classmethod
    def of(cls, parts: Iterable[FrameFeatures], scaling: dict[str, Scaling], size: int, limit: int) -> Self:
        """Return the features of train, dev and test, with the scaling by view."""
        mean = {name: item.mean for name, item in scaling.items()}
        scale = {name: item.scale for name, item in scaling.items()}
        train, dev, test = parts
        return cls(train, dev, test, mean, scale, size, limit)

    @property
    def widths(self) -> dict[str, int]:
        """D_v by view, main view first."""
        return {name: shape[-1] for name, shape in self.train.shapes.items()}


def load_features(
    store: EmbeddingStore, keys: dict[str, str], rows: FoldRows, *, standardize: bool, memory: int
) -> FoldFeatures:
    """Read, impute and standardise the features of one fold. No value depends on the memory limit.

    Args:
        store: where the embeddings are.
        keys: embedding key by view name, main view first.
        rows: rows of the fold.
        standardize: scale each feature to mean 0 and variance 1 over the training frames that have the view.
        memory: bytes that the features may take. Above it they are read batch by batch.

    Raises:
        CellError: if no training frame has one of the views.
        DataError: if stored embeddings are missing or damaged.
    """
    parts = (rows.train, rows.dev, rows.test)
    formats = _formats(store, keys, rows.train)
    size = 4 * sum(map(len, parts)) * sum(int(np.prod(shape)) for shape, _ in formats.values())
    if size <= memory:

        def read(name: str, own: np.ndarray) -> np.ndarray:
            values = aligned((len(own), *formats[name][0]))
            store.read_into(values, keys[name], own)
            return values

        return _held(keys, parts, read, standardize, size, memory)
    scaling = {
        name: _fitted(
            name,
            partial(_read_blocks, partial(store.read, key), rows.train, _block_size(formats[name][0])),
            standardize=standardize,
        )
        for name, key in keys.items()
    }
    window = min(memory, WINDOW)
    found = [FeaturesInStore.of(store, keys, own, scaling, formats=formats, window=window) for own in parts]
    return FoldFeatures.of(found, scaling, size, memory)


def load_clip_features(
    store: EmbeddingStore, keys: dict[str, str], rows: FoldRows, *, standardize: bool, memory: int
) -> FoldFeatures:
    """Return features of the clips of one fold: embeddings pooled over each clip, then imputed and standardised.

    They are held in memory. Frames are read in blocks.

    Args:
        store: where the embeddings are.
        keys: embedding key by view name, main view first.
        rows: frames of the fold.
        standardize: scale each feature to mean 0 and variance 1 over the training clips that have the view.
        memory: bytes that the features may take.

    Raises:
        CellError: if no training clip has one of the views, or the features exceed the memory.
        DataError: if stored embeddings are missing or damaged.
    """
    parts = (rows.train, rows.dev, rows.test)
    clips = sum(len(clip_edges(rows.clip[own])) - 1 for own in parts)
    size = 8 * clips * sum(int(np.prod(shape)) for shape, _ in _formats(store, keys, rows.train).values())
    if size > memory:
        raise CellError(
            f"features of {clips:,} clips need {size / 2**30:.1f} GiB, above the limit of {memory / 2**30:.1f} GiB",
            hint="raise --memory",
        )

    def read(name: str, own: np.ndarray) -> np.ndarray:
        return pooled(partial(store.read, keys[name]), own, rows.clip[own])

    return _held(keys, parts, read, standardize, size, memory)


def _held(
    names: Iterable[str],
    parts: Sequence[np.ndarray],
    read: Callable[[str, np.ndarray], np.ndarray],
    standardize: bool,
    size: int,
    limit: int,
) -> FoldFeatures:
    """Return features in memory; ``read`` gives a view of some rows, aligned and not yet scaled."""
    scaling: dict[str, Scaling] = {}
    held = [FeaturesInMemory({}, {}) for _ in parts]
    for name in names:
        for features, own in zip(held, parts, strict=True):
            features.views[name] = read(name, own)
        values = held[0].views[name]
        blocks = partial(_blocks, values, _block_size(values.shape[1:]))
        scaling[name] = _fitted(name, blocks, standardize=standardize)
        for features in held:
            features.present[name] = scaling[name].apply(features.views[name])
    return FoldFeatures.of(held, scaling, size, limit)


def pooled(read: Read, rows: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation of a view's embeddings over each clip, from the frames that have the view.

    Args:
        read: returns the embeddings (k, D) of some rows; a row of NaN is a missing view.
        rows: (n,) the frames, those of a clip next to each other.
        clip: (n,) clip of each frame.

    Returns:
        (clips, 2 D) float32: means, then standard deviations, computed in float64; NaN for a clip without the view.
    """
    edges = clip_edges(clip)
    out = aligned((len(edges) - 1, 2 * read(rows[:1]).shape[1]))
    for row, blocks in zip(out, _blocks_by_clip(read, rows, edges), strict=True):
        mean = _mean(_present(blocks()))
        row[:] = np.concatenate([mean, _deviation(blocks, mean)])
    return out


def clip_edges(clip: np.ndarray) -> np.ndarray:
    """Return the first row of each clip, and the number of rows, (clips + 1,) int64, from the clip (n,) of each row."""
    return np.flatnonzero(np.r_[True, clip[1:] != clip[:-1], True]) if len(clip) else np.zeros(1, np.int64)


class Embeddings(ABC):
    """Embeddings of n new frames, by view, before scaling. Each head applies its own scaling."""

    @abstractmethod
    def __len__(self) -> int:
        """Return n."""

    @abstractmethod
    def read(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return a copy of the embeddings of some frames, (k, D_v) or (k, K, D_v); a missing view is a row of NaN."""

    def of_clips(self, names: Iterable[str], clip: np.ndarray, lost: np.ndarray | None = None) -> EmbeddingsInMemory:
        """Pool the embeddings of each clip, as :func:`pooled`.

        Args:
            names: of the views.
            clip: (n,) clip of each frame.
            lost: (n,) bool: frames without these views, besides those that lack them anyway.
        """

        def read(name: str, rows: np.ndarray) -> np.ndarray:
            found = self.read(name, rows)
            if lost is not None:
                found[lost[rows]] = np.nan
            return found

        rows = np.arange(len(clip))
        return EmbeddingsInMemory({name: pooled(partial(read, name), rows, clip) for name in names})

    @abstractmethod
    def features(self, scaling: dict[str, Scaling]) -> FrameFeatures:
        """Scale the embeddings.

        Args:
            scaling: by view, main view first, as fitted on the head's training frames.
        """


@dataclass(frozen=True, eq=False)
class EmbeddingsInMemory(Embeddings):
    """Embeddings in memory: (n, D_v) or (n, K, D_v) float32 by view; a missing view is a row of NaN."""

    values: Arrays

    def __len__(self) -> int:
        """Return n."""
        return len(next(iter(self.values.values())))

    def read(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return the embeddings of a view of some frames."""
        found: np.ndarray = self.values[name][rows]
        return found

    def features(self, scaling: dict[str, Scaling]) -> FeaturesInMemory:
        """Return a scaled copy."""
        views: Arrays = {}
        present: Arrays = {}
        for name, item in scaling.items():
            views[name] = aligned(self.values[name].shape)
            views[name][:] = self.values[name]
            present[name] = item.apply(views[name])
        return FeaturesInMemory(views, present)


@dataclass(frozen=True, eq=False)
class EmbeddingsInStore(Embeddings):
    """Embeddings in the cache.

    Attributes:
        keys: embedding key by view.
        rows: (n,) rows of the embeddings, at least one.
    """

    store: EmbeddingStore
    keys: dict[str, str]
    rows: np.ndarray

    def __len__(self) -> int:
        """Return n."""
        return len(self.rows)

    def read(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return the embeddings of a view of some frames."""
        return self.store.read(self.keys[name], self.rows[rows])

    def features(self, scaling: dict[str, Scaling]) -> FeaturesInStore:
        """Return features that are read and scaled batch by batch."""
        return FeaturesInStore.of(self.store, {name: self.keys[name] for name in scaling}, self.rows, scaling)


def batches_of(features: FrameFeatures, device: str) -> ResidentBatches | StreamedBatches:
    """Return the features as batches of tensors on a device.

    Values and order are the same wherever the features are.
    """
    if isinstance(features, FeaturesInMemory):
        return ResidentBatches(features, device)
    return StreamedBatches(features, device)


class ResidentBatches:
    """Batches of features that are on the device as a whole.

    Args:
        features: what is batched.
        device: torch device.
    """

    def __init__(self, features: FeaturesInMemory, device: str) -> None:
        self.device = device
        self.rows = len(features.seen)
        self.views, self.present = _tensors(features, device)

    def drawn(self, batches: Sequence[Tensor]) -> Iterator[Tensors]:
        """Yield the rows (b,) of each batch."""
        for rows in on_device(batches, self.device):
            yield _at(self.views, rows), _at(self.present, rows)

    def all(self, size: int) -> Iterator[Tensors]:
        """Yield every row in order, ``size`` at a time: copies, since other heads read the same features."""
        for start in range(0, self.rows, size):
            rows = slice(start, start + size)
            yield _copied(self.views, rows), _copied(self.present, rows)


class StreamedBatches:
    """Batches of features that are read one after the other.

    Args:
        features: what is batched.
        device: torch device of the batches.
    """

    def __init__(self, features: FrameFeatures, device: str) -> None:
        self.features = features
        self.device = device

    def drawn(self, batches: Sequence[Tensor]) -> Iterator[Tensors]:
        """See :meth:`ResidentBatches.drawn`."""
        for batch in self.features.batches(rows.numpy() for rows in batches):
            yield _tensors(batch, self.device)

    def all(self, size: int) -> Iterator[Tensors]:
        """See :meth:`ResidentBatches.all`."""
        import torch

        return self.drawn(torch.split(torch.arange(len(self.features.seen)), size))


def on_device(batches: Sequence[Tensor], device: str) -> Sequence[Tensor]:
    """Return some arrays of rows on a device, to which they are copied together."""
    import torch

    return torch.split(torch.cat(list(batches)).to(device), [len(batch) for batch in batches]) if batches else ()


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return an empty float32 array, aligned as torch aligns: the last bits of a matrix product may depend on it."""
    size = int(np.prod(shape)) * 4
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(shape)


def _aligned_copy(values: np.ndarray) -> np.ndarray:
    out = aligned(values.shape)
    out[:] = values
    return out


def _formats(store: EmbeddingStore, keys: dict[str, str], rows: np.ndarray) -> dict[str, FrameFormat]:
    return {name: store.frame_format(key, int(rows[0])) for name, key in keys.items()}


def _fitted(name: str, blocks: Blocks, *, standardize: bool) -> Scaling:
    found = Scaling.of(blocks, standardize=standardize)
    if found is None:
        raise CellError(f"view {name!r} is missing in every training frame: nothing to learn from")
    return found


def _blocks(values: np.ndarray, size: int = _BLOCK) -> Iterator[np.ndarray]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _read_blocks(read: Read, rows: np.ndarray, size: int = _BLOCK) -> Iterator[np.ndarray]:
    return (read(block) for block in _blocks(rows, size))


def _block_size(shape: tuple[int, ...]) -> int:
    """Return the number of rows of a shape per step; it changes no bit."""
    return max(1, min(_BLOCK, _BLOCK_VALUES // int(np.prod(shape))))


def _blocks_by_clip(read: Read, rows: np.ndarray, edges: np.ndarray) -> Iterator[Blocks]:
    """Yield the embeddings of each clip, in blocks; short clips are read together."""
    first = 0
    while first < len(edges) - 1:
        last = max(first + 1, int(np.searchsorted(edges, edges[first] + _BLOCK, "right")) - 1)
        own = rows[edges[first] : edges[last]]
        if len(own) > _BLOCK:
            yield partial(_read_blocks, read, own)
        else:
            for values in np.split(read(own), edges[first + 1 : last] - edges[first]):
                yield partial(_blocks, values)
        first = last


def _present(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of each block that are not missing, (m, D) float64."""
    for block in blocks:
        yield block[present_rows(block)].reshape(-1, block.shape[-1]).astype(np.float64)


def _mean(blocks: Iterator[np.ndarray]) -> np.ndarray:
    """Return the mean (D,) of the rows of some blocks; NaN without a row."""
    count, total = 0, np.zeros(1)
    for block in blocks:
        # Rows are added one by one, the total so far first: the size of blocks changes no bit.
        total = (np.concatenate([total[None], block]) if count else block).sum(0)
        count += len(block)
    return total / count if count else np.full(len(total), np.nan)


def _deviation(blocks: Blocks, mean: np.ndarray) -> np.ndarray:
    """Return the standard deviation (D,) of the rows that are not missing; NaN without one."""
    found: np.ndarray = np.sqrt(_mean(np.square(values - mean) for values in _present(blocks())))
    return found


def _tensors(features: FeaturesInMemory, device: str) -> Tensors:
    return _on(features.views, device), _on(features.present, device)


def _on(arrays: Arrays, device: str) -> Views:
    import torch

    return {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}


def _at(values: Views, rows: Tensor) -> Views:
    return {name: value.index_select(0, rows) for name, value in values.items()}


def _copied(values: Views, rows: slice) -> Views:
    return {name: value[rows].clone() for name, value in values.items()}
