"""Task ``votes``: the distribution of several annotators' labels of a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fusionkit.contracts import LossOptions
from fusionkit_tasks.shapes import wrong_columns
from fusionkit_tasks.single_label import SingleLabel

if TYPE_CHECKING:
    from torch import Tensor


class Votes(SingleLabel):
    """The share of annotators that chose each class. A head learns the shares; scores are those of the majority.

    Labels are votes (N, C) >= 0: numbers or shares. A row of NaN is unlabelled. The majority is the class with most
    votes; of equal ones the first.

    The ceiling is the agreement of annotators with their own majority: macro-F1 of the expected counts, if one
    annotator of each frame, drawn at random, predicted it. A model that learns from many annotators can exceed it.

    Reference: Barsoum et al., Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
    Distribution, ICMI 2016, section 3.4 (https://arxiv.org/abs/1608.01041): cross-entropy with the distribution of
    votes as target.
    """

    loss_options: ClassVar[frozenset[str]] = frozenset({"class_weights", "label_smoothing"})

    def problem(self, values: np.ndarray) -> str:
        """Return which row has a negative or infinite vote, votes for some classes only, or none at all."""
        if wrong := wrong_columns(values, len(self.names)):
            return wrong
        known = ~np.isnan(values)
        whole = known.all(1) & np.isfinite(values).all(1) & (values >= 0).all(1) & (values > 0).any(1)
        bad = np.flatnonzero(known.any(1) & ~whole)
        if not len(bad):
            return ""
        return f"votes {values[bad[0]].tolist()} of row {bad[0]} are not finite numbers >= 0, one of them above 0"

    def hard_labels(self, values: np.ndarray) -> np.ndarray:
        """Return the majority of each frame."""
        known = ~np.isnan(values[:, 0])
        found: np.ndarray = np.where(known, np.where(known[:, None], values, 0.0).argmax(1), -1)
        return found

    def criterion(self, target: Tensor, options: LossOptions) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the cross-entropy with the shares of the votes as target.

        With balanced weights, a share counts by the inverse frequency of its class among all votes.
        """
        from torch.nn import functional

        shares = target / target.sum(1, keepdim=True)
        frequency = shares.mean(0).clamp(min=1 / len(shares))
        weight = 1 / (len(self.names) * frequency) if options.class_weights == "balanced" else None

        def loss(logits: Tensor, votes: Tensor) -> Tensor:
            shares = votes / votes.sum(1, keepdim=True)
            total = functional.cross_entropy(
                logits, shares, weight=weight, label_smoothing=options.label_smoothing, reduction="sum"
            )
            return total / (len(votes) if weight is None else (shares @ weight).sum())

        return loss

    def ceiling(self, values: np.ndarray) -> tuple[str, float] | None:
        """Return the macro-F1 of the expected counts of a random annotator of each frame against the majority."""
        kept = values[self.labelled(values)].astype(np.float64)
        if not len(kept):
            return None
        confusion = np.zeros((len(self.names), len(self.names)))
        np.add.at(confusion, self.hard_labels(kept), kept / kept.sum(1, keepdims=True))
        return "an annotator of each frame, drawn at random", float(self.metric(confusion))
