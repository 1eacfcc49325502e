"""Task ``valence-arousal``: two values between -1 and 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from fusionkit.contracts import LossOptions, Task
from fusionkit_tasks.ratio import ratio
from fusionkit_tasks.shapes import wrong_columns

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-8  # of the denominator of CCC in training: a batch may be constant
_ROUNDING = 1e-10  # a variance below this share of the mean square cannot be told from 0 in sums of many frames


class ValenceArousal(Task):
    """Values of K dimensions in -1..1, scored by the mean concordance correlation coefficient (CCC).

    Labels are (N, K) in -1..1, NaN unlabelled. A head gives one number z for each dimension; the prediction is
    tanh(z). A smoother gets it as the probability (1 + tanh(z)) / 2.

    Counts are (K, 6) float64: the number of frames, and the sums of truth, prediction, their squares and their product.
    CCC is ``2 cov(y, p) / (var(y) + var(p) + (mean(y) - mean(p))**2)`` over pooled frames, with variances divided by
    their number. For constant predictions it is 0; the challenge's formula, which has the correlation as a factor, is
    undefined there.

    Args:
        names: of the dimensions.
        loss: ``ccc`` is 1 - CCC of the batch, ``mse`` the mean squared error.

    Reference: Lin, A concordance correlation coefficient to evaluate reproducibility, Biometrics 45 (1989), 255-268;
    the protocol of the ABAW valence-arousal challenge: CCC of each dimension over all annotated frames, and their mean
    (https://affective-behavior-analysis-in-the-wild.github.io/6th/).
    """

    part: ClassVar[str] = "dimension"
    score: ClassVar[str] = "CCC"
    metric_name: ClassVar[str] = "mean CCC"
    least: ClassVar[float] = -1.0
    discrete: ClassVar[bool] = False
    examples: ClassVar[tuple[dict[str, str], ...]] = ({}, {"loss": "mse"})

    def __init__(self, names: Sequence[str], loss: Literal["ccc", "mse"] = "ccc") -> None:
        super().__init__(names)
        self.loss = loss

    def problem(self, values: np.ndarray) -> str:
        """Return which value is not in -1..1."""
        if wrong := wrong_columns(values, len(self.names)):
            return wrong
        with np.errstate(invalid="ignore"):
            bad = np.argwhere(np.abs(values) > 1)
        if not len(bad):
            return ""
        row, part = bad[0].tolist()
        return f"{self.names[part]} {values[row, part]:g} of row {row} is not in -1..1; unlabelled is NaN"

    def strata(self, values: np.ndarray) -> np.ndarray:
        """Return the signs of the dimensions as one number in 0..2**K-1, or -1 without any label."""
        signs = (np.nan_to_num(values) > 0) @ (1 << np.arange(values.shape[1]))
        found: np.ndarray = np.where(np.isnan(values).all(1), -1, signs).astype(np.int64)
        return found

    def criterion(self, target: Tensor, options: LossOptions) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss: the mean of 1 - CCC of the batch over its labelled dimensions, or of the squared error.

        A dimension with one labelled frame in a batch has a CCC of 0 without slope.
        """

        def loss(outputs: Tensor, truth: Tensor) -> Tensor:
            known = (~truth.isnan()).float()
            number = known.sum(0).clamp(min=1)
            truth, found = truth.nan_to_num(), outputs.tanh()
            if self.loss == "mse":
                return ((found - truth) ** 2 * known).sum() / known.sum().clamp(min=1)
            mean_y, mean_p = (truth * known).sum(0) / number, (found * known).sum(0) / number
            y, p = (truth - mean_y) * known, (found - mean_p) * known
            spread = ((y**2).sum(0) + (p**2).sum(0)) / number + (mean_y - mean_p) ** 2
            ccc = 2 * (y * p).sum(0) / number / spread.clamp(min=_LEAST)
            there = known.any(0)
            return ((1 - ccc) * there).sum() / there.sum().clamp(min=1)

        return loss

    def distributions(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Return, for each dimension, the logits (n, 2) of the ends -1 and 1."""
        return [np.stack([np.zeros(len(outputs)), 2.0 * outputs[:, index]], 1) for index in range(len(self.names))]

    def joined(self, distributions: Sequence[np.ndarray]) -> np.ndarray:
        """Return the values (n, K) in -1..1."""
        return np.stack([each[:, 1] - each[:, 0] for each in distributions], 1)

    def words(self, predictions: np.ndarray) -> np.ndarray:
        """Return the values of each frame, (n,) str: ``valence +0.31 arousal -0.05``."""
        lines = [
            " ".join(f"{name} {value:+.2f}" for name, value in zip(self.names, row, strict=True)) for row in predictions
        ]
        return np.array(lines, dtype=np.str_)

    def answers(self, predictions: np.ndarray) -> np.ndarray:
        """Return the values (n, K) in -1..1."""
        found: np.ndarray = np.clip(predictions, -1, 1)
        return found

    def prior(self, values: np.ndarray) -> np.ndarray:
        """Return the mean (K,) of each dimension."""
        known = ~np.isnan(values)
        mean: np.ndarray = np.nansum(values, axis=0, dtype=np.float64) / np.maximum(known.sum(0), 1)
        return mean

    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        """Return the sums (U, K, 6) float64 of 1, y, p, y squared, p squared and y p."""
        known = ~np.isnan(values)
        y, p = np.where(known, values, 0.0).astype(np.float64), np.where(known, predictions, 0.0).astype(np.float64)
        terms = np.stack([known.astype(np.float64), y, p, y * y, p * p, y * p], 2)
        found = np.zeros((units, *terms.shape[1:]))
        np.add.at(found, unit, terms)
        return found

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the CCC of each dimension, (..., K) in -1..1; NaN without a frame, or if all values are the same."""
        y, p, yy, pp, yp = np.moveaxis(ratio(counts[..., 1:], counts[..., :1]), -1, 0)
        spread = _beyond_rounding(yy + pp - 2 * y * p, yy + pp)  # both variances and the squared difference of means
        return np.clip(ratio(2 * (yp - y * p), spread), -1.0, 1.0)

    def support(self, counts: np.ndarray) -> np.ndarray:
        """Return the labelled frames of each dimension, (..., K)."""
        return counts[..., 0]

    def truth(self, counts: np.ndarray) -> np.ndarray:
        """Return number, sum and sum of squares of the labels of each dimension, (..., 3 K)."""
        found = counts[..., [0, 1, 3]]
        return found.reshape(*found.shape[:-2], -1)

    def constant(self, counts: np.ndarray) -> np.ndarray:
        """Return the sums of a predictor that always gives the mean of the labels; its CCC is 0."""
        total = counts.sum(tuple(range(counts.ndim - 2)))
        mean = total[:, 1] / np.maximum(total[:, 0], 1)
        found = counts.copy()
        found[..., 2] = counts[..., 0] * mean
        found[..., 4] = counts[..., 0] * mean**2
        found[..., 5] = counts[..., 1] * mean
        return found

    def measures(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``rmse``, the root of the mean squared error over all labels, and ``pcc``, the mean correlation.

        A dimension of which labels or predictions do not vary has no correlation and is left out of that mean.
        """
        error = (counts[..., 3] + counts[..., 4] - 2 * counts[..., 5]).sum(-1)
        y, p, yy, pp, yp = np.moveaxis(ratio(counts[..., 1:], counts[..., :1]), -1, 0)
        variances = _beyond_rounding(yy - y**2, yy) * _beyond_rounding(pp - p**2, pp)
        correlation = ratio(yp - y * p, np.sqrt(variances))
        there = ~np.isnan(correlation)
        return {
            "rmse": np.sqrt(np.maximum(ratio(error, counts[..., 0].sum(-1)), 0)),
            "pcc": ratio(np.where(there, correlation, 0.0).sum(-1), there.sum(-1)),
        }


def _beyond_rounding(difference: np.ndarray, minuend: np.ndarray) -> np.ndarray:
    """Return a difference of means of squares, or 0 where rounding could have caused it."""
    found: np.ndarray = np.where(difference > _ROUNDING * minuend, difference, 0.0)
    return found
