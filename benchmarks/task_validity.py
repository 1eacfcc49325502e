"""Do intervals cover and tests keep their level for every task? Simulated data sets of which the truth is known.

    python benchmarks/task_validity.py [--datasets 1000] [--only valence-arousal]

One generator serves all tasks. Outputs of a head are a gain times what the labels say, plus a bias. Gain and bias vary
between units, between seeds, and in each combination of both, with the standard deviations below. Frames of a unit are
alike, units have very unequal numbers of frames, and some labels are missing. Two methods share part of what a unit
makes hard and differ in their seeds; they are equally good by construction.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fusionkit.contracts import Task
from fusionkit.stats.crossed import Estimate, SeedPrior, SeedVariance, estimate, sum_of
from fusionkit.stats.intervals import leave_one_out
from fusionkit_tasks.action_units import ActionUnits
from fusionkit_tasks.expression import Expression
from fusionkit_tasks.valence_arousal import ValenceArousal

UNITS, SEEDS = (20, 70, 300), (2, 3, 5, 10)
FRAMES, FRAMES_SPREAD, LEAST_FRAMES = 10, 0.8, 3  # log-normal number of independent frames a unit
SHARED = 0.5  # share of the variance between units which both methods have in common
UNLABELLED = 0.1  # share of the entries without label, where a task allows it
CLASS_SHARES = np.array([0.30, 0.05, 0.03, 0.03, 0.16, 0.13, 0.08, 0.22])
ACTIVE_SHARES = np.array([0.40, 0.25, 0.15, 0.10, 0.06, 0.04])


@dataclass(frozen=True)
class Spread:
    """Standard deviations of gain and bias, as shares of the gain."""

    unit: float = 0.30
    seed: float = 0.08
    both: float = 0.10
    frame: float = 0.60  # of a frame, the same for all seeds
    own: float = 0.30  # of a frame, for each seed


@dataclass(frozen=True, eq=False)
class Model:
    """A task with labels and the mean behaviour of a method.

    Attributes:
        labels: labels (n, ...) of n frames of given units.
        signal: labels to what a perfect method would put out, (n, O); 0 where there is no label.
        gain: of the signal.
    """

    task: Task
    labels: Callable[[np.random.Generator, np.ndarray, int], np.ndarray]
    signal: Callable[[np.ndarray], np.ndarray]
    gain: float
    spread: Spread


def class_labels(rng: np.random.Generator, unit: np.ndarray, units: int) -> np.ndarray:
    mix = rng.dirichlet(5 * CLASS_SHARES, units).cumsum(1)
    return (rng.random((len(unit), 1)) > mix[unit, :-1]).sum(1)


def active_units(rng: np.random.Generator, unit: np.ndarray, units: int) -> np.ndarray:
    odds = np.log(ACTIVE_SHARES / (1 - ACTIVE_SHARES)) + rng.normal(0, 1, (units, len(ACTIVE_SHARES)))
    active = rng.random((len(unit), len(ACTIVE_SHARES))) < 1 / (1 + np.exp(-odds[unit]))
    return without_some(rng, active.astype(np.float32))


def circumplex(rng: np.random.Generator, unit: np.ndarray, units: int) -> np.ndarray:
    mean = rng.normal((0.2, 0.1), 0.3, (units, 2))
    return without_some(rng, np.tanh(mean[unit] + rng.normal(0, 0.4, (len(unit), 2))).astype(np.float32))


def without_some(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    missing = rng.random(values.shape) < UNLABELLED
    missing[:, 0] &= ~missing.all(1)  # every frame has a label
    return np.where(missing, np.float32(np.nan), values)


DIMENSIONS = ("valence", "arousal")
MODELS = {
    "expression": Model(
        Expression([f"class {index}" for index in range(len(CLASS_SHARES))]),
        class_labels,
        lambda values: np.eye(len(CLASS_SHARES))[values] + np.log(CLASS_SHARES) / 4,
        1.6,
        Spread(),
    ),
    "action-units": Model(
        ActionUnits([f"unit {index}" for index in range(len(ACTIVE_SHARES))]),
        active_units,
        lambda values: np.nan_to_num(2 * values - 1) - 0.2,
        1.0,
        Spread(),
    ),
    "valence-arousal": Model(
        ValenceArousal(DIMENSIONS), circumplex, lambda values: np.arctanh(np.nan_to_num(values)), 0.7, Spread()
    ),
    "valence-arousal near 1": Model(
        ValenceArousal(DIMENSIONS),
        circumplex,
        lambda values: np.arctanh(np.nan_to_num(values)),
        1.0,
        Spread(unit=0.06, seed=0.015, both=0.02, frame=0.05, own=0.03),
    ),
}


def draw_units(rng: np.random.Generator, units: int) -> np.ndarray:
    """The unit of each frame."""
    size = np.maximum(rng.lognormal(np.log(FRAMES), FRAMES_SPREAD, units).astype(int), LEAST_FRAMES)
    return np.repeat(np.arange(units), size)


def effects(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal effects on gain and bias: (..., 2, O)."""
    return rng.standard_normal(shape, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Data:
    """Labels of n frames, what a perfect method puts out, and what makes them hard for every method."""

    values: np.ndarray
    signal: np.ndarray
    unit: np.ndarray
    of_units: np.ndarray
    of_frames: np.ndarray


def draw_data(rng: np.random.Generator, model: Model, units: int) -> Data:
    unit = draw_units(rng, units)
    values = model.labels(rng, unit, units)
    signal = model.signal(values).astype(np.float32)
    return Data(values, signal, unit, effects(rng, units, 2, signal.shape[1]), effects(rng, *signal.shape))


def counts_of_method(rng: np.random.Generator, model: Model, data: Data, seeds: int) -> np.ndarray:
    """Counts (S, U, ...) of one method, trained with S seeds."""
    spread, (units, _, outputs) = model.spread, data.of_units.shape
    of_units = np.sqrt(SHARED) * data.of_units + np.sqrt(1 - SHARED) * effects(rng, units, 2, outputs)
    of_seeds = spread.seed * effects(rng, seeds, 1, 2, outputs)
    change = spread.unit * of_units + of_seeds + spread.both * effects(rng, seeds, units, 2, outputs)
    gain, bias = (change[:, :, index][:, data.unit] for index in (0, 1))
    noise = spread.frame * data.of_frames + spread.own * effects(rng, seeds, *data.signal.shape)
    found = (model.gain * ((1 + gain) * data.signal + bias + noise)).reshape(-1, outputs).astype(np.float64)
    predictions = model.task.joined([softmax(logits) for logits in model.task.distributions(found)])
    values = np.concatenate([data.values] * seeds)
    unit = (np.arange(seeds)[:, None] * units + data.unit).ravel()
    counts = model.task.counts(values, predictions, unit, seeds * units)
    return counts.reshape(seeds, units, *counts.shape[1:])


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def population_metric(rng: np.random.Generator, model: Model, seeds: int = 1000, units: int = 1000) -> float:
    """The mean metric over seeds, each on many units of its own."""
    found = []
    for _ in range(seeds):
        counts = counts_of_method(rng, model, draw_data(rng, model, units), 1)
        found.append(model.task.metric(counts.sum((0, 1))))
    return float(np.mean(found))


def fisher(full: np.ndarray, left: np.ndarray) -> Estimate:
    return estimate(np.arctanh(full), np.arctanh(left), within=(-np.inf, np.inf))


def seeds_of_two(a: np.ndarray, b: np.ndarray) -> SeedVariance:
    """The variance between seeds of a difference of two methods, as a grid of these two rows gives it."""
    own, seeds = [SeedVariance.of(a), SeedVariance.of(b)], len(a)
    prior = SeedPrior.of([each.of_mean * seeds for each in own], [each.df for each in own])
    return sum_of([prior.moderated(each, seeds) for each in own], prior.total)


def one_data_set(rng: np.random.Generator, model: Model, units: int, truth: float) -> dict[str, dict[int, float]]:
    """By what is asked and number of seeds: whether an interval covers, a test rejects, or how wide an interval is."""
    data = draw_data(rng, model, units)
    (full, left), (other, other_left) = (
        leave_one_out(model.task, counts_of_method(rng, model, data, max(SEEDS))) for _ in range(2)
    )
    result: dict[str, dict[int, float]] = {}

    def note(what: str, value: float) -> None:
        result.setdefault(what, {})[seeds] = value

    bounds = (model.task.least, 1.0)
    for seeds in SEEDS:
        score = estimate(full[:seeds], left[:seeds], within=bounds)
        note("covered", score.low <= truth <= score.high)
        note("width", score.high - score.low)
        widest = bounds[1] - bounds[0]
        pair = full[:seeds] - other[:seeds], left[:seeds] - other_left[:seeds]
        borrowed = estimate(*pair, within=(-widest, widest), seeds=seeds_of_two(full[:seeds], other[:seeds]))
        note("claimed", borrowed.p <= 0.05)
        note("claimed, variance of the difference alone", estimate(*pair, within=(-widest, widest)).p <= 0.05)
        if model.task.least < 0:
            transformed = fisher(full[:seeds], left[:seeds])
            low, high = np.tanh([transformed.low, transformed.high])
            note("covered, Fisher z", low <= truth <= high)
            note("width, Fisher z", high - low)
    return result


def table(results: dict[tuple[str, int], list[dict[str, dict[int, float]]]], what: str, title: str) -> Table | None:
    rows = {key: [each[what] for each in found] for key, found in results.items() if what in found[0]}
    if not rows:
        return None
    view = Table("", *(f"{seeds} seeds" for seeds in SEEDS), title=title)
    for (name, units), found in rows.items():
        cells = []
        for seeds in SEEDS:
            values = np.array([each[seeds] for each in found], dtype=float)
            cells.append(f"{values.mean():.3f} ± {values.std() / np.sqrt(len(values)):.3f}")
        view.add_row(f"{name}, {units} units", *cells)
    return view


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=int, default=1000, help="simulated data sets of each size")
    parser.add_argument("--only", choices=MODELS, help="one of the models")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console, began = Console(width=120), time.process_time()
    results = {}
    for name in [options.only] if options.only else MODELS:
        rng, model = np.random.default_rng(options.seed), MODELS[name]
        truth = population_metric(rng, model)
        console.print(f"{name}: population {model.task.metric_name} {truth:.4f}")
        for units in UNITS:
            results[name, units] = [
                one_data_set(rng, model, units, truth)
                for _ in track(range(options.datasets), f"{name}, {units} units", console=console, transient=True)
            ]
    for what, title in (
        ("covered", "Coverage of 95 % intervals"),
        ("claimed", "True null rejected at 5 %: two methods that are equally good"),
        ("claimed, variance of the difference alone", "The same, without borrowing from other rows"),
        ("width", "Mean width of the interval"),
        ("covered, Fisher z", "Coverage with Fisher's z"),
        ("width, Fisher z", "Mean width with Fisher's z"),
    ):
        view = table(results, what, f"{title} (± Monte-Carlo error)")
        if view is not None:
            console.print(view)
    console.print(f"{options.datasets} data sets of each size, {time.process_time() - began:.0f} CPU seconds")


if __name__ == "__main__":
    main()
