"""The smoother that does nothing: the row every other smoother has to beat."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts import CausalSmoother


class NoSmoother(CausalSmoother):
    """Leaves the predictions of every frame as they are.

    Reference: the baseline of the method itself; there is nothing to cite.
    """

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: None) -> tuple[np.ndarray, None]:
        """The probabilities (T, C) as they came; frame numbers are not looked at."""
        return x, None
