"""Impute: what a frame without any view is given, from the results of the frames of its clip that have one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Between = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def impute(how: str, probs: np.ndarray, have: np.ndarray, want: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Probabilities of some frames of a clip.

    Args:
        how: ``nearest``: of the nearest frame that has a result, of two the earlier; ``linear``: interpolated between
            the frame before and the one after, held at the ends; ``prior``: the class shares of the training frames.
        probs: (T, C) results of the frames that have a view; T may be 0, and everything is the prior then.
        have: (T,) their numbers, rising.
        want: (k,) numbers of the frames that are asked for; those among ``have`` get their own result.
        prior: (C,) class shares of the training frames.

    Returns:
        (k, C) float64, rows sum to one.

    Reference:
        ``linear`` as the notebooks of HSEmotion do it for ABAW (https://github.com/av-savchenko/face-emotion-recognition).
    """
    out = np.tile(prior.astype(np.float64), (len(want), 1))
    if not len(have):
        return out
    place = np.searchsorted(have, want).clip(0, len(have) - 1)
    own = have[place] == want
    out[own] = probs[place[own]]
    if how in _BETWEEN and not own.all():
        out[~own] = _BETWEEN[how](probs, have, want[~own])
    return out


def _nearest(probs: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    after = np.searchsorted(have, want).clip(0, len(have) - 1)
    before = (after - 1).clip(0)
    earlier = np.abs(want - have[before]) <= np.abs(have[after] - want)
    found: np.ndarray = probs[np.where(earlier, before, after)]
    return found


def _linear(probs: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(want, have, column) for column in probs.T], axis=1)


_BETWEEN: dict[str, Between] = {"nearest": _nearest, "linear": _linear}
