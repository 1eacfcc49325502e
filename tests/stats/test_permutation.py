"""Swaps of units are fair, complete where all are evaluated, and evaluated on one thread."""

from __future__ import annotations

import math

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from toy_tasks import swaps_of

from fusionkit.stats.permutation import all_swaps, drawn_swaps, share_as_extreme


def test_drawn_swaps_are_fair_and_independent_coins() -> None:
    swaps = np.concatenate(list(drawn_swaps(np.ones(20, dtype=bool), 5001, seed=0)), axis=1)
    assert swaps.shape == (20, 5001)
    assert np.abs(swaps.mean(1) - 0.5).max() < 5 * 0.5 / math.sqrt(5001)
    assert np.abs(np.corrcoef(swaps) - np.eye(20)).max() < 5 / math.sqrt(5001)


def test_all_swaps_are_every_subset_once() -> None:
    swaps = np.concatenate(list(all_swaps(11)), axis=1)
    assert len({tuple(swap) for swap in swaps.T.tolist()}) == swaps.shape[1] == 2**11
    assert set(np.unique(swaps)) == {0, 1}


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_swaps_are_evaluated_on_one_thread_whatever_the_process_uses() -> None:
    a = np.random.default_rng(0).integers(1, 9, (1, 6, 3, 3))
    units, seen = swaps_of(a, a[..., ::-1]), []

    def statistic(swaps: np.ndarray) -> np.ndarray:
        seen.append(blas_threads())
        return units.difference(swaps)

    with threadpool_limits(2, "blas"):
        before = blas_threads()
        share_as_extreme(units, statistic, 2**6, seed=0)
        assert blas_threads() == before
    assert seen[1:] == [{1}]
