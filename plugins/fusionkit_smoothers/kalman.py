"""The Kalman smoother of logits that wander at random."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother, require_number
from fusionkit_smoothers.kalman_filter import MOST_NOISE
from fusionkit_smoothers.option_checks import settled


class Kalman(Smoother):
    """Each class's logit is a random walk that frames show with noise; the estimate from all frames of the clip.

    The walk's variance grows with frame numbers, so that a gap loosens what lies on either side. Softmax of the
    estimates is the result; a clip without change stays as it is. Filtering forwards and smoothing backwards gives the
    means of a Gaussian whose inverse covariance has three diagonals; they are found by solving for them at once.

    Args:
        noise: variance of what a frame shows over that of the walk from one frame to the next; ``0`` changes nothing,
            ``'auto'`` is chosen on dev. Frames ``sqrt(noise)`` away count about e times less than the frame itself.

    Reference: Rauch, Tung and Striebel 1965, "Maximum likelihood estimates of linear dynamic systems"
    (https://doi.org/10.2514/3.3166). A random walk for each logit, with nothing known before the first frame, and the
    default, are our reading.
    """

    needs: ClassVar[Literal["probs", "logits", "embeddings"]] = "logits"
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"noise": (0, 1, 10, 100, 400, 1600, 6400)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"noise": 4}, {"noise": 0.5})

    def __init__(self, noise: float | Literal["auto"] = 400) -> None:
        if noise != "auto":
            require_number("kalman: noise", noise, least=0, most=MOST_NOISE)
        self.noise = noise

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Estimate over time.

        Args:
            x: (T, C) logits.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) probabilities.

        Raises:
            PluginError: if the noise is still ``'auto'``.
        """
        from scipy.linalg import solveh_banded
        from scipy.special import softmax

        ties = settled("kalman", "noise", self.noise) / np.diff(frame_numbers)
        if not len(ties) or not ties.any():
            return softmax(x, axis=1)
        precision = np.ones((2, len(x)))  # the diagonal, and the one below it, in units of a frame's own
        precision[0, :-1] += ties
        precision[0, 1:] += ties
        precision[1, :-1] = -ties
        return softmax(solveh_banded(precision, x, lower=True), axis=1)
