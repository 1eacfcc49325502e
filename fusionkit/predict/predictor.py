"""Apply a trained cell to new frames; for the frames of a benchmark the results equal those of the benchmark."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.config.views import View
from fusionkit.contracts.backbone import TokenCount
from fusionkit.contracts.dataset import UNLABELLED, FaceDataset, FrameTable
from fusionkit.contracts.smoother import Smoother
from fusionkit.contracts.task import Task
from fusionkit.engine.embed import Embedding, FrameEmbedder, embed, embedding_of
from fusionkit.engine.features import Arrays, Embeddings, EmbeddingsInMemory, EmbeddingsInStore
from fusionkit.engine.malloc import tuned_malloc
from fusionkit.engine.smooth import clips, impute
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError, DataError, FusionKitError
from fusionkit.grid.progress import Progress
from fusionkit.grid.tasks import single_thread
from fusionkit.predict.trained_head import TrainedHead
from fusionkit.registry import DATASETS, SMOOTHERS
from fusionkit.registry.spec import Spec
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import SHARD, EmbeddingStore

if TYPE_CHECKING:
    import pandas as pd

_NONE = Spec("none")  # stands for an extractor or a backbone that is never built


@dataclass(frozen=True, eq=False, repr=False)
class Predictor:
    """A trained cell, or the cells of a row over seeds and folds, whose probabilities are averaged.

    Attributes:
        name: of the cell, ``views/fusion/smoother[/seed]``.
        dataset: data set that it was trained on.
        task: the prediction task.
        views: by name, main view first.
        heads: the S heads; one if a single seed was chosen.
        impute: imputation of frames without any view: ``nearest``, ``linear`` or ``prior``.
        device: torch device.
        notes: what has changed since the cell was trained, and which cells are left out.

    Example:
        >>> predictor = fusionkit.load("runs/first", "mlp")
        >>> predictor
        <Predictor face,eye,mouth/mlp/none, mean probabilities of 2 heads (seeds 0, 1)>
        >>> frame = np.full((112, 112, 3), 128, np.uint8)
        >>> predictor.predict_proba([frame, None]).shape
        (2, 8)
        >>> predictor.stream()(frame).shape
        (8,)
        >>> dataset = "synthetic:train=8,val=6,test=6,clips=4,clip_length=8"
        >>> predictor.predict_dataset(dataset).to_frame().columns[:5].tolist()
        ['clip', 'frame', 'prediction', 'seen', 'p_Neutral']
    """

    name: str
    dataset: Spec
    task: Task
    views: dict[str, ViewSource]
    heads: tuple[TrainedHead, ...]
    impute: str
    device: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Predictor {self}>"

    def __str__(self) -> str:
        if len(self.heads) == 1:
            return self.name
        seeds, folds = (sorted({str(getattr(head, name)) for head in self.heads}) for name in ("seed", "fold"))
        of = f"seeds {', '.join(seeds)}" + (f", folds {', '.join(folds)}" if len(folds) > 1 else "")
        return f"{self.name}, mean probabilities of {len(self.heads)} heads ({of})"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of predictions: the C classes."""
        return self.task.names

    @property
    def prior(self) -> np.ndarray:
        """Return the prediction (O,) for a frame of which nothing is known: the class shares of the training frames."""
        shares: np.ndarray = np.mean([head.prior for head in self.heads], axis=0)
        return shares

    def predict_proba(
        self,
        frames: Sequence[np.ndarray | None],
        clip: str | Sequence[str] | np.ndarray | None = None,
        frame_numbers: Sequence[int] | np.ndarray | None = None,
        rate: float | None = None,
    ) -> np.ndarray:
        """Return the probabilities of frames in memory, smoothed within each clip.

        Args:
            frames: n, as for :meth:`embed`.
            clip: (n,) clip of each frame, the frames of a clip next to each other; one name for all frames; or None:
                one clip if there are frame numbers, otherwise each frame is a still image.
            frame_numbers: (n,) ascending within a clip; gaps are gaps in time. None: 1, 2, ... in each clip.
            rate: frames per second, for a smoother that needs it.

        Returns:
            (n, C) float64, rows sum to one: the mean over heads.

        Raises:
            DataError: if clips or numbers are invalid, or the smoother needs the rate.
        """
        table = replace(frame_table(len(frames), clip, frame_numbers), rate=np.full(len(frames), rate, np.float64))
        if not len(frames):
            return np.empty((0, len(self.classes)))
        return self._predict(EmbeddingsInMemory(self.embed(frames)), table).probs

    def predict_dataset(
        self,
        dataset: str | Spec | FaceDataset | Source,
        rows: Sequence[int] | np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> Predictions:
        """Return the predictions for rows of a data set, smoothed within each clip.

        Args:
            dataset: ``name:key=value,...``, or an instance; the embeddings of an instance are not cached.
            rows: (n,) of its table, ascending; None: all. A clip is smoothed over these rows only.
            progress: counts frames.

        Raises:
            ConfigError: if there is no such data set, it lacks what the cell needs, or rows are not ascending.
            FusionKitError: if a component fails or data are missing.
        """
        if isinstance(dataset, FaceDataset):
            table = dataset.table()
            chosen = np.arange(len(table)) if rows is None else np.asarray(rows)
            return self._predict(self._embed_instance(dataset, chosen), table.take(chosen))
        source = dataset if isinstance(dataset, Source) else open_source(DATASETS.spec(dataset), None)
        chosen = np.arange(len(source.table)) if rows is None else np.asarray(rows)
        return self._predict(self.embed_dataset(source, chosen, progress), source.table.take(chosen))

    def stream(self) -> PredictionStream:
        """Return a predictor of the frames of a clip one by one.

        Raises:
            ConfigError: if its fusion or smoother is not causal, or its data set provides the views ready-made.
        """
        return PredictionStream(self)

    def embed(self, frames: Sequence[np.ndarray | None]) -> Arrays:
        """Return the embeddings of frames in memory, by view.

        Args:
            frames: n, RGB uint8 (H, W, 3) each, of any size; None for a missing image.

        Returns:
            (n, D_v) or (n, K, D_v) float32 by view, equal to those of a benchmark; a row of NaN is a missing view.

        Raises:
            ConfigError: if the data set of the cell provides its views ready-made.
            DataError: if a frame is not an RGB image.
            FusionKitError: if a component fails.
        """
        embedder = self.embedder()
        for index, frame in enumerate(frames):
            check_frame(frame, index)
        with one_thread(), tuned_malloc():
            return self.by_view(embedder(frames).values)

    def embed_dataset(
        self, dataset: Source, rows: np.ndarray | None = None, progress: Progress | None = None
    ) -> Embeddings:
        """Return the embeddings for rows of a data set, by view, from the cache that benchmarks use and fill.

        Args:
            dataset: an open data set.
            rows: (n,) of its table, ascending; None: all.
            progress: counts frames.

        Raises:
            ConfigError: if the data set lacks what the cell needs, or rows are not ascending.
            FusionKitError: if a component fails or data are missing.
        """
        chosen = np.arange(len(dataset.table)) if rows is None else np.asarray(rows)
        if not len(chosen) or (np.diff(chosen) <= 0).any():
            raise ConfigError("rows of a data set must be at least one, and ascending")
        store = EmbeddingStore(cache_folder())
        wanted = {name: self._embedding(dataset, source) for name, source in self.views.items()}
        unique = list({item.key: item for item in wanted.values()}.values())
        with one_thread():
            _fill(store, dataset, unique, chosen, self.device, progress or Progress())
        return EmbeddingsInStore(store, {name: item.key for name, item in wanted.items()}, chosen)

    def logits(self, views: Arrays | Embeddings, table: FrameTable | None = None) -> np.ndarray:
        """Return the logits of each head, (S, n, C) float32; rows of NaN for frames without any view.

        Args:
            views: result of :meth:`embed` or :meth:`embed_dataset`.
            table: (n,) the frames, for a fusion over time or a cell of clips; None: each is a still image.
        """
        embeddings = EmbeddingsInMemory(views) if isinstance(views, dict) else views
        with one_thread():
            return np.stack([head.logits(embeddings, table) for head in self.heads])

    def embedder(self, size: int | None = None) -> FrameEmbedder:
        """Return an embedder of frames; its values are by key, see :meth:`by_view`.

        Args:
            size: frames per batch; None: as in a benchmark.

        Raises:
            ConfigError: if the data set of the cell provides its views ready-made.
        """
        self.require_images()
        return FrameEmbedder([source.embedding() for source in self.views.values()], self.device, size)

    def require_images(self) -> None:
        """Raise :class:`ConfigError` if the data set of the cell provides a view ready-made."""
        ready = [name for name, source in self.views.items() if source.backbone is None]
        if ready:
            raise ConfigError(f"{self.name}: view {ready[0]!r} is ready-made by its data set, not computed from images")

    def by_view(self, values: Arrays) -> Arrays:
        """Return the values of :meth:`embedder` by view instead of key, main view first."""
        return {name: values[source.embedding().key] for name, source in self.views.items()}

    def _embedding(self, dataset: Source, source: ViewSource) -> Embedding:
        extractor, backbone = source.extractor or _NONE, source.backbone or _NONE
        ready = str(source.view) in dataset.dataset.views
        if ready != (source.backbone is None):
            needs = "ready-made" if source.backbone is None else f"from {source.backbone}"
            has = "provides it ready-made" if ready else "provides images"
            raise ConfigError(f"{self.name} needs view {str(source.view)!r} {needs}; data set {dataset.spec} {has}")
        return embedding_of(dataset, extractor, source.view, backbone, source.tokens, self.device)

    def _embed_instance(self, dataset: FaceDataset, rows: np.ndarray) -> EmbeddingsInMemory:
        if all(source.backbone is None for source in self.views.values()):
            return EmbeddingsInMemory(
                {name: dataset.ready(str(source.view), rows) for name, source in self.views.items()}
            )
        found = [self.embed(dataset.images(rows[start : start + SHARD])) for start in range(0, len(rows), SHARD)]
        return EmbeddingsInMemory({name: np.concatenate([part[name] for part in found]) for name in self.views})

    def _predict(self, views: Embeddings, table: FrameTable) -> Predictions:
        total = np.zeros((len(table), len(self.classes)))
        with one_thread():
            for head in self.heads:
                probs, seen = head.predict(views, table, self.impute)
                total += probs
        imputation = "nearest" if self.heads[0].whole_clips else self.impute  # all frames of a clip are the same
        return Predictions(self.task, table, total / len(self.heads), seen, self.prior, imputation)


@dataclass(frozen=True)
class ViewSource:
    """How a view of a cell is computed.

    Attributes:
        view: the view.
        extractor: None where no region is cut.
        backbone: None where the data set provides the view ready-made.
        tokens: K tokens per view; 0 for one pooled embedding; ``map`` for tokens in their grid.
    """

    view: View
    extractor: Spec | None
    backbone: Spec | None
    tokens: TokenCount

    def embedding(self) -> Embedding:
        """Return the embedding of frames in memory; its key is valid in this process only."""
        key = f"{self.view} {self.backbone}"
        return Embedding(key, self.extractor or _NONE, self.view, self.backbone, self.tokens)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for some frames.

    Attributes:
        task: the prediction task.
        table: (n,) the frames.
        probs: (n, O) float64 predictions: the probability of each class; rows sum to one.
        seen: (n,) bool: frames with a view; the others are imputed.
        prior: (C,) for the frames of clips without any view.
        impute: imputation of the other frames without a view.
    """

    task: Task
    table: FrameTable
    probs: np.ndarray
    seen: np.ndarray
    prior: np.ndarray
    impute: str

    @property
    def labels(self) -> np.ndarray:
        """Return the prediction of each frame in words, (n,) str: the most probable class."""
        return self.task.words(self.probs)

    def to_frame(self) -> pd.DataFrame:
        """Return one line per frame: ``clip``, ``frame``, ``prediction``, ``seen``, and the probability of each class.

        The order is that of :attr:`table`, which may differ from that of arrays from which the data set was made: join
        by clip and frame.

        Raises:
            FusionKitError: if pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise FusionKitError("to_frame() requires pandas", hint="pip install 'fusionkit[pandas]'") from error
        columns = {"clip": self.table.clip, "frame": self.table.number, "prediction": self.labels, "seen": self.seen}
        return pd.DataFrame(columns).join(pd.DataFrame(self.probs, columns=[f"p_{name}" for name in self.task.names]))

    def has_view(self, clip: str) -> bool:
        """Whether a frame of the clip has a view."""
        return len(self._seen_rows.get(clip, ())) > 0

    def at(self, clip: str, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the predictions for any frames of a clip; frames that are not in the table are imputed.

        Args:
            clip: its name, in the table or not.
            numbers: (k,) frame numbers, in any order.

        Returns:
            (k, C) probabilities, and (k,) bool: frames with a view.
        """
        rows = self._seen_rows.get(clip, np.empty(0, np.int64))
        seen = self.table.number[rows]
        return impute(self.impute, self.probs[rows], seen, numbers, self.prior), np.isin(numbers, seen)

    @cached_property
    def _seen_rows(self) -> dict[str, np.ndarray]:
        """Return the rows with a view, by clip."""
        return {
            str(self.table.clip[span.start]): np.flatnonzero(self.seen[span]) + span.start for span in clips(self.table)
        }


class PredictionStream:
    """Predict the frames of a clip one by one; results equal those of the whole clip to about 1e-4.

    The last bits differ because the backbone gets one frame instead of a batch, and torch uses all its threads.

    Args:
        predictor: of a cell with a causal fusion and smoother.

    Raises:
        ConfigError: if its fusion or smoother is not causal, or its data set provides the views ready-made.
    """

    def __init__(self, predictor: Predictor) -> None:
        require_causal(predictor)
        self.classes = predictor.classes
        self._predictor = predictor
        self._embedder = predictor.embedder(1)
        self.reset()

    def reset(self) -> None:
        """Start a new clip."""
        self._clip = ClipStream(self._predictor.heads)
        self._number = 0

    def __call__(self, frame: np.ndarray | None, number: int | None = None) -> np.ndarray | None:
        """Predict the next frame of the clip.

        Args:
            frame: RGB uint8 (H, W, 3), as in training, usually an aligned face; None for a missing image.
            number: above that of the frame before; a gap is a gap in time. None: the next number, from 1.

        Returns:
            (C,) float64 probabilities; None where the frame has no view.

        Raises:
            DataError: if the frame is not an RGB image, or its number is not above that of the frame before.
            FusionKitError: if a component fails.
        """
        at = self._number + 1 if number is None else int(number)
        if at <= self._number and self._number:
            raise DataError(
                f"frame {at} follows frame {self._number}: numbers must be ascending",
                hint="reset() starts a new clip",
            )
        check_frame(frame, at)
        self._number = at
        if frame is None:
            return None
        views = EmbeddingsInMemory(self._predictor.by_view(self._embedder([frame]).values))
        return self._clip([head.outputs(views)[0] for head in self._predictor.heads], at)


class ClipStream:
    """Predict one clip frame by frame, with all heads of a cell.

    Args:
        heads: of the cell, which need no later frames.
    """

    def __init__(self, heads: Sequence[TrainedHead]) -> None:
        self._streams = [head.stream() for head in heads]

    def __call__(self, outputs: Sequence[np.ndarray], number: int) -> np.ndarray | None:
        """Return the prediction (O,) float64 of the next frame; None if it has no view.

        Args:
            outputs: of each head, (C,), (D,) or (V + D,): a row of :meth:`TrainedHead.outputs`.
            number: of the frame, above that of the frame before.
        """
        if np.isnan(outputs[0][0]):
            return None
        probs = [stream(row, number) for stream, row in zip(self._streams, outputs, strict=True)]
        mean: np.ndarray = np.mean(probs, axis=0)
        return mean


def require_frames(predictor: Predictor, what: str) -> None:
    """Raise :class:`ConfigError` if a cell predicts clips as a whole; ``what`` cannot be done with it: ``exported``."""
    if predictor.heads[0].whole_clips:
        raise ConfigError(
            f"{predictor.name} cannot be {what}: it was trained with labels = clip and predicts a clip as a whole",
            hint="choose a row of a run with labels = frame",
        )


def require_causal(predictor: Predictor) -> None:
    """Raise :class:`ConfigError`, with what to choose instead, if fusion or smoother of a cell uses later frames."""
    require_frames(predictor, "streamed")
    if predictor.heads[0].smoother.needs_embeddings:
        raise ConfigError(
            f"{predictor.name} cannot be streamed: its smoother needs embeddings beside predictions",
            hint=f"choose a row with a causal smoother: {', '.join(causal_smoothers())}",
        )
    if part := predictor.heads[0].later_frames:
        choice = "fusion" if part == "fusion" else f"smoother: {', '.join(causal_smoothers())}"
        raise ConfigError(
            f"{predictor.name} cannot be streamed: its {part} uses later frames",
            hint=f"choose a row with a causal {choice}",
        )


def causal_smoothers() -> list[str]:
    """Return the names of all causal smoothers that can be imported."""
    found = []
    for name in SMOOTHERS.names():
        try:
            cls: type[Smoother] = SMOOTHERS.get(name)
        except FusionKitError:
            continue
        if cls.causal:
            found.append(name)
    return found


def frame_table(
    count: int, clip: str | Sequence[str] | np.ndarray | None, numbers: Sequence[int] | np.ndarray | None
) -> FrameTable:
    """Return the table of frames in memory, from the arguments of :meth:`Predictor.predict_proba`.

    Raises:
        DataError: if a column has another length, a clip is interrupted, or numbers are not ascending.
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
        raise DataError("the frames of a clip must be next to each other")
    if any((np.diff(table.number[span]) <= 0).any() for span in spans):
        raise DataError("frame numbers must be ascending within a clip")
    return table


def check_frame(frame: np.ndarray | None, number: int) -> None:
    """Raise :class:`DataError` unless a frame is None or an RGB image; ``number`` is for the message."""
    if frame is not None and (frame.dtype != np.uint8 or frame.shape[2:] != (3,) or not frame.size):
        raise DataError(f"frame {number} has dtype {frame.dtype} and shape {frame.shape}; expected uint8 (H, W, 3)")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, as a benchmark does: with more threads the last bits differ.

    Without torch in the process the cell is an exported one, and ONNX Runtime has its own threads.
    """
    if sys.modules.get("torch") is None:
        yield
        return
    undo = single_thread()
    try:
        yield
    finally:
        undo()


def _fill(
    store: EmbeddingStore,
    source: Source,
    wanted: Sequence[Embedding],
    rows: np.ndarray,
    device: str,
    progress: Progress,
) -> None:
    """Compute the missing shards of the rows."""
    lengths = {index: min(len(source.table) - index * SHARD, SHARD) for index in np.unique(rows // SHARD).tolist()}
    missing = [
        index
        for index, length in lengths.items()
        if not all(store.has(item.key, index, verify=True, rows=length) for item in wanted)
    ]
    if missing:
        with progress.stage("embed", sum(lengths[index] for index in missing), "frames"):
            embed(source, wanted, missing, store, device, progress.advance)
