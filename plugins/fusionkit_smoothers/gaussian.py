"""A Gaussian window over time."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother
from fusionkit.contracts.option_types import NonNegative, Positive
from fusionkit_smoothers.shared_options import chosen, clip_width
from fusionkit_smoothers.time_grid import weighted_means


class Gaussian(Smoother):
    """Mean of the probabilities around a frame, weighted by ``exp(-d^2 / (2 sigma^2))`` of the distance d in frames.

    A missing frame has no weight; at the ends of a clip and beside gaps the mean is of the existing frames. A constant
    clip is unchanged.

    Args:
        sigma: in frames. ``0`` changes nothing; ``'clip'`` is a twelfth of each clip's length, at most 25; ``'auto'``
            is chosen on dev.
        truncate: half the width of the window in sigmas, rounded to a whole frame as in SciPy's ``gaussian_filter1d``.

    Reference: Savchenko 2024 (https://arxiv.org/abs/2407.13184) smooths the scores of ABAW-7 by such a window, where
    ``exp(-d^2 / s)`` with s = 1e5 over 50 frames on either side was best: sigma 224, cut off at 0.22 sigma, which is
    nearly a box. Sigma 25, the largest default, spreads about as far as a box of 87 frames; that width is our reading.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"sigma": (0, 1, 3, 6, 12, 25, 50)}
    examples = ({"sigma": 2}, {"sigma": 3.5, "truncate": 2})

    def __init__(self, sigma: NonNegative | Literal["clip", "auto"] = "clip", truncate: Positive = 4.0) -> None:
        self.sigma = sigma
        self.truncate = truncate

    @property
    def span(self) -> float | None:
        """See :attr:`Smoother.span`: 3.5 sigma; None if sigma follows the clip or is chosen on dev."""
        return None if isinstance(self.sigma, str) else max(1.0, 2 * sqrt(pi) * self.sigma)

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Average over time.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) means, at least 0.

        Raises:
            PluginError: if sigma is still ``'auto'``.
        """
        sigma = chosen(self, "sigma")
        if sigma == "clip":
            sigma = min(25.0, clip_width(frame_numbers) / 4)
        half = int(self.truncate * sigma + 0.5)
        if half == 0:
            return x
        return weighted_means(x, frame_numbers, half, lambda distance: np.exp(-0.5 * np.square(distance / sigma)))
