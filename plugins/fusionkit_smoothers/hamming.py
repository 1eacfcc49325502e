"""A Hamming window over time."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother
from fusionkit_smoothers.kernel_means import kernel_means
from fusionkit_smoothers.option_checks import require_width, settled


class Hamming(Smoother):
    """Mean of the probabilities around a frame, weighted by a raised cosine of the distance in frames.

    The weight falls from 1 at the frame to .08 at the ends of the window. A missing frame has none; at the ends of a
    clip and beside gaps the mean is of what there is. A clip without change stays as it is.

    Args:
        width: frames in the window, odd: the frame and as many on either side. ``1`` changes nothing. ``'auto'`` is
            chosen on dev.

    Reference: the weights are ``scipy.signal.windows.hamming``. Dresvyanskiy et al. 2024 smooth by it in the expression
    challenge of ABAW-6 (https://arxiv.org/abs/2403.12609), over half a second, which is 15 frames of most videos; the
    default is wider, as what was best for a plain mean is: our reading.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5, 15, 25, 51, 101, 201)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 5}, {"width": 15})

    def __init__(self, width: int | Literal["auto"] = 101) -> None:
        require_width("hamming", width)
        self.width = width

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Average over time.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) means; never negative.

        Raises:
            PluginError: if the width is still ``'auto'``.
        """
        half = settled("hamming", "width", self.width) // 2
        if half == 0:
            return x
        return kernel_means(x, frame_numbers, half, lambda distance: 0.54 + 0.46 * np.cos(np.pi * distance / half))
