"""The contract of a temporal smoother: the predictions of one clip in, better ones out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.errors import PluginError


class Smoother(Component, ABC):
    """Post-processes the predictions of one clip over time.

    Attributes:
        causal: the result at a frame uses no later frame.
        needs: what :meth:`smooth` is given: class probabilities, logits or embeddings.
        hard: the result is one-hot: a decision, not a probability.
        fitted: :meth:`fit` learns something, so the smoother must be fitted, and keyed with its seed, before use.
        auto: options that may be ``'auto'``, each with its candidate values, the mildest first. The value is chosen
            once per family by the mean dev score over seeds; of equal ones the first.
    """

    kind: ClassVar[str] = "smoother"
    causal: ClassVar[bool] = False
    needs: ClassVar[Literal["probs", "logits", "embeddings"]] = "probs"
    hard: ClassVar[bool] = False
    fitted: ClassVar[bool] = False
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {}

    def fit(self, clips: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[np.ndarray], seed: int) -> None:
        """Learn from dev clips (training logits are overfitted); does nothing by default.

        Args:
            clips: a pair ``(x (T, C), frame_numbers (T,))`` a clip, as :meth:`smooth` gets them.
            labels: (T,) int64 a clip, -1 unlabelled.
            seed: seeds whatever is random.
        """

    @abstractmethod
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Smooth one clip.

        Args:
            x: (T, C) float64, in time order: probabilities, logits or embeddings as ``needs`` says.
            frame_numbers: (T,) int64, rising; gaps in it are gaps in time.

        Returns:
            (T, C): non-negative class weights of each frame; the base makes each row sum to one.
        """

    def __call__(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """:meth:`smooth` with the result checked and each row divided by its sum.

        Returns:
            (T, C) float64; rows are probabilities.

        Raises:
            PluginError: if the result has another shape, is not finite, is negative, or has a row that sums to zero.
        """
        name = type(self).__name__
        out = np.asarray(self.smooth(x, frame_numbers), dtype=np.float64)
        if out.ndim != 2 or len(out) != len(x) or (self.needs != "embeddings" and out.shape != x.shape):
            raise PluginError(f"smoother {name} gave {out.shape} for {x.shape}")
        if not np.isfinite(out).all():
            raise PluginError(f"smoother {name} gave a value that is not finite")
        total = out.sum(1, keepdims=True)
        if (out < 0).any() or (total <= 0).any():
            raise PluginError(f"smoother {name} gave a negative weight or a row without weight")
        smoothed: np.ndarray = out / total
        return smoothed
