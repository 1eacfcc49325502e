"""Task ``expression``: one expression per frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fusionkit.contracts import LossOptions
from fusionkit_tasks.losses import class_loss
from fusionkit_tasks.single_label import SingleLabel

if TYPE_CHECKING:
    from torch import Tensor


class Expression(SingleLabel):
    """One expression per frame, scored by macro-F1 over pooled frames.

    A class that is not in the truth is left out of the mean. scikit-learn's ``f1_score(average="macro")`` gives it 0 if
    it is predicted; all classes of the challenge are in the truth, so that both agree there.

    Reference: the protocol of the ABAW expression challenge: the unweighted mean of the per-class F1 over all annotated
    frames, pooled and not per video (https://affective-behavior-analysis-in-the-wild.github.io/6th/).
    """

    loss_options: ClassVar[frozenset[str]] = frozenset(
        {"loss", "class_weights", "focal_gamma", "label_smoothing", "logit_adjustment"}
    )

    def problem(self, values: np.ndarray) -> str:
        """Return which label is not in -1..C-1."""
        if values.ndim != 1:
            return f"labels are {values.shape}, not (N,): one class per frame"
        bad = np.flatnonzero((values < -1) | (values >= len(self.names)))
        return f"label {values[bad[0]]} of row {bad[0]} is not in -1..{len(self.names) - 1}" if len(bad) else ""

    def hard_labels(self, values: np.ndarray) -> np.ndarray:
        """Return the labels."""
        return values

    def criterion(self, target: Tensor, options: LossOptions) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the cross-entropy or focal loss."""
        return class_loss(target, len(self.names), options)
