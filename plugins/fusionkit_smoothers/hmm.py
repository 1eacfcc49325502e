"""Hidden Markov models of the classes over time: a smoother that uses the whole clip, and a causal filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from fusionkit.contracts import CausalSmoother, Smoother
from fusionkit.contracts.option_types import Positive
from fusionkit.errors import PluginError

Past = tuple[np.ndarray, int]
_MIN_PROBABILITY = 1e-6  # lower bound of a class probability, so that a head that is always certain can be corrected


class FittedChain(Smoother):
    """Base: the class of a frame follows a Markov chain over time, fitted on dev clips.

    A frame's likelihood of a class is proportional to ``p(class | frame) / p(class)``, where ``p(class)`` are the class
    shares that the head assumes. The chain starts from them, so that a clip of one frame is unchanged: other shares
    would re-weight classes and smooth nothing.

    Args:
        pseudo_count: added to the count of each kind of transition and of each class: the parameter of a symmetric
            Dirichlet prior. It keeps every transition possible.
        prior: source of ``p(class)``. ``implied``: the shares for which the head's probabilities, corrected, are most
            likely on dev. ``labels``: shares of the dev labels, right for a head that was trained without class
            weights. ``uniform``: right for a head that was trained as if classes were equally frequent.
    """

    fitted = True

    def __init__(
        self, pseudo_count: Positive = 1.0, prior: Literal["implied", "labels", "uniform"] = "implied"
    ) -> None:
        self.pseudo_count = pseudo_count
        self.prior = prior
        self._learned: dict[str, np.ndarray] | None = None

    def fit(self, clips: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[np.ndarray], seed: int) -> None:
        """Count transitions and classes; the seed is not used.

        Transitions are counted over the most frequent step between labelled frames in the clips, which is one frame
        unless, say, every tenth was kept. A longer gap is that many steps.

        Args:
            clips: a pair (probabilities (T, C), frame numbers (T,)) a clip.
            labels: (T,) int64 a clip, -1 unlabelled.
            seed: of the cell.
        """
        classes = clips[0][0].shape[1]
        known = np.concatenate(labels)
        counts = np.bincount(known[known >= 0], minlength=classes) + self.pseudo_count
        before, after, step = _transitions([numbers for _, numbers in clips], labels)
        pairs = np.bincount(before * classes + after, minlength=classes**2).reshape(classes, classes)
        transition = pairs + self.pseudo_count
        shares = counts / counts.sum()
        if self.prior == "implied":
            labelled = np.concatenate([x for x, _ in clips])[known >= 0]
            prior = implied_prior(labelled, counts, self.pseudo_count)
        else:
            prior = shares if self.prior == "labels" else np.full(classes, 1 / classes)
        self._learned = {
            "transition": transition / transition.sum(1, keepdims=True),
            "prior": prior,
            "step": np.array([step], dtype=np.int64),
        }

    def state(self) -> dict[str, np.ndarray]:
        """Return ``transition`` (C, C) from row to column, ``prior`` (C,) and ``step`` (1,) in frames."""
        return dict(self._fitted)

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        self._learned = {name: np.array(state[name]) for name in ("transition", "prior", "step")}

    @property
    def _fitted(self) -> dict[str, np.ndarray]:
        if self._learned is None:
            raise PluginError(f"smoother {type(self).__name__} has not been fitted")
        return self._learned

    def emissions(self, x: np.ndarray) -> np.ndarray:
        """Return the likelihoods of each frame, relative to its largest: probabilities (T, C) to (T, C)."""
        likelihood = x / self._fitted["prior"]
        relative: np.ndarray = likelihood / likelihood.max(1, keepdims=True)
        return relative

    def transitions(self, frame_numbers: np.ndarray, last: int | None) -> list[np.ndarray]:
        """Return a transition matrix (C, C) to each frame: a power of the fitted one across a gap.

        Args:
            frame_numbers: (T,) rising.
            last: the frame number before the first; None at the start of a clip, where the matrix is the identity.
        """
        matrix, step = self._fitted["transition"], int(self._fitted["step"][0])
        gaps = np.diff(frame_numbers, prepend=frame_numbers[0] if last is None else last)
        steps = np.rint(gaps / step).astype(np.int64).clip(1)
        if last is None:
            steps[0] = 0
        powers = {n: np.linalg.matrix_power(matrix, n) for n in np.unique(steps).tolist()}
        return [powers[n] for n in steps.tolist()]


class Hmm(FittedChain):
    """Classes follow a Markov chain, and a frame has the likelihood ``p(class | frame) / p(class)``.

    The chain is counted on the labels of the dev clips. A gap is as many steps of the chain as frames are missing: a
    power of its matrix. A clip of one frame is unchanged. A constant clip is not: each frame that agrees adds
    certainty.

    Args:
        decode: ``posterior``: the probabilities of each frame's classes given the whole clip. ``viterbi``: the most
            likely path, a decision; missing frames in a gap may be of any class.

    Reference: Rabiner 1989, "A tutorial on hidden Markov models and selected applications in speech recognition"
    (https://doi.org/10.1109/5.18626); likelihoods from a classifier by Bourlard and Morgan 1994, "Connectionist Speech
    Recognition" (https://doi.org/10.1007/978-1-4615-3210-1), with the labels' shares. The implied prior is our reading.
    """

    examples = ({}, {"decode": "viterbi", "pseudo_count": 0.5})

    def __init__(self, decode: Literal["posterior", "viterbi"] = "posterior", **options: Any) -> None:
        super().__init__(**options)
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
        start = self._fitted["prior"]
        if self.decode == "viterbi":
            return np.eye(x.shape[1])[_best_path(emissions, transitions, start)]
        return _forward(emissions, transitions, start) * _backward(emissions, transitions)


class HmmFilter(FittedChain, CausalSmoother):
    """The model of ``hmm`` as a causal filter: probabilities of a frame's classes given it and all before.

    A gap is as many steps of the chain as frames are missing. The first frame of a clip is unchanged. A constant clip
    is not: each frame that agrees adds certainty.

    Reference: the forward pass of Rabiner 1989, "A tutorial on hidden Markov models and selected applications in speech
    recognition" (https://doi.org/10.1109/5.18626); likelihoods from a classifier by Bourlard and Morgan 1994,
    "Connectionist Speech Recognition" (https://doi.org/10.1007/978-1-4615-3210-1).
    """

    examples = ({}, {"prior": "uniform"})

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Past | None) -> tuple[np.ndarray, Past]:
        """Filter the next piece of a clip.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.
            past: probabilities (C,) and frame number of the last frame; None at the start of a clip.

        Returns:
            (T, C) probabilities, and the past of the next piece.

        Raises:
            PluginError: if it has not been fitted.
        """
        belief, last = past or (self._fitted["prior"], None)
        beliefs = _forward(self.emissions(x), self.transitions(frame_numbers, last), belief)
        return beliefs, (beliefs[-1].copy(), int(frame_numbers[-1]))


def implied_prior(probs: np.ndarray, counts: np.ndarray, pseudo_count: float) -> np.ndarray:
    """Return class shares q for which ``p(class | frame) * share(class) / q(class)``, normalised, fits the labels best.

    A head that was trained with class weights, or on other shares, gives probabilities as if classes had shares q.
    Correcting for them is a calibration by one bias a class, whose maximum of likelihood depends on the labels only
    through their counts. The pseudo counts are labels of frames of which nothing is known.

    Args:
        probs: (n, C) of labelled frames, rows sum to one.
        counts: (C,) labels of each class, with ``pseudo_count`` added to each.
        pseudo_count: above 0.

    Returns:
        (C,) sums to one.

    Reference: Saerens, Latinne and Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori
    probabilities" (https://doi.org/10.1162/089976602753284446) for the correction; estimating the head's own shares by
    it is our reading.
    """
    from scipy.optimize import minimize

    total = counts.sum()
    bounded = np.maximum(probs, _MIN_PROBABILITY)

    def loss(bias: np.ndarray) -> tuple[float, np.ndarray]:
        weight = np.exp(bias - bias.max())
        normal = bounded @ weight
        unknown = pseudo_count * len(bias)
        value = np.log(normal).sum() + unknown * np.log(weight.sum()) - counts @ (bias - bias.max())
        expected = weight * (bounded.T @ (1 / normal)) + unknown * weight / weight.sum()
        return value / total, (expected - counts) / total

    bias = minimize(loss, np.zeros(len(counts)), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    implied = counts / np.exp(bias - bias.max())
    shares: np.ndarray = implied / implied.sum()
    return shares


def _transitions(numbers: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the classes before and after each transition over one step, and the number of frames in a step."""
    both = [(known[:-1] >= 0) & (known[1:] >= 0) for known in labels]
    gaps = np.concatenate([np.diff(each)[pair] for each, pair in zip(numbers, both, strict=True)])
    before = np.concatenate([known[:-1][pair] for known, pair in zip(labels, both, strict=True)])
    after = np.concatenate([known[1:][pair] for known, pair in zip(labels, both, strict=True)])
    if not len(gaps):
        return before, after, 1
    sizes, frequencies = np.unique(gaps, return_counts=True)
    step = int(sizes[frequencies.argmax()])
    return before[gaps == step], after[gaps == step], step


def _forward(emissions: np.ndarray, transitions: list[np.ndarray], belief: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classes of each frame, given it and all before.

    They are normalised at every frame, which avoids underflow without logarithms: every transition is possible, and a
    frame's largest likelihood is 1.

    Args:
        emissions: (T, C).
        transitions: T matrices (C, C); the first leads from ``belief``.
        belief: (C,) the probabilities before the first frame.
    """
    beliefs = np.empty(emissions.shape)
    ones = np.ones(len(belief))
    for likelihood, transition, after in zip(emissions, transitions, beliefs, strict=True):
        np.dot(belief, transition, out=after)
        np.multiply(after, likelihood, out=after)
        np.divide(after, after.dot(ones), out=after)
        belief = after
    return beliefs


def _backward(emissions: np.ndarray, transitions: list[np.ndarray]) -> np.ndarray:
    """Return the likelihood of the later frames from each class (T, C), up to a factor per frame."""
    later = np.ones(emissions.shape)
    ones = np.ones(emissions.shape[1])
    for frame in range(len(emissions) - 1, 0, -1):
        from_each = transitions[frame].dot(emissions[frame] * later[frame])
        np.divide(from_each, from_each.dot(ones), out=later[frame - 1])
    return later


def _best_path(emissions: np.ndarray, transitions: list[np.ndarray], start: np.ndarray) -> np.ndarray:
    """Return the most likely sequence of classes (T,); of equally likely ones the first."""
    with np.errstate(divide="ignore"):  # a class that a frame excludes
        log_emissions = np.log(emissions)
    logs = {id(each): np.log(each.T.copy()) for each in {id(each): each for each in transitions[1:]}.values()}
    came_from = np.zeros(emissions.shape, dtype=np.int64)
    best = np.log(start) + log_emissions[0]
    for frame in range(1, len(emissions)):
        paths = logs[id(transitions[frame])] + best
        paths.argmax(1, out=came_from[frame])
        best = paths.max(1) + log_emissions[frame]
    path = np.empty(len(emissions), dtype=np.int64)
    path[-1] = best.argmax()
    for frame in range(len(emissions) - 1, 0, -1):
        path[frame - 1] = came_from[frame, path[frame]]
    return path
