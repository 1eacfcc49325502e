"""Stacking: a classifier on the views' classifiers' predictions of held-out frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from fusionkit.contracts import FittedFusion
from fusionkit.contracts.option_types import Positive, Range
from fusionkit.errors import CellError

if TYPE_CHECKING:
    from torch import nn


class Stacking(FittedFusion):
    """A logistic regression per view, and one on their log-probabilities of held-out frames.

    The held-out predictions come from folds that keep units (subjects or videos) together, so that the second stage
    learns how reliable each view is on new subjects. Both stages weight classes by inverse frequency. Absent views are
    replaced by their training mean.

    Args:
        folds: of the inner cross-validation.
        c: inverse strength of the L2 penalty of both stages.

    Raises:
        CellError: if the training frames have fewer units than folds.

    Reference: Wolpert 1992, "Stacked generalization" (https://doi.org/10.1016/S0893-6080(05)80023-1).
    """

    examples = ({"folds": 2},)

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, folds: Annotated[int, Range(least=2)] = 5, c: Positive = 1.0
    ) -> None:
        super().__init__(in_dims, num_classes)
        self.folds, self.c = folds, c
        self._state: dict[str, np.ndarray] = {}

    def fit(self, views: dict[str, np.ndarray], y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        """Fit both stages."""
        from sklearn.model_selection import StratifiedGroupKFold

        units = len(np.unique(groups))
        if units < self.folds:
            raise CellError(f"stacking: {units} unit(s) are fewer than the {self.folds} folds")
        folds = list(StratifiedGroupKFold(self.folds, shuffle=True, random_state=seed).split(y, y, groups))
        log_probs = []
        for name in self.in_dims:
            held_out = np.empty((len(y), self.num_classes))
            for train, test in folds:
                held_out[test] = _log_probs(self._fitted(views[name][train], y[train]), views[name][test])
            log_probs.append(held_out)
            self._keep(name, self._fitted(views[name], y))
        self._keep("together", self._fitted(np.concatenate(log_probs, 1), y))

    def predict_proba(self, views: dict[str, np.ndarray]) -> np.ndarray:
        """Return probabilities (N, C) of frames."""
        log_probs = [_log_probs(self._kept(name), views[name]) for name in self.in_dims]
        probs: np.ndarray = np.exp(_log_probs(self._kept("together"), np.concatenate(log_probs, 1)))
        return probs

    def state(self) -> dict[str, np.ndarray]:
        """Return weights (C, D) and biases (C,) of each stage."""
        return dict(self._state)

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`state` returned."""
        self._state = dict(state)

    def as_network(self) -> nn.Module:
        """Return both stages as a network, which computes in float64 as they do."""
        from fusionkit_fusions.stacking_network import StackingNetwork

        return StackingNetwork({name: self._kept(name) for name in (*self.in_dims, "together")})

    def _fitted(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fit weights (C, D) and biases (C,) of a logistic regression; -30 is the bias of a class without a frame."""
        from sklearn.linear_model import LogisticRegression

        weight = np.zeros((self.num_classes, x.shape[1]))
        bias = np.full(self.num_classes, -30.0)
        classes = np.unique(y)
        if len(classes) == 1:
            bias[classes[0]] = 0.0
            return weight, bias
        model = LogisticRegression(C=self.c, class_weight="balanced", max_iter=1000).fit(x.astype(np.float64), y)
        if len(classes) == 2:  # scikit-learn keeps one row, of the second against the first
            weight[classes[1]], bias[classes] = model.coef_[0], (0.0, model.intercept_[0])
        else:
            weight[classes], bias[classes] = model.coef_, model.intercept_
        return weight, bias

    def _keep(self, name: str, fitted: tuple[np.ndarray, np.ndarray]) -> None:
        self._state[f"{name}.weight"], self._state[f"{name}.bias"] = fitted

    def _kept(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self._state[f"{name}.weight"], self._state[f"{name}.bias"]


def _log_probs(model: tuple[np.ndarray, np.ndarray], x: np.ndarray) -> np.ndarray:
    from scipy.special import log_softmax

    weight, bias = model
    found: np.ndarray = log_softmax(x.astype(np.float64) @ weight.T + bias, axis=1)
    return found
