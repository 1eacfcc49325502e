"""Shapley values, interactions and ranks, against their definitions by permutation, known games and SciPy."""

from __future__ import annotations

from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata
from toy_tasks import best_constant, leave_one_out, macro_f1, paired_difference

from fusionkit.errors import DataError
from fusionkit.stats.crossed import estimate
from fusionkit.stats.shapley import average_ranks, shapley_interactions, shapley_values


@st.composite
def games(draw: st.DrawFn, least: int = 1) -> np.ndarray:
    players = draw(st.integers(least, 4))
    return draw(hnp.arrays(np.float64, (2**players,), elements=st.floats(-1, 1, width=32)))


def number(subset: tuple[int, ...] | set[int]) -> int:
    return sum(2**player for player in subset)


def naive_shapley(scores: np.ndarray, players: int) -> np.ndarray:
    """The mean, over all orders of arrival, of what each adds to those before it."""
    values = np.zeros(players)
    for order in permutations(range(players)):
        for place, player in enumerate(order):
            values[player] += scores[number(order[: place + 1])] - scores[number(order[:place])]
    return values / factorial(players)


def naive_interaction(scores: np.ndarray, players: int, i: int, j: int) -> float:
    """The pair arrives as one: the mean, over orders of it and the others, of what it adds beyond its members."""
    others, gains = [player for player in range(players) if player not in (i, j)], []
    for order in permutations(["pair", *others]):
        before = set(order[: order.index("pair")])
        alone = [scores[number(before | {player})] - scores[number(before)] for player in (i, j)]
        gains.append(scores[number(before | {i, j})] - scores[number(before)] - sum(alone))
    return float(np.mean(gains))


# -- Shapley values ----------------------------------------------------------------------------------------------------


@given(games())
def test_shapley_values_are_mean_gains_over_all_orders_of_arrival(scores: np.ndarray) -> None:
    players = len(scores).bit_length() - 1
    np.testing.assert_allclose(shapley_values(scores), naive_shapley(scores, players), atol=1e-12)


@given(games())
def test_shapley_values_share_out_what_all_add(scores: np.ndarray) -> None:
    assert shapley_values(scores).sum() == pytest.approx(scores[-1] - scores[0], abs=1e-12)


def test_the_glove_game() -> None:
    # Player 0 has a left glove, players 1 and 2 a right one each; a pair is worth 1.
    scores = np.array([0, 0, 0, 1, 0, 1, 0, 1], dtype=float)
    np.testing.assert_allclose(shapley_values(scores), [2 / 3, 1 / 6, 1 / 6])


def test_the_airport_game() -> None:
    # A runway costs what its largest plane needs; each stretch is shared by those who need it.
    needs = [1.0, 2.0, 5.0]
    scores = np.array([max([0.0, *(n for bit, n in enumerate(needs) if s >> bit & 1)]) for s in range(8)])
    np.testing.assert_allclose(shapley_values(scores), [1 / 3, 1 / 3 + 1 / 2, 1 / 3 + 1 / 2 + 3])


def test_a_player_who_never_adds_anything_gets_nothing_and_equals_get_the_same() -> None:
    worth = {0: 0.1, 1: 0.5, 2: 0.6}  # by how many of players 0 and 2 take part; player 1 is a dummy
    scores = np.array([worth[(s & 1) + (s >> 2 & 1)] for s in range(8)])
    values = shapley_values(scores)
    assert values[1] == pytest.approx(0)
    assert values[0] == pytest.approx(values[2]) == pytest.approx(0.25)


# -- interactions ------------------------------------------------------------------------------------------------------


@given(games(least=2))
def test_interactions_are_mean_surpluses_over_all_orders_with_the_pair_as_one(scores: np.ndarray) -> None:
    players = len(scores).bit_length() - 1
    values = shapley_interactions(scores)
    for i, j in combinations(range(players), 2):
        assert values[i, j] == pytest.approx(naive_interaction(scores, players, i, j), abs=1e-12)
    np.testing.assert_array_equal(values, values.T)
    assert not np.diag(values).any()


def test_players_that_simply_add_up_do_not_interact() -> None:
    weights = np.array([0.1, 0.2, 0.4])
    scores = np.array([sum(w for bit, w in enumerate(weights) if s >> bit & 1) for s in range(8)])
    np.testing.assert_allclose(shapley_values(scores), weights)
    np.testing.assert_allclose(shapley_interactions(scores), 0, atol=1e-15)


