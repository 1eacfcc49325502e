"""Do the intervals cover and do the tests keep their level? Simulated data sets of which the truth is known.

    python benchmarks/stats_validity.py [--datasets 2000]

The population is fixed beforehand: eight skewed classes, units of very unequal size that show few classes each, frames
that come in runs and err together within a run and within a unit. Two models share part of what a unit makes hard.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from expression import expression, interval, macro_f1, paired_difference, permutation_p
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import chi2

from fusionkit.stats.bootstrap import bootstrap_estimate

PRIOR = np.array([0.30, 0.05, 0.03, 0.03, 0.16, 0.13, 0.08, 0.22])
CLASSES = len(PRIOR)
UNITS = (20, 70, 300)
MIX = 5.0  # concentration of a unit's class mixture around PRIOR: lower, fewer classes a unit
RUNS, RUNS_SPREAD, LEAST_RUNS = 20, 0.8, 3  # log-normal number of runs a unit
RUN_LENGTH = 15  # mean frames a run, geometric
SKILL, HABIT = 0.5, 0.5  # standard deviation, in logits, of a unit's overall and per-pair ease
SHARED = 0.5  # share of that variance which both models have in common
RUN = 4.0  # concentration of a run's predictions around those of its unit: lower, more alike
SEED = 0.15  # standard deviation, in logits, of what a training seed changes
BASE = 0.5 * np.log(PRIOR)[None] + 1.8 * np.eye(CLASSES)
# Errs differently: better where there are many frames, worse where there are few.
OTHER = 0.8 * np.log(PRIOR)[None] + np.diag(1.8 + 1.5 * (PRIOR - PRIOR.mean()))


@dataclass(frozen=True, eq=False)
class Runs:
    """The truth of a data set: n runs of frames with one label each."""

    unit: np.ndarray
    label: np.ndarray
    length: np.ndarray
    units: int


def draw_runs(rng: np.random.Generator, units: int) -> Runs:
    size = np.maximum(rng.lognormal(np.log(RUNS), RUNS_SPREAD, units).astype(int), LEAST_RUNS)
    unit = np.repeat(np.arange(units), size)
    mix = rng.dirichlet(MIX * PRIOR, units).cumsum(1)
    label = (rng.random((len(unit), 1)) > mix[unit, :-1]).sum(1)
    return Runs(unit, label, rng.geometric(1 / RUN_LENGTH, len(unit)), units)


def draw_ease(rng: np.random.Generator, units: int) -> np.ndarray:
    """What a unit adds to the logits of a model: (units, C, C)."""
    skill = rng.normal(0, SKILL, (units, 1, 1)) * np.eye(CLASSES)
    return skill + rng.normal(0, HABIT, (units, CLASSES, CLASSES))


def behaviour(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits)
    return odds / odds.sum(-1, keepdims=True)


def predict(rng: np.random.Generator, runs: Runs, rows: np.ndarray) -> np.ndarray:
    """Frames of each run by predicted class, (n, C), from each unit's confusion (units, C, C)."""
    weight = rng.standard_gamma(RUN * rows[runs.unit, runs.label]) + 1e-12
    return rng.multinomial(runs.length, weight / weight.sum(1, keepdims=True))


def count(runs: Runs, predicted: np.ndarray) -> np.ndarray:
    counts = np.zeros((1, runs.units, CLASSES, CLASSES), dtype=np.int64)
    np.add.at(counts[0], (runs.unit, runs.label), predicted)
    return counts


def population_f1(model: np.ndarray, ease: np.ndarray) -> float:
    """Macro-F1 of a model over the whole population: size and mixture of a unit do not depend on its ease."""
    return float(macro_f1(PRIOR[:, None] * behaviour(model + ease).mean(0)))


def equally_good(model: np.ndarray, target: float, ease: np.ndarray) -> np.ndarray:
    """The model with the shift of its diagonal at which its population macro-F1 is ``target``."""
    low, high = -3.0, 3.0
    for _ in range(25):
        middle = (low + high) / 2
        if population_f1(model + middle * np.eye(CLASSES), ease) < target:
            low = middle
        else:
            high = middle
    return model + low * np.eye(CLASSES)


