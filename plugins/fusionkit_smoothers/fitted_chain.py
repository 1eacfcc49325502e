"""What the two smoothers by a hidden Markov model share: the chain of classes, fitted on dev clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother, require_choice, require_number
from fusionkit.errors import PluginError
from fusionkit_smoothers.implied_prior import implied_prior

Prior = Literal["implied", "labels", "uniform"]


class FittedChain(Smoother):
    """Base of smoothers for which the class of a frame follows a Markov chain over time.

    A frame's likelihood of a class is proportional to ``p(class | frame) / p(class)``, where ``p(class)`` are the
    shares that the head takes the classes to have.

    Args:
        pseudo_count: transitions of each kind, and labels of each class, that count as seen before any is: the
            parameter of a symmetric Dirichlet prior. Above 0, so that nothing is impossible.
        prior: ``implied``: the shares for which the head's probabilities, corrected, are most likely on dev.
            ``labels``: those of the dev labels, right for a head that was trained without class weights. ``uniform``:
            right for one that was trained as if classes were equally frequent.

    Attributes:
        called: its name, for errors about options.
    """

    fitted: ClassVar[bool] = True
    called: ClassVar[str]

    def __init__(self, pseudo_count: float = 1.0, prior: Prior = "implied") -> None:
        require_number(f"{self.called}: pseudo_count", pseudo_count, above=0)
        require_choice(f"{self.called}: prior", prior, ("implied", "labels", "uniform"))
        self.pseudo_count = pseudo_count
        self.prior = prior
        self._learned: dict[str, np.ndarray] | None = None

    def fit(self, clips: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[np.ndarray], seed: int) -> None:
        """Count transitions and classes; the seed is not needed.

        Transitions are counted over the step between labelled frames that is the most frequent in the clips, which is
        one frame unless every tenth, say, was kept. A longer gap is that many steps.

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
            seen = np.concatenate([x for x, _ in clips])[known >= 0]
            prior = implied_prior(seen, counts, self.pseudo_count)
        else:
            prior = shares if self.prior == "labels" else np.full(classes, 1 / classes)
        self._learned = {
            "start": shares,
            "transition": transition / transition.sum(1, keepdims=True),
            "prior": prior,
            "step": np.array([step], dtype=np.int64),
        }

    def state(self) -> dict[str, np.ndarray]:
        """``start`` (C,), ``transition`` (C, C) from row to column, ``prior`` (C,), ``step`` (1,) in frames."""
        return dict(self._fitted)

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        self._learned = {name: np.array(state[name]) for name in ("start", "transition", "prior", "step")}

    @property
    def _fitted(self) -> dict[str, np.ndarray]:
        if self._learned is None:
            raise PluginError(f"smoother {type(self).__name__} has not been fitted")
        return self._learned

    def emissions(self, x: np.ndarray) -> np.ndarray:
        """Likelihoods of each frame, relative to its largest: probabilities (T, C) to (T, C)."""
        likelihood = x / self._fitted["prior"]
        relative: np.ndarray = likelihood / likelihood.max(1, keepdims=True)
        return relative

    def transitions(self, frame_numbers: np.ndarray, last: int | None) -> list[np.ndarray]:
        """What leads to each frame: a matrix (C, C) a frame, a power of the fitted one where there is a gap.

        Args:
            frame_numbers: (T,) rising.
            last: the frame number before the first; None where nothing is before, and nothing changes.
        """
        matrix, step = self._fitted["transition"], int(self._fitted["step"][0])
        gaps = np.diff(frame_numbers, prepend=frame_numbers[0] if last is None else last)
        steps = np.rint(gaps / step).astype(np.int64).clip(1)
        if last is None:
            steps[0] = 0
        powers = {n: np.linalg.matrix_power(matrix, n) for n in np.unique(steps).tolist()}
        return [powers[n] for n in steps.tolist()]


def filtered(emissions: np.ndarray, transitions: list[np.ndarray], belief: np.ndarray) -> np.ndarray:
    """Probabilities of the classes of each frame, given it and all before.

    They are made to sum to one at every frame, which keeps them from vanishing as logarithms would: every transition is
    possible, and a frame's largest likelihood is 1.

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


def _transitions(numbers: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """The classes before and after each transition over one step, and how many frames a step is."""
    both = [(known[:-1] >= 0) & (known[1:] >= 0) for known in labels]
    gaps = np.concatenate([np.diff(each)[pair] for each, pair in zip(numbers, both, strict=True)])
    before = np.concatenate([known[:-1][pair] for known, pair in zip(labels, both, strict=True)])
    after = np.concatenate([known[1:][pair] for known, pair in zip(labels, both, strict=True)])
    if not len(gaps):
        return before, after, 1
    sizes, often = np.unique(gaps, return_counts=True)
    step = int(sizes[often.argmax()])
    return before[gaps == step], after[gaps == step], step