def test_twins_interact_below_zero_and_partners_above() -> None:
    twins, partners = np.array([0.0, 0.3, 0.3, 0.3]), np.array([0.0, 0.0, 0.0, 0.3])
    assert shapley_interactions(twins)[0, 1] == pytest.approx(-0.3)
    assert shapley_interactions(partners)[0, 1] == pytest.approx(0.3)


# -- what follows the first axis is carried along ----------------------------------------------------------------------


def test_seeds_and_replicates_are_games_of_their_own() -> None:
    scores = np.random.default_rng(0).random((8, 2, 5))
    values, interactions = shapley_values(scores), shapley_interactions(scores)
    assert values.shape == (3, 2, 5)
    for seed in range(2):
        for unit in range(5):
            game = scores[:, seed, unit]
            np.testing.assert_allclose(values[:, seed, unit], naive_shapley(game, 3), atol=1e-12)
            assert interactions[0, 2, seed, unit] == pytest.approx(naive_interaction(game, 3, 0, 2))


def test_of_one_player_the_value_is_the_paired_difference_with_its_interval() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(1, 9, (12, 3))
    a, b = (rng.multinomial(truth, np.eye(3) * right + (1 - right) / 3)[None] for right in (0.2, 0.6))
    full, left_out = (np.stack(each) for each in zip(leave_one_out(a), leave_one_out(b), strict=True))
    found = estimate(shapley_values(full)[0], shapley_values(left_out)[0])
    expected = paired_difference(b, a)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


@pytest.mark.parametrize("size", [0, 1, 3, 6])
def test_scores_that_are_not_one_of_every_subset_are_refused(size: int) -> None:
    for attribute in (shapley_values, shapley_interactions):
        with pytest.raises(DataError, match=f"{size} scores .*2, 4, 8"):
            attribute(np.zeros((size, 2)))


# -- ranks -------------------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.integers(0, 3)))
def test_average_ranks_are_those_of_scipy_with_the_best_first(scores: np.ndarray) -> None:
    expected = rankdata(-scores, method="average", axis=1).mean(0)
    np.testing.assert_allclose(average_ranks(scores.astype(float)), expected)


def test_average_ranks_on_a_worked_example() -> None:
    # Three classifiers on four data sets; a tie on the last.
    scores = np.array([[0.9, 0.8, 0.7], [0.6, 0.7, 0.5], [0.8, 0.6, 0.7], [0.5, 0.5, 0.4]])
    np.testing.assert_allclose(
        average_ranks(scores), [(1 + 2 + 1 + 1.5) / 4, (2 + 1 + 3 + 1.5) / 4, (3 + 3 + 2 + 3) / 4]
    )


def test_ranks_of_replicates_are_ranked_one_by_one() -> None:
    scores = np.random.default_rng(2).integers(0, 4, (3, 4, 2, 6)).astype(float)
    expected = rankdata(-scores, method="average", axis=1).mean(0)
    np.testing.assert_allclose(average_ranks(scores), expected)


def test_a_missing_score_cannot_be_ranked() -> None:
    with pytest.raises(DataError, match="every contestant on every data set"):
        average_ranks(np.array([[0.1, np.nan]]))


# -- the empty set without a main view ---------------------------------------------------------------------------------


def test_the_best_constant_predicts_the_most_frequent_class_and_scores_as_documented() -> None:
    counts = np.random.default_rng(3).integers(0, 9, (2, 6, 4, 4))
    counts[..., 2, :] = 0  # class 2 is not in the truth
    counts[1] = counts[0]
    constant = best_constant(counts)
    truth = counts[0].sum((0, 2))
    np.testing.assert_array_equal(constant.sum(-1), counts.sum(-1))
    assert set(np.flatnonzero(constant.sum((0, 1, 2)))) == {truth.argmax()}
    share = truth.max() / truth.sum()
    assert macro_f1(constant[0].sum(0)) == pytest.approx(2 * share / (1 + share) / 3)


def test_no_other_constant_scores_better() -> None:
    counts = np.random.default_rng(4).integers(0, 9, (1, 6, 4, 4))
    best = macro_f1(best_constant(counts)[0].sum(0))
    for name in range(4):
        other = np.zeros((4, 4), dtype=int)
        other[:, name] = counts[0].sum((0, 2))
        assert macro_f1(other) <= best
