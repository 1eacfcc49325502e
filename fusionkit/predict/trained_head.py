"""A trained head: embeddings to logits, and to smoothed probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.engine.features import (
    Embeddings,
    EmbeddingsInMemory,
    FeaturesInMemory,
    FrameFeatures,
    Scaling,
    Timeline,
    clip_edges,
)
from fusionkit.engine.smooth import ConcatenatedViews, TaskSmoother, mean_places, smooth, smoother_input
from fusionkit.engine.windows import streamed_start
from fusionkit.registry.spec import Spec

if TYPE_CHECKING:
    from fusionkit.contracts.fusion import FittedFusion, Fusion


@dataclass(frozen=True, eq=False)
class TrainedHead(ABC):
    """A head with its smoother.

    Attributes:
        seed: seed of its training.
        fold: name of the fold that it was trained in.
        scaling: of the features, by view, main view first.
        smoother: of the cell, fitted.
        prior: (O,) prediction for a frame of which nothing is known.
        whole_clips: whether a clip has one prediction, which needs all its frames.
    """

    whole_clips: ClassVar[bool] = False
    seed: int
    fold: str
    scaling: dict[str, Scaling]
    smoother: TaskSmoother
    prior: np.ndarray

    @property
    def later_frames(self) -> str:
        """Return what uses later frames, ``smoother`` or ``fusion``; an empty text if frames can be streamed."""
        return "" if self.smoother.causal else "smoother"

    def logits(self, views: Embeddings, table: FrameTable | None) -> np.ndarray:
        """Return (n, C) float32; rows of NaN for frames without any view. Without a table each frame is a clip."""
        features = views.features(self.scaling)
        return self._logits(features, Timeline.of(table) if table else Timeline.of_stills(len(features.seen)))

    def predict(self, views: Embeddings, table: FrameTable, impute: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the result of :meth:`predict_proba` for the embeddings of n frames."""
        return self.predict_proba(views.features(self.scaling), table, impute)

    def predict_proba(self, features: FrameFeatures, table: FrameTable, impute: str) -> tuple[np.ndarray, np.ndarray]:
        """Predict and smooth, clip by clip.

        Args:
            features: of n frames, scaled with ``scaling``.
            table: (n,) the frames.
            impute: imputation of frames without any view.

        Returns:
            (n, C) float64 probabilities, and (n,) bool: frames with a view.
        """
        x = smoother_input(self.smoother, self._logits(features, Timeline.of(table)), features)
        return smooth(self.smoother, table, features.seen, x, self.prior, impute), features.seen

    def outputs(self, views: Embeddings) -> np.ndarray:
        """Return what :meth:`smooth_outputs` needs, so that frames can be predicted before their clip is complete.

        Returns:
            (n, C) float32 logits; or, for a smoother of embeddings, (n, D) float32 features, and for a fusion over time
            (n, V + D), presence before features. For a smoother of predictions and embeddings, (n, D) features follow.
            Rows of NaN for frames without any view.
        """
        features = views.features(self.scaling)
        if self.smoother.needs == "embeddings":
            found = ConcatenatedViews(features)[np.arange(len(features.seen))].astype(np.float32)
            found[~features.seen] = np.nan
            return found
        outputs = self._outputs(features)
        if self.smoother.needs_embeddings:
            every = features.take(np.arange(len(features.seen)))
            outputs = np.hstack([outputs, mean_places(every)]).astype(np.float32)
        return outputs

    def smooth_outputs(self, outputs: np.ndarray, table: FrameTable, impute: str) -> np.ndarray:
        """Return the probabilities of :meth:`predict_proba` from the result of :meth:`outputs`."""
        seen = ~np.isnan(outputs[:, 0])
        x = self._smoother_input(outputs, Timeline.of(table))
        return smooth(self.smoother, table, seen, x, self.prior, impute)

    def stream(self) -> Callable[[np.ndarray, int], np.ndarray]:
        """Return a function from a row of :meth:`outputs` and its frame number to predictions (O,), for one clip.

        The frames come in time order, without those that have no view. Nothing of the head may need later frames.
        """
        smooth_next, past = self.smoother.stream(), deque[tuple[np.ndarray, int]]()
        count = 0

        def predict(row: np.ndarray, number: int) -> np.ndarray:
            nonlocal count
            past.append((row, number))
            count += 1
            while len(past) > count - streamed_start(count - 1, self._window):
                past.popleft()
            numbers = np.array([known for _, known in past])
            x = self._smoother_input(np.stack([known for known, _ in past]), Timeline(np.zeros_like(numbers), numbers))
            return smooth_next(x[-1], number)

        return predict

    def _smoother_input(self, outputs: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Return the input of the smoother, (n, sum of C_k) or (n, D) float64, from the result of :meth:`outputs`."""
        if self.smoother.needs == "embeddings":
            return outputs.astype(np.float64)
        if not self.smoother.needs_embeddings:
            return self.smoother.input(self._logits_of_outputs(outputs, timeline))
        width = sum(len(item.mean) for item in self.scaling.values())
        own, embeddings = np.split(outputs, [-width], axis=1)
        return np.hstack([self.smoother.input(self._logits_of_outputs(own, timeline)), embeddings])

    # -- of which one with a fusion over time differs --------------------------------------------------------------

    @property
    def _window(self) -> int:
        """Number of frames from which the logits of a frame are computed."""
        return 1

    def _outputs(self, features: FrameFeatures) -> np.ndarray:
        return self._logits(features, Timeline.of_stills(len(features.seen)))

    def _logits_of_outputs(self, outputs: np.ndarray, timeline: Timeline) -> np.ndarray:
        return outputs

    @abstractmethod
    def _logits(self, features: FrameFeatures, timeline: Timeline) -> np.ndarray:
        """Return (n, C) float32 of scaled features; rows of NaN for frames without any view."""


@dataclass(frozen=True, eq=False)
class FusionHead(TrainedHead):
    """A head in torch, from a run folder.

    Attributes:
        fusion: spec of the model.
        model: the trained model.
        smoother_spec: spec of the smoother, with the options chosen on dev.
        device: torch device.
        columns: of the task in the outputs of a model that has learned several.
    """

    fusion: Spec
    model: Fusion | FittedFusion
    smoother_spec: Spec
    device: str
    columns: slice

    @property
    def later_frames(self) -> str:
        """Return what uses later frames."""
        return super().later_frames or ("" if getattr(self.model, "causal", True) else "fusion")

    @property
    def _window(self) -> int:
        return getattr(self.model, "window", 1)

    @property
    def of_clips(self) -> bool:
        """Whether the fusion uses neighbouring frames."""
        return getattr(self.model, "needs", "pooled") == "clip"

    def _outputs(self, features: FrameFeatures) -> np.ndarray:
        if not self.of_clips:
            return super()._outputs(features)
        every = features.take(np.arange(len(features.seen)))
        found = np.hstack([np.stack(list(every.present.values()), 1), *every.views.values()]).astype(np.float32)
        found[~features.seen] = np.nan
        return found

    def _logits_of_outputs(self, outputs: np.ndarray, timeline: Timeline) -> np.ndarray:
        if not self.of_clips:
            return outputs
        widths = [len(self.scaling), *(len(item.mean) for item in self.scaling.values())]
        flags, *values = np.split(outputs, np.cumsum(widths)[:-1], axis=1)
        present = {name: column == 1 for name, column in zip(self.scaling, flags.T, strict=True)}
        return self._logits(FeaturesInMemory(dict(zip(self.scaling, values, strict=True)), present), timeline)

    def _logits(self, features: FrameFeatures, timeline: Timeline) -> np.ndarray:
        from fusionkit.contracts.fusion import FittedFusion
        from fusionkit.engine.features import batches_of
        from fusionkit.engine.fit import evaluate, evaluate_fitted

        if isinstance(self.model, FittedFusion):
            return evaluate_fitted(self.model, features, self.fusion)
        found = evaluate(self.model, batches_of(features, self.device), features, timeline, self.fusion)
        return found[:, self.columns]


@dataclass(frozen=True, eq=False)
class ClipHead(TrainedHead):
    """A head that predicts a clip as a whole, from embeddings pooled over its frames. Every frame has its prediction.

    Scaling, fusion and smoother work on rows that are clips.
    """

    whole_clips: ClassVar[bool] = True

    def logits(self, views: Embeddings, table: FrameTable | None) -> np.ndarray:
        """Return (n, C) float32, equal for the frames of a clip; rows of NaN for clips without any view."""
        edges, clips = self._clips(views, table)
        found = super().logits(clips, table.take(edges[:-1]) if table else None)
        return np.repeat(found, np.diff(edges), axis=0)

    def predict(self, views: Embeddings, table: FrameTable, impute: str) -> tuple[np.ndarray, np.ndarray]:
        """Predict each clip; a frame is seen if a frame of its clip has a view."""
        edges, clips = self._clips(views, table)
        probs, seen = super().predict(clips, table.take(edges[:-1]), impute)
        return np.repeat(probs, np.diff(edges), axis=0), np.repeat(seen, np.diff(edges))

    def _clips(self, views: Embeddings, table: FrameTable | None) -> tuple[np.ndarray, EmbeddingsInMemory]:
        """Return the edges of the clips, as :func:`clip_edges`, and their pooled embeddings."""
        clip = table.clip_index if table else np.arange(len(views))
        return clip_edges(clip), views.of_clips(self.scaling, clip)

    def outputs(self, views: Embeddings) -> np.ndarray:
        """Return (n, V + D) float32: presence, then embeddings; rows of NaN for frames without any view."""
        assert isinstance(views, EmbeddingsInMemory)
        values = [views.values[name] for name in self.scaling]
        present = np.stack([~np.isnan(each).any(1) for each in values], 1)
        found = np.hstack([present, *values]).astype(np.float32)
        found[~present.any(1)] = np.nan
        return found

    def smooth_outputs(self, outputs: np.ndarray, table: FrameTable, impute: str) -> np.ndarray:
        """Return the probabilities of :meth:`predict` from the result of :meth:`outputs`."""
        widths = [len(self.scaling), *(len(item.mean) // 2 for item in self.scaling.values())]
        _, *values = np.split(outputs, np.cumsum(widths)[:-1], axis=1)
        return self.predict(EmbeddingsInMemory(dict(zip(self.scaling, values, strict=True))), table, impute)[0]


@dataclass(frozen=True, eq=False)
class FusionClipHead(ClipHead, FusionHead):
    """A head of clips in torch, from a run folder."""