def mcnemar(rng: np.random.Generator, runs: Runs, a: np.ndarray, b: np.ndarray) -> float:
    """P of equal accuracy, taking frames for independent. Within a run the frames of both models meet at random."""
    rows = np.arange(len(runs.label))
    hits_a, hits_b = a[rows, runs.label], b[rows, runs.label]
    common = rng.hypergeometric(hits_a, runs.length - hits_a, hits_b)
    only_a, only_b = int((hits_a - common).sum()), int((hits_b - common).sum())
    return float(chi2.sf((only_a - only_b) ** 2 / max(only_a + only_b, 1), 1))


def one_data_set(
    rng: np.random.Generator, units: int, unlike: np.ndarray, truth: float, seeds_truth: float, permutations: int
) -> dict[str, bool]:
    """Which intervals cover and which tests reject, on one data set."""
    runs = draw_runs(rng, units)
    shared = np.sqrt(SHARED) * draw_ease(rng, units)
    ease_a, ease_b = (shared + np.sqrt(1 - SHARED) * draw_ease(rng, units) for _ in range(2))
    frames_a, frames_b, frames_other = (
        predict(rng, runs, behaviour(logits)) for logits in (BASE + ease_a, BASE + ease_b, unlike + ease_b)
    )
    a, b, other = (count(runs, frames) for frames in (frames_a, frames_b, frames_other))
    changes = rng.normal(0, SEED, (3, CLASSES, CLASSES))
    seeds = np.concatenate([count(runs, predict(rng, runs, behaviour(BASE + c + ease_a))) for c in changes])
    score, over_seeds, difference = interval(a), interval(seeds), paired_difference(a, other)
    percentile = bootstrap_estimate(expression(CLASSES), [(1.0, a)], resamples=1000, seed=int(rng.integers(2**32)))
    return {
        "jackknife-t": score.low <= truth <= score.high,
        "percentile bootstrap": percentile.low <= truth <= percentile.high,
        "jackknife-t, 3 seeds": over_seeds.low <= seeds_truth <= over_seeds.high,
        "jackknife-t, difference": difference.low <= 0 <= difference.high,
        "unit swaps, models alike": permutation_p(a, b, permutations) <= 0.05,
        "unit swaps, models unlike": permutation_p(a, other, permutations) <= 0.05,
        "McNemar on frames, models alike": mcnemar(rng, runs, frames_a, frames_b) <= 0.05,
    }


def table(title: str, names: list[str], results: dict[int, list[dict[str, bool]]]) -> Table:
    view = Table("", *(f"{units} units" for units in results), title=title)
    for name in names:
        rates = [np.mean([result[name] for result in results[units]]) for units in results]
        errors = [np.sqrt(rate * (1 - rate) / len(results[u])) for rate, u in zip(rates, results, strict=True)]
        view.add_row(name, *(f"{rate:.3f} ± {error:.3f}" for rate, error in zip(rates, errors, strict=True)))
    return view


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=int, default=2000, help="simulated data sets of each size")
    parser.add_argument("--permutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console, began, rng = Console(), time.perf_counter(), np.random.default_rng(options.seed)

    ease = np.sqrt(SHARED) * draw_ease(rng, 200_000) + np.sqrt(1 - SHARED) * draw_ease(rng, 200_000)
    truth = population_f1(BASE, ease)
    unlike = equally_good(OTHER, truth, ease)
    changes = rng.normal(0, SEED, (1000, CLASSES, CLASSES))
    seeds_truth = float(np.mean([population_f1(BASE + c, ease[i::1000]) for i, c in enumerate(changes)]))
    console.print(f"population macro-F1 {truth:.4f}, mean over training seeds {seeds_truth:.4f}")

    results = {
        units: [
            one_data_set(rng, units, unlike, truth, seeds_truth, options.permutations)
            for _ in track(range(options.datasets), f"{units} units", console=console, transient=True)
        ]
        for units in UNITS
    }
    names = list(results[UNITS[0]][0])
    console.print(table("Coverage of 95 % intervals (± Monte-Carlo error)", names[:4], results))
    console.print(table("True null rejected at 5 % (± Monte-Carlo error)", names[4:], results))
    console.print(f"{options.datasets} data sets of each size, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
