"""A Gaussian window over time that leaves out frames in which the views look different."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Clip, Smoother
from fusionkit.contracts.option_types import NonNegative, Positive
from fusionkit_smoothers.shared_options import chosen, clip_width

_REACH = 4  # sigmas to either end of the window
_ROWS = 256  # frames whose windows are computed together: bounds the memory


class Bilateral(Smoother):
    """Mean of the probabilities around a frame, weighted by distance in time and by likeness of the embeddings.

    The weight of a frame at distance d is ``exp(-d^2 / (2 sigma^2)) exp(-e^2 / (2 contrast^2 m^2))``, where e is the
    distance of the embeddings, and m^2 the mean of e^2 over all pairs of frames of the clip. A sudden change of the
    views, as at a change of expression, is smoothed less than a steady view. Missing frames have no weight. A constant
    clip is unchanged.

    Args:
        sigma: in frames. ``0`` changes nothing; ``'clip'`` is a twelfth of each clip's length, at most 25; ``'auto'``
            is chosen on dev.
        contrast: scale of the difference of embeddings, in m; the larger, the nearer the result is to ``gaussian``.

    Reference: Petschnigg et al. 2004, "Digital Photography with Flash and No-Flash Image Pairs", section 4.1
    (https://doi.org/10.1145/1015706.1015777): the bilateral filter whose range weights are of another signal. Time in
    place of pixels, and the scale m, are our reading.
    """

    needs_embeddings = True
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"sigma": (0, 1, 3, 6, 12, 25, 50)}
    examples = ({"sigma": 2}, {"sigma": 3.5, "contrast": 0.5})

    def __init__(self, sigma: NonNegative | Literal["clip", "auto"] = "clip", contrast: Positive = 1.0) -> None:
        self.sigma, self.contrast = sigma, contrast

    def smooth(self, x: np.ndarray, clip: Clip) -> np.ndarray:
        """Average over time: (T, C) probabilities to (T, C) means, at least 0.

        Raises:
            PluginError: if sigma is still ``'auto'``.
        """
        sigma = chosen(self, "sigma")
        if sigma == "clip":
            sigma = min(25.0, clip_width(clip.number) / 4)
        half = int(_REACH * sigma + 0.5)
        if half == 0 or len(x) < 2:
            return x
        assert clip.embeddings is not None
        centred = clip.embeddings - clip.embeddings.mean(0)
        length = np.square(centred).sum(1)
        scale = 2 * self.contrast**2 * 2 * length.mean()  # the mean of e^2 over pairs is twice that of the lengths
        means = np.empty(x.shape)
        for start in range(0, len(x), _ROWS):
            rows = slice(start, min(start + _ROWS, len(x)))
            own = clip.number[rows]
            first = np.searchsorted(clip.number, own[0] - half)
            near = slice(first, np.searchsorted(clip.number, own[-1] + half, side="right"))
            distance = own[:, None] - clip.number[near]
            weights = np.exp(-0.5 * np.square(distance / sigma)) * (np.abs(distance) <= half)
            if scale > 0:
                difference = length[rows, None] + length[near] - 2 * centred[rows] @ centred[near].T
                weights *= np.exp(-difference.clip(0) / scale)
            means[rows] = weights @ x[near] / weights.sum(1, keepdims=True)
        return means
