"""Shapley values and interactions of views from the scores of all subsets, and average ranks.

Pure functions of arrays. Axes after the first (seeds, units left out) are kept, so that intervals come from
:func:`fusionkit.stats.intervals.jackknife_estimate` as for all other statistics. A subset of n players is an integer
0..2^n - 1 with bit i set if player i is in it.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np

from fusionkit.errors import DataError


def shapley_values(scores: np.ndarray) -> np.ndarray:
    """Return what each player adds to the score, averaged over all orders in which players can join.

    Args:
        scores: (2**n, ...) float; the score of every subset, the empty one first.

    Returns:
        (n, ...) float; over players they sum to the score of all minus that of none.

    Raises:
        DataError: if there is not one score per subset.

    Reference: Shapley, A value for n-person games (1953), doi:10.1515/9781400881970-018.
    """
    players = _players(scores)
    values = np.zeros((players, *scores.shape[1:]))
    for player in range(players):
        for subset in _subsets(players, without=(player,)):
            weight = 1 / (players * comb(players - 1, subset.bit_count()))
            values[player] += weight * (scores[subset | 1 << player] - scores[subset])
    return values


def shapley_interactions(scores: np.ndarray) -> np.ndarray:
    """Return what two players add together beyond what each adds alone, averaged over all orders of joining.

    Values above 0 mean complementary players, values below 0 redundant ones.

    Args:
        scores: (2**n, ...) float; the score of every subset, the empty one first.

    Returns:
        (n, n, ...) float, symmetric; a player with itself is 0.

    Raises:
        DataError: if there is not one score per subset.

    Reference: Grabisch & Roubens, An axiomatic approach to the concept of interaction among players in cooperative
    games (1999), doi:10.1007/s001820050125.
    """
    players = _players(scores)
    values = np.zeros((players, players, *scores.shape[1:]))
    for i, j in combinations(range(players), 2):
        one, other = 1 << i, 1 << j
        for subset in _subsets(players, without=(i, j)):
            weight = 1 / ((players - 1) * comb(players - 2, subset.bit_count()))
            both = scores[subset | one | other] - scores[subset | one] - scores[subset | other] + scores[subset]
            values[i, j] += weight * both
        values[j, i] = values[i, j]
    return values


def average_ranks(scores: np.ndarray) -> np.ndarray:
    """Return the rank of each contestant, best first, averaged over data sets or folds; ties share their mean rank.

    Args:
        scores: (N, k, ...) float: N data sets or folds, k contestants; higher is better.

    Returns:
        (k, ...) float in 1..k.

    Raises:
        DataError: if a score is missing: ranks among some contestants cannot be averaged with ranks among all.

    Reference: Demsar, Statistical comparisons of classifiers over multiple data sets (2006), JMLR 7, 1-30, section 3.2.
    """
    if scores.ndim < 2 or 0 in scores.shape or np.isnan(scores).any():
        raise DataError(
            f"average ranks need a score of every contestant on every data set, not {scores.shape} with gaps"
        )
    ranks = np.zeros(scores.shape[1:])
    for contestant in range(scores.shape[1]):
        own = scores[:, contestant, None]
        better, equal = (scores > own).sum(1), (scores == own).sum(1)
        ranks[contestant] = (better + (equal + 1) / 2).mean(0)
    return ranks


def _players(scores: np.ndarray) -> int:
    size = len(scores)
    if size < 2 or size & (size - 1):
        raise DataError(f"{size} scores are not one per subset", hint="the number of scores must be 2, 4, 8, ...")
    return size.bit_length() - 1


def _subsets(players: int, without: tuple[int, ...]) -> list[int]:
    """Return every subset without the given players."""
    excluded = sum(1 << player for player in without)
    return [subset for subset in range(1 << players) if not subset & excluded]
