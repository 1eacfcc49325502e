"""One head of a cell, ready for use: features to logits, and to smoothed probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.contracts.smoother import Smoother
from fusionkit.engine.features import Embeddings, FrameFeatures, Scaling
from fusionkit.engine.fit import evaluate, evaluate_fitted
from fusionkit.engine.smooth import ConcatenatedViews, smooth, smoother_input, softmax
from fusionkit.errors import FusionKitError, PluginError, cause_of
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec

if TYPE_CHECKING:
    from fusionkit.contracts.fusion import FittedFusion, Fusion


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A head with its smoother.

    Attributes:
        seed: that it was trained with.
        fold: that it was trained in.
        fusion: what the model is.
        scaling: of its features, by view, main view first.
        prior: (C,) class shares of its training frames.
    """

    seed: int
    fold: str
    fusion: Spec
    model: Fusion | FittedFusion
    scaling: dict[str, Scaling]
    smoother: Smoother
    prior: np.ndarray
    device: str

    def logits(self, views: Embeddings) -> np.ndarray:
        """(n, C) float32, NaN rows for frames without any view."""
        return self._logits(views.features(self.scaling))

    def probabilities(self, views: Embeddings, table: FrameTable, impute: str) -> tuple[np.ndarray, np.ndarray]:
        """Smoothed, clip by clip.

        Returns:
            (n, C) float64, and (n,) bool: the frames that have a view; the others are imputed.
        """
        return self.probabilities_of(views.features(self.scaling), table, impute)

    def probabilities_of(self, part: FrameFeatures, table: FrameTable, impute: str) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`probabilities`, of features that were brought to this head's scale."""
        x = smoother_input(self.smoother, self._logits(part), part)
        return smooth(self.smoother, table, part.seen, x, self.prior, impute), part.seen

    def evidence(self, views: Embeddings) -> np.ndarray:
        """Return what :meth:`smoothed` needs of some frames.

        Returns:
            (n, C) float32 logits, or, for a smoother that works on embeddings, (n, D) float32 features; rows of NaN
            for frames without any view.
        """
        part = views.features(self.scaling)
        logits = self._logits(part)
        if self.smoother.needs != "embeddings":
            return logits
        features = ConcatenatedViews(part)[np.arange(len(logits))].astype(np.float32)
        features[~part.seen] = np.nan
        return features

    def smoothed(self, evidence: np.ndarray, table: FrameTable, impute: str) -> np.ndarray:
        """As :meth:`probabilities`, of what :meth:`evidence` gave."""
        seen = ~np.isnan(evidence[:, 0])
        return smooth(self.smoother, table, seen, self.smoother_input(evidence), self.prior, impute)

    def smoother_input(self, evidence: np.ndarray) -> np.ndarray:
        """(n, C) or (n, D) float64 that the smoother asks for, of what :meth:`evidence` gave."""
        if self.smoother.needs == "probs":
            return softmax(evidence)
        return evidence.astype(np.float64)

    def _logits(self, part: FrameFeatures) -> np.ndarray:
        from fusionkit.contracts.fusion import FittedFusion
        from fusionkit.engine.features import batches_of

        if isinstance(self.model, FittedFusion):
            return evaluate_fitted(self.model, part, self.fusion)
        return evaluate(self.model, batches_of(part, self.device), part, self.fusion)


def stored_scaling(state: Mapping[str, np.ndarray], views: list[str], *, standardize: bool) -> dict[str, Scaling]:
    """The scaling that is stored with a head, by view."""
    return {name: Scaling(state[f"mean.{name}"], state[f"scale.{name}"], standardize) for name in views}


def stored_model(
    fusion: Spec, state: Mapping[str, np.ndarray], in_dims: dict[str, int], classes: int, device: str
) -> Fusion | FittedFusion:
    """The fusion with what it has learned.

    Raises:
        PluginError: if the fusion cannot take back what is stored of it.
    """
    import torch

    from fusionkit.contracts.fusion import FittedFusion
    from fusionkit.engine.fit import WithViewHeads

    prefix = "fusion."
    learned = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    with torch.random.fork_rng(devices=[]):
        model: Any = FUSIONS.build(fusion, in_dims=in_dims, num_classes=classes)
        try:
            if isinstance(model, FittedFusion):
                model.restore(learned)
                return model
            model.attach_head()
            if any(name.startswith("adapters.") for name in learned):
                model = WithViewHeads(model, weight=0.0, modulation=0.0)  # what training alone needs is left out
            model.load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()})
        except FusionKitError:
            raise
        except Exception as error:
            raise PluginError(
                f"fusion {fusion} does not take back what is stored of it: {cause_of(error)}",
                hint="its code may have changed since the cell was trained",
            ) from error
    found: Fusion = model.to(device).eval()
    return found
