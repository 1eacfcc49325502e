"""A hidden Markov model of the classes over time, looking back only."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import CausalSmoother
from fusionkit_smoothers.fitted_chain import FittedChain, filtered

Past = tuple[np.ndarray, int]


class HmmFilter(FittedChain, CausalSmoother):
    """The model of ``hmm``, for frames as they come: probabilities of a frame's classes given it and all before.

    A gap is as many steps of the chain as frames are missing. A clip of one frame is given
    ``share * p(class | frame) / p(class)``; a clip without change does not stay as it is: each frame that says the same
    again makes it more certain.

    Args:
        pseudo_count: transitions of each kind, and labels of each class, that count as seen before any is.
        prior: what ``p(class)`` is: ``implied`` by the head's probabilities on dev, the shares of the ``labels``, or
            ``uniform``.

    Reference: the forward pass of Rabiner 1989, "A tutorial on hidden Markov models and selected applications in speech
    recognition" (https://doi.org/10.1109/5.18626); likelihoods from a classifier by Bourlard and Morgan 1994,
    "Connectionist Speech Recognition" (https://doi.org/10.1007/978-1-4615-3210-1).
    """

    called: ClassVar[str] = "hmm-filter"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"prior": "uniform"})

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Past | None) -> tuple[np.ndarray, Past]:
        """The next piece of a clip.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.
            past: probabilities (C,) and frame number of the last frame; None at the start of a clip.

        Returns:
            (T, C) probabilities, and the past of the next piece.

        Raises:
            PluginError: if it has not been fitted.
        """
        belief, last = past or (self._fitted["start"], None)
        beliefs = filtered(self.emissions(x), self.transitions(frame_numbers, last), belief)
        return beliefs, (beliefs[-1].copy(), int(frame_numbers[-1]))
