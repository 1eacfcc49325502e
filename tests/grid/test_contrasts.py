"""Estimates of rows: which seeds vary together, and what a row borrows from the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_counts import drawn
from moderated import contrast, difference_estimate, score_estimate
from naive_stats import make_pair
from toy_folder import Toy, write_folder
from toy_tasks import bootstrap_estimate, leave_one_out, permutation_p

from fusionkit.report.run import Results
from fusionkit.stats.crossed import SeedPrior, SeedVariance, estimate


def fusions(*skills: float, seeds: int = 3) -> list[Toy]:
    return [
        Toy({"fusion": f"f{index}"}, drawn(skill, seeds=seeds, draw=index), id=f"id{index}")
        for index, skill in enumerate(skills)
    ]


def stacked(toys: list[Toy]) -> list[np.ndarray]:
    return [np.stack(toy.counts) for toy in toys]


def test_rows_borrow_the_variance_between_seeds_of_the_other_heads(tmp_path: Path) -> None:
    toys = fusions(0.5, 0.6, 0.65, 0.4)
    results, every = write_folder(tmp_path, toys), stacked(toys)
    for row, counts in zip(results.scored, every, strict=True):
        assert results.contrasts.score(row) == score_estimate(counts, every)
    assert results.contrasts.difference([results.scored[0]], [results.scored[2]]) == difference_estimate(
        every[0], every[2], every
    )
    alone = write_folder(tmp_path / "alone", toys[:1])
    assert alone.rows[0].score.se != results.rows[0].score.se


def test_both_standard_deviations_are_given(tmp_path: Path) -> None:
    toys = fusions(0.5, 0.6, 0.65)
    rows = write_folder(tmp_path, toys).rows
    scores = [leave_one_out(counts)[0] for counts in stacked(toys)]
    prior = SeedPrior.of([each.var(ddof=1) for each in scores], [2.0] * 3)
    for row, each in zip(rows, scores, strict=True):
        assert row.sd == pytest.approx(each.std(ddof=1))
        moderated = prior.moderated(SeedVariance.of(each), 3)
        assert row.sd_moderated**2 == pytest.approx(3 * moderated.of_mean)


def test_the_mean_over_pairs_of_rows_is_one_contrast(tmp_path: Path) -> None:
    toys = fusions(0.5, 0.6, 0.65, 0.4)
    results, every = write_folder(tmp_path, toys), stacked(toys)
    rows = results.scored
    found = results.contrasts.difference(rows[:2], rows[2:])
    assert found == contrast([(0.5, every[0]), (0.5, every[1]), (-0.5, every[2]), (-0.5, every[3])], every, (-1, 1))


def with_shared_heads(path: Path, counts: list[np.ndarray]) -> Results:
    """Rows of two fusions, each smoothed in two ways with the same heads."""
    toys = [
        Toy({"fusion": fusion, "smoother": smoother}, each, id=f"{fusion}-{smoother}")
        for (fusion, smoother), each in zip(
            [("a", "none"), ("a", "window"), ("b", "none"), ("b", "window")], counts, strict=True
        )
    ]
    results = write_folder(path, toys)
    for entry in results.grid["rows"]:
        for cell in entry["cells"]:
            cell["heads"] = {"": f"{entry['axes']['fusion']}-{cell['seed']}"}
    return results


def test_rows_that_share_their_heads_vary_with_the_same_seeds(tmp_path: Path) -> None:
    a, b = drawn(0.5, seeds=3, draw=1), drawn(0.6, seeds=3, draw=2)
    counts = [np.stack(each) for each in (a, drawn(0.52, seeds=3, draw=3), b, drawn(0.61, seeds=3, draw=4))]
    results = with_shared_heads(tmp_path, counts)
    none_a, window_a, *_ = results.scored
    (full_0, left_0), (full_1, left_1), (full_2, _), (full_3, _) = map(leave_one_out, counts)
    own = full_1 - full_0  # of each seed, the two rows together
    prior = SeedPrior.of([own.var(ddof=1), (full_3 - full_2).var(ddof=1)], [2.0, 2.0])
    expected = estimate(own, left_1 - left_0, seeds=prior.moderated(SeedVariance.of(own), 3))
    found = results.contrasts.difference([window_a], [none_a])
    assert found is not None
    assert (found.value, found.se, found.p) == pytest.approx((expected.value, expected.se, expected.p))


def test_a_fusion_without_random_draws_has_no_variance_between_seeds_and_lends_none(tmp_path: Path) -> None:
    toys = fusions(0.5, 0.6, 0.7)
    fixed = drawn(0.55, draw=9)[0]
    toys.append(Toy({"fusion": "stacking"}, [fixed] * 3, id="fixed"))
    results, every = write_folder(tmp_path, toys), stacked(toys)
    row = results.rows[-1]
    assert (row.sd, row.sd_moderated) == (0.0, 0.0)
    one = estimate(*leave_one_out(fixed[None]), within=(0.0, 1.0))
    assert row.score.se == pytest.approx(one.se)
    assert results.rows[0].score == score_estimate(every[0], every[:3])


def test_each_data_set_lends_to_its_own_rows_only(tmp_path: Path) -> None:
    toys = fusions(0.5, 0.6)
    other = [Toy({"dataset": "other", "fusion": "x"}, drawn(0.3, seeds=3, draw=7), id="other")]
    results = write_folder(tmp_path, toys + other)
    assert results.rows[0].score == score_estimate(stacked(toys)[0], stacked(toys))


def test_one_seed_has_no_p(tmp_path: Path) -> None:
    results = write_folder(tmp_path, fusions(0.5, 0.7, seeds=1))
    found = results.contrasts.difference(results.scored[:1], results.scored[1:])
    assert np.isnan(found.p)
    assert found.n_seeds == 1


def test_the_permutation_test_is_of_these_trained_models(tmp_path: Path) -> None:
    a, b = make_pair(3, 25, seeds=3, gain=0.5)
    results = write_folder(tmp_path, [Toy({}, b), Toy({"fusion": "mlp"}, a)])
    found = Results(results.folder, "permutation").contrasts.difference(results.scored[1:], results.scored[:1])
    (full_a, left_a), (full_b, left_b) = leave_one_out(a), leave_one_out(b)
    models = estimate((full_a - full_b).mean(keepdims=True), (left_a - left_b).mean(0, keepdims=True))
    assert (found.low, found.high, found.se) == (models.low, models.high, models.se)
    assert found.p == permutation_p(a, b)
    assert found.n_seeds == 3


def test_the_bootstrap_is_that_of_the_counts(tmp_path: Path) -> None:
    a, b = make_pair(4, 25, seeds=2, gain=0.5)
    results = write_folder(tmp_path, [Toy({}, b), Toy({"fusion": "mlp"}, a)])
    other = Results(results.folder, "bootstrap")
    assert other.contrasts.difference(other.scored[1:], other.scored[:1]) == bootstrap_estimate([(1, a), (-1, b)])
    one = bootstrap_estimate([(1.0, b)])
    assert (other.rows[0].score.low, other.rows[0].score.high) == (one.low, one.high)


def test_classes_are_estimated_as_macro_f1_is(tmp_path: Path) -> None:
    toys = fusions(0.5, 0.6)
    results = write_folder(tmp_path, toys)
    row = results.rows[0]
    for index, (name, found) in enumerate(row.parts.items()):
        totals = np.stack(toys[0].counts).sum(1)
        f1 = [2 * t[index, index] / (t[index].sum() + t[:, index].sum()) for t in totals]
        assert found.value == pytest.approx(np.mean(f1))
        assert found.low <= found.value <= found.high
        share = [t[:, index].sum() / t.sum() for t in totals]
        assert row.predicted[name] == pytest.approx(np.mean(share))
