"""The smoother that does nothing: the row every other smoother has to beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fusionkit.contracts import Smoother


class NoSmoother(Smoother):
    """Leaves the predictions of every frame as they are.

    Reference: the baseline of the method itself; there is nothing to cite.
    """

    causal: ClassVar[bool] = True

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """The probabilities as they came.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) not looked at.

        Returns:
            (T, C): ``x``.
        """
        return x
