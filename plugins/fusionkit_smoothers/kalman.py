"""The Kalman smoother and filter of logits that follow a random walk."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import CausalSmoother, Smoother
from fusionkit.contracts.option_types import Range
from fusionkit_smoothers.exponential import track
from fusionkit_smoothers.shared_options import chosen, clip_width

Noise = Annotated[float, Range(least=0, most=1e9)]  # beyond it, one frame is lost in the rounding of a sum
Past = tuple[np.ndarray, float, int]


class _RandomWalk(Smoother):
    """Base: each class's logit is a random walk, observed with noise at each frame."""

    needs = "logits"
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"noise": (0, 1, 10, 100, 400, 1600, 6400)}
    examples = ({"noise": 4}, {"noise": 0.5})
    noise: float | str
    _span_per_root = 2.0

    @property
    def span(self) -> float | None:
        """See :attr:`Smoother.span`; None if the noise follows the clip or is chosen on dev."""
        return None if isinstance(self.noise, str) else max(1.0, self._span_per_root * self.noise**0.5)


class Kalman(_RandomWalk):
    """Each class's logit is a random walk, observed with noise; estimated from all frames of the clip.

    The walk's variance grows with frame numbers, so that a gap loosens the frames on either side. The softmax of the
    estimates is returned; a constant clip is unchanged. Filtering forwards and smoothing backwards gives the means of a
    Gaussian whose inverse covariance is tridiagonal; one linear solve finds them.

    Args:
        noise: variance of an observation over that of the walk from one frame to the next. ``0`` changes nothing;
            ``'clip'`` is the square of a 15th of each clip's length, at most 400; ``'auto'`` is chosen on dev. The
            weight of frames ``sqrt(noise)`` away is about 1/e of the frame's own.

    Reference: Rauch, Tung and Striebel 1965, "Maximum likelihood estimates of linear dynamic systems"
    (https://doi.org/10.2514/3.3166). A random walk for each logit, with nothing known before the first frame, and the
    default, are our reading.
    """

    _span_per_root = 4.0  # both sides of a frame are used

    def __init__(self, noise: Noise | Literal["clip", "auto"] = "clip") -> None:
        self.noise = noise

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Estimate over time: (T, C) logits to (T, C) probabilities."""
        from scipy.linalg import solveh_banded
        from scipy.special import softmax

        noise = chosen(self, "noise")
        if noise == "clip":
            noise = min(400.0, (clip_width(frame_numbers) / 5) ** 2)
        ties = noise / np.diff(frame_numbers)
        if not len(ties) or not ties.any():
            return softmax(x, axis=1)
        precision = np.ones((2, len(x)))  # the diagonal, and the one below it, in units of a frame's own
        precision[0, :-1] += ties
        precision[0, 1:] += ties
        precision[1, :-1] = -ties
        return softmax(solveh_banded(precision, x, lower=True), axis=1)


class KalmanFilter(_RandomWalk, CausalSmoother):
    """Each class's logit is a random walk, observed with noise; estimated from this frame and all before.

    The walk's variance grows with frame numbers, so that a frame after a gap has more weight. Nothing is known before
    the first frame, which is unchanged. The softmax of the estimates is returned; a constant clip is unchanged.

    Args:
        noise: variance of an observation over that of the walk from one frame to the next. ``0`` changes nothing;
            ``'auto'`` is chosen on dev. The estimate is a mean over about ``sqrt(noise)`` frames.

    Reference: Kalman 1960, "A new approach to linear filtering and prediction problems"
    (https://doi.org/10.1115/1.3662552). A random walk for each logit, and the default, are our reading.
    """

    def __init__(self, noise: Noise | Literal["auto"] = 400) -> None:
        self.noise = noise

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Past | None) -> tuple[np.ndarray, Past]:
        """Filter the next piece of a clip.

        Args:
            x: (T, C) logits.
            frame_numbers: (T,) rising.
            past: estimates (C,), their gain and the frame number so far; None at the start of a clip.

        Returns:
            (T, C) probabilities, and the past of the next piece.

        Raises:
            PluginError: if the noise is still ``'auto'``.
        """
        from scipy.special import softmax

        noise = chosen(self, "noise")
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
