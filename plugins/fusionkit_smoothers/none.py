"""The smoother that does nothing: the baseline of all others."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts import CausalSmoother


class NoSmoother(CausalSmoother):
    """No smoothing: the predictions of every frame are unchanged.

    Reference: the baseline of the method itself; there is nothing to cite.
    """

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: None) -> tuple[np.ndarray, None]:
        """Return the probabilities (T, C) unchanged; frame numbers are not used."""
        return x, None
