"""A hidden Markov model of the classes over time, looking both ways."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import require_choice
from fusionkit_smoothers.fitted_chain import FittedChain, Prior, filtered


class Hmm(FittedChain):
    """Classes follow a Markov chain, and a frame shows its class by ``p(class | frame) / p(class)``.

    The chain is counted on the labels of the dev clips. A gap is as many steps of the chain as frames are missing:
    a power of its matrix. A clip of one frame is given ``share * p(class | frame) / p(class)``; a clip without change
    does not stay as it is: each frame that says the same again makes it more certain.

    Args:
        decode: ``posterior``: the probabilities of each frame's classes given the whole clip. ``viterbi``: the most
            likely path, a decision; across a gap, the frames that are missing may have been anything.
        pseudo_count: transitions of each kind, and labels of each class, that count as seen before any is.
        prior: what ``p(class)`` is: ``implied`` by the head's probabilities on dev, the shares of the ``labels``, or
            ``uniform``.

    Reference: Rabiner 1989, "A tutorial on hidden Markov models and selected applications in speech recognition"
    (https://doi.org/10.1109/5.18626); likelihoods from a classifier by Bourlard and Morgan 1994, "Connectionist Speech
    Recognition" (https://doi.org/10.1007/978-1-4615-3210-1), with the labels' shares. The implied prior is our reading.
    """

    called: ClassVar[str] = "hmm"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"decode": "viterbi", "pseudo_count": 0.5})

    def __init__(
        self,
        decode: Literal["posterior", "viterbi"] = "posterior",
        pseudo_count: float = 1.0,
        prior: Prior = "implied",
    ) -> None:
        super().__init__(pseudo_count, prior)
        require_choice("hmm: decode", decode, ("posterior", "viterbi"))
        self.decode = decode
        self.hard = decode == "viterbi"

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Decode a clip.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) posterior probabilities, or one-hot.

        Raises:
            PluginError: if it has not been fitted.
        """
        if not len(x):
            return x
        emissions = self.emissions(x)
        transitions = self.transitions(frame_numbers, None)
        start = self._fitted["start"]
        if self.decode == "viterbi":
            return np.eye(x.shape[1])[_best_path(emissions, transitions, start)]
        return filtered(emissions, transitions, start) * _still_to_come(emissions, transitions)


def _still_to_come(emissions: np.ndarray, transitions: list[np.ndarray]) -> np.ndarray:
    """(T, C) how likely the later frames are from each class, up to a factor a frame."""
    later = np.ones(emissions.shape)
    ones = np.ones(emissions.shape[1])
    for frame in range(len(emissions) - 1, 0, -1):
        from_each = transitions[frame].dot(emissions[frame] * later[frame])
        np.divide(from_each, from_each.dot(ones), out=later[frame - 1])
    return later


def _best_path(emissions: np.ndarray, transitions: list[np.ndarray], start: np.ndarray) -> np.ndarray:
    """(T,) the most likely classes as a whole; of equally likely ones the first."""
    with np.errstate(divide="ignore"):  # a class that a frame excludes
        shown = np.log(emissions)
    logs = {id(each): np.log(each.T.copy()) for each in {id(each): each for each in transitions[1:]}.values()}
    came_from = np.zeros(emissions.shape, dtype=np.int64)
    best = np.log(start) + shown[0]
    for frame in range(1, len(shown)):
        paths = logs[id(transitions[frame])] + best
        paths.argmax(1, out=came_from[frame])
        best = paths.max(1) + shown[frame]
    path = np.empty(len(shown), dtype=np.int64)
    path[-1] = best.argmax()
    for frame in range(len(shown) - 1, 0, -1):
        path[frame - 1] = came_from[frame, path[frame]]
    return path
