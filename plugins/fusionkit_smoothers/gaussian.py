"""A Gaussian window over time."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother, require_number
from fusionkit_smoothers.kernel_means import kernel_means
from fusionkit_smoothers.option_checks import settled


class Gaussian(Smoother):
    """Mean of the probabilities around a frame, weighted by ``exp(-d^2 / (2 sigma^2))`` of the distance d in frames.

    A missing frame has no weight; at the ends of a clip and beside gaps the mean is of what there is. A clip without
    change stays as it is.

    Args:
        sigma: in frames; ``0`` changes nothing, ``'auto'`` is chosen on dev.
        truncate: the window ends this many sigmas away, rounded to a whole frame as SciPy's ``gaussian_filter1d`` does.

    Reference: Savchenko 2024 (https://arxiv.org/abs/2407.13184) smooths the scores of ABAW-7 by such a window, where
    ``exp(-d^2 / s)`` with s = 1e5 over 50 frames on either side was best: sigma 224, cut off at 0.22 sigma, which is
    nearly a box. Sigma 25, the default, spreads about as far as a box of 87 frames; that width is our reading.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"sigma": (0, 1, 3, 6, 12, 25, 50)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"sigma": 2}, {"sigma": 3.5, "truncate": 2})

    def __init__(self, sigma: float | Literal["auto"] = 25, truncate: float = 4.0) -> None:
        if sigma != "auto":
            require_number("gaussian: sigma", sigma, least=0)
        require_number("gaussian: truncate", truncate, above=0)
        self.sigma = sigma
        self.truncate = truncate

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Average over time.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) means; never negative.

        Raises:
            PluginError: if sigma is still ``'auto'``.
        """
        sigma = settled("gaussian", "sigma", self.sigma)
        half = int(self.truncate * sigma + 0.5)
        if half == 0:
            return x
        return kernel_means(x, frame_numbers, half, lambda distance: np.exp(-0.5 * np.square(distance / sigma)))
