"""The Kalman filter of logits that wander at random."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import CausalSmoother, require_number
from fusionkit_smoothers.option_checks import settled
from fusionkit_smoothers.tracking import track

MOST_NOISE = 1e9  # beyond it, what one frame says is lost in the rounding of a sum
Past = tuple[np.ndarray, float, int]


class KalmanFilter(CausalSmoother):
    """Each class's logit is a random walk that frames show with noise; the estimate from this frame and all before.

    The walk's variance grows with frame numbers, so that after a gap a new frame counts more. Nothing is known before
    the first frame, which is taken as it is. Softmax of the estimates is the result; a clip without change stays as it
    is.

    Args:
        noise: variance of what a frame shows over that of the walk from one frame to the next; ``0`` changes nothing,
            ``'auto'`` is chosen on dev. The estimate is a mean over about ``sqrt(noise)`` frames.

    Reference: Kalman 1960, "A new approach to linear filtering and prediction problems"
    (https://doi.org/10.1115/1.3662552). A random walk for each logit, and the default, are our reading.
    """

    needs: ClassVar[Literal["probs", "logits", "embeddings"]] = "logits"
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"noise": (0, 1, 10, 100, 400, 1600, 6400)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"noise": 4}, {"noise": 0.5})

    def __init__(self, noise: float | Literal["auto"] = 400) -> None:
        if noise != "auto":
            require_number("kalman-filter: noise", noise, least=0, most=MOST_NOISE)
        self.noise = noise

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Past | None) -> tuple[np.ndarray, Past]:
        """The next piece of a clip.

        Args:
            x: (T, C) logits.
            frame_numbers: (T,) rising.
            past: the estimates (C,), their gain and the frame number so far; None at the start of a clip.

        Returns:
            (T, C) probabilities, and the past of the next piece.

        Raises:
            PluginError: if the noise is still ``'auto'``.
        """
        from scipy.special import softmax

        noise = settled("kalman-filter", "noise", self.noise)
        level, gain, last = past or (np.zeros(x.shape[1]), 0.0, None)
        gains = []
        for number in frame_numbers.tolist():
            # In units of the noise, the variance after a frame equals its gain.
            before = gain + (number - last) / noise if noise and last is not None else None
            gain = 1.0 if before is None else before / (before + 1.0)
            gains.append(gain)
            last = number
        estimates = track(x, gains, level)
        return softmax(estimates, axis=1), (estimates[-1].copy(), gain, last)
