"""A trained head: embeddings to logits, and to smoothed probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.contracts.smoother import Smoother
from fusionkit.engine.features import Embeddings, FrameFeatures, Scaling
from fusionkit.engine.smooth import ConcatenatedViews, smooth, smoother_input, softmax
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
        prior: (C,) class shares of the training frames.
    """

    seed: int
    fold: str
    scaling: dict[str, Scaling]
    smoother: Smoother
    prior: np.ndarray

    def logits(self, views: Embeddings) -> np.ndarray:
        """Return (n, C) float32; rows of NaN for frames without any view."""
        return self._logits(views.features(self.scaling))

    def predict_proba(self, features: FrameFeatures, table: FrameTable, impute: str) -> tuple[np.ndarray, np.ndarray]:
        """Predict and smooth, clip by clip.

        Args:
            features: of n frames, scaled with ``scaling``.
            table: (n,) the frames.
            impute: imputation of frames without any view.

        Returns:
            (n, C) float64 probabilities, and (n,) bool: frames with a view.
        """
        x = smoother_input(self.smoother, self._logits(features), features)
        return smooth(self.smoother, table, features.seen, x, self.prior, impute), features.seen

    def outputs(self, views: Embeddings) -> np.ndarray:
        """Return what :meth:`smooth_outputs` needs, so that frames can be predicted before their clip is complete.

        Returns:
            (n, C) float32 logits, or, for a smoother of embeddings, (n, D) float32 features; rows of NaN for frames
            without any view.
        """
        features = views.features(self.scaling)
        logits = self._logits(features)
        if self.smoother.needs != "embeddings":
            return logits
        found = ConcatenatedViews(features)[np.arange(len(logits))].astype(np.float32)
        found[~features.seen] = np.nan
        return found

    def smooth_outputs(self, outputs: np.ndarray, table: FrameTable, impute: str) -> np.ndarray:
        """Return the probabilities of :meth:`predict_proba` from the result of :meth:`outputs`."""
        seen = ~np.isnan(outputs[:, 0])
        return smooth(self.smoother, table, seen, self.smoother_input(outputs), self.prior, impute)

    def smoother_input(self, outputs: np.ndarray) -> np.ndarray:
        """Return the input of the smoother, (n, C) or (n, D) float64, from the result of :meth:`outputs`."""
        if self.smoother.needs == "probs":
            return softmax(outputs)
        return outputs.astype(np.float64)

    @abstractmethod
    def _logits(self, features: FrameFeatures) -> np.ndarray:
        """Return (n, C) float32 of scaled features; rows of NaN for frames without any view."""


@dataclass(frozen=True, eq=False)
class FusionHead(TrainedHead):
    """A head in torch, from a run folder.

    Attributes:
        fusion: spec of the model.
        model: the trained model.
        smoother_spec: spec of the smoother, with the options chosen on dev.
        device: torch device.
    """

    fusion: Spec
    model: Fusion | FittedFusion
    smoother_spec: Spec
    device: str

    def _logits(self, features: FrameFeatures) -> np.ndarray:
        from fusionkit.contracts.fusion import FittedFusion
        from fusionkit.engine.features import batches_of
        from fusionkit.engine.fit import evaluate, evaluate_fitted

        if isinstance(self.model, FittedFusion):
            return evaluate_fitted(self.model, features, self.fusion)
        return evaluate(self.model, batches_of(features, self.device), features, self.fusion)
