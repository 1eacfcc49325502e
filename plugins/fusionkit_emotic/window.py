"""The paper's sliding window: each frame becomes the mean of the frames around it in time."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother
from fusionkit.errors import ConfigError, PluginError

# Prefix sums start anew after this many frames, so that rounding depends on this number and not on the clip's length.
_FRAMES_PER_SUM = 1024


class Window(Smoother):
    """Sliding window: the mean of the probabilities of all frames up to half a width away.

    Distance is counted in frame numbers: a frame that is missing from the clip is missing from the mean, and frames on
    the far side of a gap do not move closer. At the ends of a clip the window holds what there is.

    The paper smooths by a sliding window, but neither its kind nor its width is known: a centred mean is our reading,
    and the default width is not the paper's.

    Args:
        width: frames in the window, odd: the frame and as many on either side. ``1`` changes nothing. ``'auto'`` is
            chosen on dev.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039). Width 101: of 1 to 1001 the best for a centred mean on the ABAW-6
    validation set, by Savchenko 2024 (https://arxiv.org/abs/2403.11590; figures in the notebook ``abaw6_affwild2`` of
    https://github.com/av-savchenko/face-emotion-recognition).
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5, 11, 25, 51, 101, 201)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 5}, {"width": 101})

    def __init__(self, width: int | Literal["auto"] = 101) -> None:
        odd = isinstance(width, int) and not isinstance(width, bool) and width > 0 and width % 2 == 1
        if width != "auto" and not odd:
            raise ConfigError(f"window: width={width!r} is not an odd number of frames from 1 up, nor 'auto'")
        self.width = width

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Average over time, in a time that does not grow with the width.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) means; never negative.

        Raises:
            PluginError: if the width is still ``'auto'``.
        """
        if self.width == "auto":
            raise PluginError("window: width='auto' has not been chosen yet", hint="build it with a number to smooth")
        if self.width == 1:
            return x
        half = self.width // 2
        first = np.searchsorted(frame_numbers, frame_numbers - half, side="left")
        stop = np.searchsorted(frame_numbers, frame_numbers + half, side="right")
        means = [
            _window_means(x, first[start : start + _FRAMES_PER_SUM], stop[start : start + _FRAMES_PER_SUM])
            for start in range(0, len(x), _FRAMES_PER_SUM)
        ]
        return np.concatenate(means) if means else x


def _window_means(x: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Means of ``x[first:stop]`` for rising ``first`` and ``stop``: two arrays (n,) to (n, C)."""
    start = first[0]
    # Rounding keeps order, so running sums of weights that are not negative never fall, and no difference is negative.
    sums = np.zeros((stop[-1] - start + 1, x.shape[1]))
    np.cumsum(x[start : stop[-1]], axis=0, out=sums[1:])
    means: np.ndarray = (sums[stop - start] - sums[first - start]) / (stop - first)[:, None]
    return means
