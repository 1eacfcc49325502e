"""A task: what is predicted of a frame, how a head learns it, and how predictions are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fusionkit.contracts import LossOptions, Task

if TYPE_CHECKING:
    from torch import Tensor


class ExampleIntensity(Task):
    """Intensities of emotions between 0 and 1, scored by their similarity to the labels, 1 - RMSE.

    Labels are (N, K) in 0..1, NaN unlabelled. A head gives one logit for each intensity. Counts are (K, 4) float64: the
    number of frames, and the sums of the labels, of their squares, and of the squared errors.

    Args:
        names: of the emotions.

    Reference: the root-mean-square error, turned so that more is better.
    """

    part: ClassVar[str] = "emotion"
    score: ClassVar[str] = "similarity"
    metric_name: ClassVar[str] = "mean similarity"
    discrete: ClassVar[bool] = False

    def problem(self, values: np.ndarray) -> str:
        """Return what is wrong with labels, with the row; an empty text if nothing is."""
        if values.shape[1:] != (len(self.names),):
            return f"labels are {values.shape}, not (N, {len(self.names)})"
        bad = np.flatnonzero(((values < 0) | (values > 1)).any(1))
        return f"intensities {values[bad[0]].tolist()} of row {bad[0]} are not in 0..1" if len(bad) else ""

    def strata(self, values: np.ndarray) -> np.ndarray:
        """Return 1 for frames with an intensity above one half, 0 for others, -1 without any label."""
        found: np.ndarray = np.where(np.isnan(values).all(1), -1, (values > 0.5).any(1)).astype(np.int64)
        return found

    def criterion(self, target: Tensor, options: LossOptions) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the mean squared error over the labels of a batch."""

        def loss(outputs: Tensor, truth: Tensor) -> Tensor:
            known = ~truth.isnan()
            error = (outputs.sigmoid() - truth.nan_to_num()) * known
            return (error**2).sum() / known.sum().clamp(min=1)

        return loss

    def distributions(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Return, for each intensity, the logits (n, 2) of the ends 0 and 1, for smoothers."""
        return [np.stack([np.zeros(len(outputs)), each], 1) for each in outputs.T]

    def joined(self, distributions: Sequence[np.ndarray]) -> np.ndarray:
        """Return the intensities (n, K)."""
        return np.stack([each[:, 1] for each in distributions], 1)

    def words(self, predictions: np.ndarray) -> np.ndarray:
        """Return the intensities of each frame, (n,) str."""
        lines = [" ".join(f"{name} {x:.2f}" for name, x in zip(self.names, row, strict=True)) for row in predictions]
        return np.array(lines, dtype=np.str_)

    def prior(self, values: np.ndarray) -> np.ndarray:
        """Return the mean (K,) of each intensity, one half without a label."""
        number = (~np.isnan(values)).sum(0)
        mean: np.ndarray = np.where(number > 0, np.nansum(values, 0, np.float64) / np.maximum(number, 1), 0.5)
        return mean

    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        """Return the sums of each unit, (U, K, 4); entries without label add 0."""
        known = ~np.isnan(values)
        label, error = np.where(known, values, 0.0), np.where(known, predictions - values, 0.0)
        found = np.zeros((units, len(self.names), 4))
        np.add.at(found, unit, np.stack([known, label, label**2, error**2], 2))
        return found

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return 1 - RMSE of each intensity, (..., K); NaN without a label."""
        number, error = counts[..., 0], counts[..., 3]
        square = np.divide(error, number, out=np.full(number.shape, np.nan), where=number > 0)
        found: np.ndarray = np.clip(1 - np.sqrt(square), 0, 1)
        return found

    def support(self, counts: np.ndarray) -> np.ndarray:
        """Return the labelled frames of each intensity, (..., K)."""
        return counts[..., 0]

    def truth(self, counts: np.ndarray) -> np.ndarray:
        """Return what of the counts depends on labels alone, (..., 3 K)."""
        return counts[..., :3].reshape(*counts.shape[:-2], -1)

    def constant(self, counts: np.ndarray) -> np.ndarray:
        """Return the sums of a predictor that always gives the mean of the labels."""
        number, label = counts.sum(tuple(range(counts.ndim - 2))).T[:2]
        mean = label / np.maximum(number, 1)
        found = counts.copy()
        error = counts[..., 2] - 2 * mean * counts[..., 1] + mean**2 * counts[..., 0]
        found[..., 3] = np.maximum(error, 0)
        return found
