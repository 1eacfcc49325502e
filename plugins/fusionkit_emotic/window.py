"""The paper's sliding window: each frame becomes the mean of the frames around it in time."""

from __future__ import annotations

import numpy as np

from fusionkit_smoothers.shared_options import WindowSmoother

# Prefix sums restart after this many frames, so that rounding depends on this number and not on the clip's length.
_FRAMES_PER_SUM = 1024


class Window(WindowSmoother):
    """Sliding window: the mean of the probabilities of all frames up to half a width away.

    Distance is counted in frame numbers. A missing frame does not enter the mean, and a gap is not closed. At the ends
    of a clip the mean is of the frames that exist.

    The paper smooths by a sliding window but states neither its kind nor its width: a centred mean is our reading, and
    the default width is not the paper's.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039). Width 101, the largest default: of 1 to 1001 the best for a centred
    mean on the ABAW-6 validation set, by Savchenko 2024 (https://arxiv.org/abs/2403.11590; figures in the notebook
    ``abaw6_affwild2`` of https://github.com/av-savchenko/face-emotion-recognition).
    """

    examples = ({"width": 5}, {"width": 101})

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Average over time, at a cost that does not grow with the width.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) means, at least 0.

        Raises:
            PluginError: if the width is still ``'auto'``.
        """
        if self.half(frame_numbers) == 0:
            return x
        first, stop = self.bounds(frame_numbers)
        means = [
            _window_means(x, first[start : start + _FRAMES_PER_SUM], stop[start : start + _FRAMES_PER_SUM])
            for start in range(0, len(x), _FRAMES_PER_SUM)
        ]
        return np.concatenate(means) if means else x


def _window_means(x: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return the means of ``x[first:stop]`` for rising ``first`` and ``stop``: two arrays (n,) to (n, C)."""
    start = first[0]
    # Rounding keeps order, so running sums of non-negative weights never fall, and no difference is negative.
    sums = np.zeros((stop[-1] - start + 1, x.shape[1]))
    np.cumsum(x[start : stop[-1]], axis=0, out=sums[1:])
    means: np.ndarray = (sums[stop - start] - sums[first - start]) / (stop - first)[:, None]
    return means
