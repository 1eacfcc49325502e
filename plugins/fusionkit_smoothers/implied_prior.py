"""The class shares that a head takes for granted, from its probabilities and the true labels."""

from __future__ import annotations

import numpy as np

_DOUBT = 1e-6  # no class is believed to be less likely than this, so that a head that is always sure can be corrected


def implied_prior(probs: np.ndarray, counts: np.ndarray, pseudo_count: float) -> np.ndarray:
    """Class shares q for which ``p(class | frame) * share(class) / q(class)``, normalised, fits the labels best.

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
    believed = np.maximum(probs, _DOUBT)

    def loss(bias: np.ndarray) -> tuple[float, np.ndarray]:
        weight = np.exp(bias - bias.max())
        normal = believed @ weight
        unknown = pseudo_count * len(bias)
        value = np.log(normal).sum() + unknown * np.log(weight.sum()) - counts @ (bias - bias.max())
        expected = weight * (believed.T @ (1 / normal)) + unknown * weight / weight.sum()
        return value / total, (expected - counts) / total

    bias = minimize(loss, np.zeros(len(counts)), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    implied = counts / np.exp(bias - bias.max())
    shares: np.ndarray = implied / implied.sum()
    return shares
