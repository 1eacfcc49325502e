"""Predictor: a trained cell applied to new frames, with the numbers that a benchmark gives for the same frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fusionkit.config.views import View
from fusionkit.contracts.dataset import UNLABELLED, FaceDataset, FrameTable
from fusionkit.contracts.smoother import Smoother, Stream
from fusionkit.engine.embed import BATCH, Embedding, FrameEmbedder, embed, embedding_of, tuned_malloc
from fusionkit.engine.features import Arrays, Embeddings, EmbeddingsInMemory, EmbeddingsInStore
from fusionkit.engine.smooth import clips, impute
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError, DataError, FusionKitError
from fusionkit.grid.progress import Progress
from fusionkit.grid.tasks import single_thread
from fusionkit.predict.trained_head import TrainedHead
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import SHARD, EmbeddingStore, cache_folder


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a cell says of some frames.

    Attributes:
        classes: the C class names.
        table: (n,) the frames.
        probs: (n, C) float64, rows sum to one.
        seen: (n,) bool: the frames that have a view; the others are imputed.
        prior: (C,) what frames of a clip without any view get.
        impute: what the other frames without a view get.
    """

    classes: tuple[str, ...]
    table: FrameTable
    probs: np.ndarray
    seen: np.ndarray
    prior: np.ndarray
    impute: str

    @property
    def labels(self) -> np.ndarray:
        """(n,) str: the most probable class of each frame."""
        found: np.ndarray = np.asarray(self.classes)[self.probs.argmax(1)]
        return found

    def has(self, clip: str) -> bool:
        """Whether a frame of the clip has a view."""
        return len(self._seen_rows.get(clip, ())) > 0

    def at(self, clip: str, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frames of a clip, those that the table lacks too.

        Args:
            clip: one that may not be in the table.
            numbers: (k,) of its frames, in any order.

        Returns:
            (k, C) probabilities, and (k,) bool: which frames have a view.
        """
        rows = self._seen_rows.get(clip, np.empty(0, np.int64))
        have = self.table.number[rows]
        return impute(self.impute, self.probs[rows], have, numbers, self.prior), np.isin(numbers, have)

    @cached_property
    def _seen_rows(self) -> dict[str, np.ndarray]:
        """By clip, the rows that have a view."""
        return {
            str(self.table.clip[span.start]): np.flatnonzero(self.seen[span]) + span.start for span in clips(self.table)
        }


_NONE = Spec("none")  # stands for an extractor or a backbone that is never built


@dataclass(frozen=True)
class ViewSource:
    """How a view of a cell comes about.

    Attributes:
        extractor: None where the cell needs none.
        backbone: None where the data set brings the view ready-made.
        tokens: K tokens a view; 0 for one pooled embedding.
    """

    view: View
    extractor: Spec | None
    backbone: Spec | None
    tokens: int

    def embedding(self) -> Embedding:
        """Of frames in memory: the key is of this process only."""
        key = f"{self.view} {self.backbone}"
        return Embedding(key, self.extractor or _NONE, self.view, self.backbone, self.tokens)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained cell, or the cells of a row over their seeds and folds, whose probabilities are averaged.

    Attributes:
        name: of the cell, ``views/fusion/smoother[/seed]``.
        dataset: that it was trained on.
        classes: the C class names.
        views: by name, main view first.
        heads: the S heads; one where a single seed was asked for.
        impute: what frames without any view are given: ``nearest``, ``linear`` or ``prior``.
        device: where it works.
        notes: what a user should know: what has changed since the cell was trained, what is left out.
    """

    name: str
    dataset: Spec
    classes: tuple[str, ...]
    views: dict[str, ViewSource]
    heads: tuple[TrainedHead, ...]
    impute: str
    device: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if len(self.heads) == 1:
            return self.name
        seeds, folds = (sorted({str(getattr(head, what)) for head in self.heads}) for what in ("seed", "fold"))
        of = f"seeds {', '.join(seeds)}" + (f", folds {', '.join(folds)}" if len(folds) > 1 else "")
        return f"{self.name}, mean probabilities of {len(self.heads)} heads ({of})"

    @property
    def prior(self) -> np.ndarray:
        """(C,) class shares of the training frames."""
        shares: np.ndarray = np.mean([head.prior for head in self.heads], axis=0)
        return shares

    def embed(self, frames: Sequence[np.ndarray | None]) -> Arrays:
        """The views' embeddings of frames in memory.

        Args:
            frames: n, RGB uint8 (H, W, 3) each, of any size; None where there is no image.

        Returns:
            (n, D_v) or (n, K, D_v) float32 by view, as a benchmark stores them; a row of NaN is a missing view.

        Raises:
            ConfigError: if the cell's views come ready-made with its data set.
            DataError: if a frame is not an RGB image.
            FusionKitError: if a component fails.
        """
        embedder = self.embedder()
        for place, frame in enumerate(frames):
            check_frame(frame, place)
        with one_thread(), tuned_malloc():
            return self.by_view(embedder(frames).values)

    def embedder(self, size: int = BATCH) -> FrameEmbedder:
        """Embeds frames for this cell, ``size`` at a time; what it gives is for :meth:`by_view`.

        Raises:
            ConfigError: if the cell's views come ready-made with its data set.
        """
        ready = [name for name, source in self.views.items() if source.backbone is None]
        if ready:
            raise ConfigError(f"{self.name}: view {ready[0]!r} comes ready-made with its data set, not from images")
        return FrameEmbedder([source.embedding() for source in self.views.values()], self.device, size)

    def by_view(self, values: Arrays) -> Arrays:
        """Embeddings by key as embeddings by view, main view first."""
        return {name: values[source.embedding().key] for name, source in self.views.items()}

    def stream(self) -> PredictionStream:
        """Takes the frames of a clip as they come, and answers each at once.

        Raises:
            ConfigError: if the cell's smoother looks at later frames, or its views do not come from images.
        """
        return PredictionStream(self)

    def embed_dataset(
        self, dataset: Source, rows: np.ndarray | None = None, progress: Progress | None = None
    ) -> Embeddings:
        """The views' embeddings of rows of a data set, in the cache that benchmarks use; what is there is reused.

        Args:
            dataset: opened.
            rows: (n,) of its table, rising; all where None.
            progress: told of the frames.

        Raises:
            ConfigError: if the data set does not bring what the cell is made of, or rows do not rise.
            FusionKitError: if a component fails or data are missing.
        """
        chosen = np.arange(len(dataset.table)) if rows is None else np.asarray(rows)
        if not len(chosen) or (np.diff(chosen) <= 0).any():
            raise ConfigError("rows of a data set must be at least one, and rise")
        store = EmbeddingStore(cache_folder())
        wanted = {name: self._stored(dataset, source) for name, source in self.views.items()}
        unique = list({item.key: item for item in wanted.values()}.values())
        with one_thread():
            _fill(store, dataset, unique, chosen, self.device, progress or Progress())
        return EmbeddingsInStore(store, {name: item.key for name, item in wanted.items()}, chosen)

    def _stored(self, dataset: Source, source: ViewSource) -> Embedding:
        extractor, backbone = source.extractor or _NONE, source.backbone or _NONE
        ready = str(source.view) in dataset.dataset.views
        if ready != (source.backbone is None):
            brings = "brings it ready-made" if ready else "brings images"
            needs = "ready-made" if source.backbone is None else f"by {source.backbone}"
            raise ConfigError(f"{self.name} needs view {str(source.view)!r} {needs}; data set {dataset.spec} {brings}")
        return embedding_of(dataset, extractor, source.view, backbone, source.tokens, self.device)

    def logits(self, views: Arrays | Embeddings) -> np.ndarray:
        """(S, n, C) float32, of each head; a frame without any view is a row of NaN.

        Args:
            views: what :meth:`embed` or :meth:`embed_dataset` gave.
        """
        raw = EmbeddingsInMemory(views) if isinstance(views, dict) else views
        with one_thread():
            return np.stack([head.logits(raw) for head in self.heads])

    def predict_proba(
        self,
        frames: Sequence[np.ndarray | None],
        clip: str | Sequence[str] | np.ndarray | None = None,
        frame_numbers: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Probabilities of frames in memory, smoothed within each clip.

        Args:
            frames: n, as for :meth:`embed`.
            clip: (n,) the clip of each frame, those of a clip side by side; one name is that of all frames. None: all
                are one clip where there are numbers, else each is a still image.
            frame_numbers: (n,) rising within a clip; gaps are gaps in time. None: 1, 2, ... in each clip.

        Returns:
            (n, C) float64, rows sum to one: the mean over heads.

        Raises:
            DataError: if clips or numbers are not as said.
        """
        table = frame_table(len(frames), clip, frame_numbers)
        return self._predicted(EmbeddingsInMemory(self.embed(frames)), table).probs if len(frames) else self._nothing()

    def predict_dataset(
        self,
        dataset: str | Spec | FaceDataset | Source,
        rows: Sequence[int] | np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> Predictions:
        """Predictions of rows of a data set, smoothed within each clip.

        Args:
            dataset: ``name:key=value,...``, or an instance, of which the frames are not kept in the cache.
            rows: (n,) of its table, rising; all where None. A clip is smoothed over these rows of it.
            progress: told of the frames.

        Raises:
            ConfigError: if there is no such data set, it does not bring what the cell is made of, or rows do not rise.
            FusionKitError: if a component fails or data are missing.
        """
        if isinstance(dataset, FaceDataset):
            table = dataset.table()
            chosen = np.arange(len(table)) if rows is None else np.asarray(rows)
            return self._predicted(self._held(dataset, chosen), table.take(chosen))
        source = dataset if isinstance(dataset, Source) else open_source(Spec.of(dataset), None)
        chosen = np.arange(len(source.table)) if rows is None else np.asarray(rows)
        return self._predicted(self.embed_dataset(source, chosen, progress), source.table.take(chosen))

    def _held(self, dataset: FaceDataset, rows: np.ndarray) -> EmbeddingsInMemory:
        if all(source.backbone is None for source in self.views.values()):
            return EmbeddingsInMemory(
                {name: dataset.ready(str(source.view), rows) for name, source in self.views.items()}
            )
        found = [self.embed(dataset.images(rows[start : start + SHARD])) for start in range(0, len(rows), SHARD)]
        return EmbeddingsInMemory({name: np.concatenate([part[name] for part in found]) for name in self.views})

    def _predicted(self, views: Embeddings, table: FrameTable) -> Predictions:
        total = np.zeros((len(table), len(self.classes)))
        with one_thread():
            for head in self.heads:
                probs, seen = head.probabilities(views, table, self.impute)
                total += probs
        return Predictions(self.classes, table, total / len(self.heads), seen, self.prior, self.impute)

    def _nothing(self) -> np.ndarray:
        return np.empty((0, len(self.classes)))


def frame_table(
    count: int, clip: str | Sequence[str] | np.ndarray | None, numbers: Sequence[int] | np.ndarray | None
) -> FrameTable:
    """The table of frames in memory; the arguments are those of :meth:`Predictor.predict_proba`.

    Raises:
        DataError: if a column has another length, a clip is in two pieces, or numbers do not rise.
    """
    if clip is None:
        names = np.arange(count).astype(np.str_) if numbers is None else np.zeros(count, np.str_)
    else:
        names = np.full(count, clip) if isinstance(clip, str) else np.asarray(clip, np.str_)
    known = np.arange(1, count + 1) if numbers is None else np.asarray(numbers)
    if len(names) != count or len(known) != count:
        raise DataError(f"{count} frames have {len(names)} clips and {len(known)} numbers")
    table = FrameTable.of(names, known, np.full(count, UNLABELLED))
    spans = list(clips(table)) if count else []
    if len({str(names[span.start]) for span in spans}) != len(spans):
        raise DataError("the frames of a clip must stand side by side")
    if any((np.diff(table.number[span]) <= 0).any() for span in spans):
        raise DataError("frame numbers must rise within a clip")
    return table


def _fill(
    store: EmbeddingStore,
    source: Source,
    wanted: Sequence[Embedding],
    rows: np.ndarray,
    device: str,
    progress: Progress,
) -> None:
    """Make the shards that hold the rows, where they are not there."""
    lengths = {index: min(len(source.table) - index * SHARD, SHARD) for index in np.unique(rows // SHARD).tolist()}
    lacking = [
        index
        for index, length in lengths.items()
        if not all(store.has(item.key, index, verify=True, rows=length) for item in wanted)
    ]
    if lacking:
        with progress.stage("embed", sum(lengths[index] for index in lacking), "frames"):
            embed(source, wanted, lacking, store, device, progress.advance)


def check_frame(frame: np.ndarray | None, place: int) -> None:
    """Refuse what is no frame.

    Raises:
        DataError: if it is not an RGB image; ``place`` says which one.
    """
    if frame is not None and (frame.dtype != np.uint8 or frame.shape[2:] != (3,) or not frame.size):
        raise DataError(f"frame {place} is {frame.dtype} {frame.shape}, not uint8 (H, W, 3)")


@contextmanager
def one_thread() -> Iterator[None]:
    """With more threads the last bits differ from those of a benchmark."""
    give_back = single_thread()
    try:
        yield
    finally:
        give_back()


class ClipStream:
    """The smoothers of all heads of a cell at work on one clip.

    Args:
        heads: of the cell, with causal smoothers.
    """

    def __init__(self, heads: Sequence[TrainedHead]) -> None:
        self._heads = heads
        self._streams: list[Stream] = [head.smoother.stream() for head in heads]

    def __call__(self, evidence: Sequence[np.ndarray], number: int) -> np.ndarray | None:
        """Probabilities (C,) float64 of the next frame; None if it has no view, which is a gap in time.

        Args:
            evidence: of each head, (C,) or (D,), as :meth:`TrainedHead.evidence` gives it.
            number: of the frame, above the one before.
        """
        if np.isnan(evidence[0][0]):
            return None
        each = [
            stream(head.smoother_input(row[None])[0], number)
            for head, stream, row in zip(self._heads, self._streams, evidence, strict=True)
        ]
        mean: np.ndarray = np.mean(each, axis=0)
        return mean


class PredictionStream:
    """Frames of a clip in, probabilities out, each at once: those that the whole clip would give, to about 1e-4.

    Last bits differ, because a backbone works on one frame instead of a batch, and on as many threads as torch has.

    Args:
        predictor: of a cell whose smoother is causal.

    Raises:
        ConfigError: if it is not, or the cell's views do not come from images.
    """

    def __init__(self, predictor: Predictor) -> None:
        require_causal(predictor)
        self.classes = predictor.classes
        self._predictor = predictor
        self._embedder = predictor.embedder(1)
        self.reset()

    def reset(self) -> None:
        """The next frame begins a clip."""
        self._clip = ClipStream(self._predictor.heads)
        self._number = 0

    def __call__(self, frame: np.ndarray | None, number: int | None = None) -> np.ndarray | None:
        """The next frame of the clip.

        Args:
            frame: RGB uint8 (H, W, 3), as the cell was trained on: an aligned face, as a rule; None: there is none.
            number: above that of the frame before; a gap is a gap in time. None: the next one, from 1.

        Returns:
            (C,) float64, probabilities; None where the frame has no view.

        Raises:
            DataError: if the frame is no RGB image, or its number does not rise.
            FusionKitError: if a component fails.
        """
        at = self._number + 1 if number is None else int(number)
        if at <= self._number and self._number:
            raise DataError(
                f"frame {at} comes after frame {self._number}: the frames of a clip come in order",
                hint="reset() begins a new clip",
            )
        check_frame(frame, at)
        self._number = at
        if frame is None:
            return None
        views = EmbeddingsInMemory(self._predictor.by_view(self._embedder([frame]).values))
        evidence = [head.evidence(views)[0] for head in self._predictor.heads]
        return self._clip(evidence, at)


def require_causal(predictor: Predictor) -> None:
    """Refuse a cell that cannot answer before it has seen the whole clip.

    Raises:
        ConfigError: if its smoother is not causal; with the names of those that are.
    """
    smoother = predictor.heads[0].smoother
    if smoother.causal:
        return
    raise ConfigError(
        f"{predictor.name} cannot be streamed: its smoother looks at later frames",
        hint=f"a row with a causal smoother can be: {', '.join(causal_smoothers())}",
    )


def causal_smoothers() -> list[str]:
    """The names of all smoothers that look at no later frame; one that cannot be imported is passed over."""
    found = []
    for name in SMOOTHERS.names():
        try:
            cls: type[Smoother] = SMOOTHERS.get(name)
        except FusionKitError:
            continue
        if cls.causal:
            found.append(name)
    return found
