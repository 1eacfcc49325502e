"""How long do the smoothers take, and what would plain NumPy loops over the same frames take?

    python benchmarks/smoothers.py

Processor seconds for a million frames of eight classes, in one clip: with every frame there, and with a tenth of the
frames lost. Each figure is the best of three rounds in which all take their turn. The loops smooth fewer frames. The
results of both are compared, so that a fast wrong answer is not a fast answer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import softmax

from fusionkit.contracts import Smoother
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec

CLASSES = 8
ROUNDS = 3
SPECS = [
    "window:width=101",
    "median:width=101",
    "gaussian:sigma=25",
    "hamming:width=101",
    "savitzky-golay:width=101,order=2",
    "mode:width=101",
    "exponential:half_life=15",
    "kalman-filter:noise=400",
    "kalman:noise=400",
    "hmm-filter",
    "hmm",
    "hmm:decode=viterbi",
    "tcn",
]


@dataclass(frozen=True, eq=False)
class Frames:
    """A clip: logits (T, C), frame numbers (T,), classes (T,)."""

    logits: np.ndarray
    numbers: np.ndarray
    labels: np.ndarray

    def head(self, count: int) -> Frames:
        """Its first frames."""
        return Frames(self.logits[:count], self.numbers[:count], self.labels[:count])

    def given(self, smoother: Smoother) -> np.ndarray:
        """What the smoother asks for."""
        return self.logits if smoother.needs == "logits" else softmax(self.logits, axis=1)


def make(frames: int, kept: float) -> Frames:
    """Expressions that last about two seconds, seen through noise."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, CLASSES, frames // 60 + 1), 60)[:frames]
    logits = 1.5 * rng.normal(size=(frames, CLASSES))
    logits[np.arange(frames), labels] += 1.0
    there = rng.random(frames) < kept
    return Frames(logits[there], np.flatnonzero(there), labels[there])


def fitted(spec: str, clip: Frames) -> tuple[Smoother, float]:
    """The smoother, learned on 50 clips of a thousand frames where it learns, and the seconds of that."""
    smoother: Smoother = SMOOTHERS.build(Spec.parse(spec))
    if not smoother.fitted:
        return smoother, 0.0
    x = clip.given(smoother)
    parts = [slice(start, start + 1000) for start in range(0, min(50_000, len(x)), 1000)]
    seconds = cpu(lambda: smoother.fit([(x[p], clip.numbers[p]) for p in parts], [clip.labels[p] for p in parts], 0))
    return smoother, seconds


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


# -- the same as plain loops -------------------------------------------------------------------------------------------


def loop_window(summary: Callable[[np.ndarray, np.ndarray], np.ndarray], x: np.ndarray, n: np.ndarray) -> np.ndarray:
    """``summary`` of the frames up to 100 away and of their distances, for each frame."""
    out = np.empty_like(x)
    for row, number in enumerate(n):
        first, stop = np.searchsorted(n, [number - 100, number + 101])
        out[row] = summary(x[first:stop], n[first:stop] - number)
    return out / out.sum(1, keepdims=True)


def within(half: int, weigh: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def mean(x: np.ndarray, distance: np.ndarray) -> np.ndarray:
        weights = np.where(np.abs(distance) <= half, weigh(distance), 0.0)
        found: np.ndarray = weights @ x / weights.sum()
        return found

    return mean


def median(x: np.ndarray, distance: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.median(x[np.abs(distance) <= 50], axis=0)
    return found


def polynomial(x: np.ndarray, distance: np.ndarray) -> np.ndarray:
    near = np.abs(distance) <= 50
    found: np.ndarray = np.linalg.lstsq((distance[near] / 50)[:, None] ** np.arange(3), x[near])[0][0].clip(0)
    return found


def loop_mode(x: np.ndarray, distance: np.ndarray) -> np.ndarray:
    near = np.abs(distance) <= 50
    own = np.eye(CLASSES)[x[distance == 0].argmax()]
    votes = 2 * np.bincount(x[near].argmax(1), minlength=CLASSES) + own
    return np.eye(CLASSES)[votes.argmax()]


def loop_exponential(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    out, total, weight = np.empty_like(x), np.zeros(CLASSES), 0.0
    for row in range(len(x)):
        kept = 2.0 ** ((n[row - 1] - n[row]) / 15) if row else 0.0
        total, weight = kept * total + x[row], kept * weight + 1
        out[row] = total / weight
    return out


def loop_kalman(x: np.ndarray, n: np.ndarray, back: bool) -> np.ndarray:
    means, variances = [x[0]], [400.0]
    for row in range(1, len(x)):
        before = variances[-1] + n[row] - n[row - 1]
        gain = before / (before + 400)
        means.append(means[-1] + gain * (x[row] - means[-1]))
        variances.append((1 - gain) * before)
    for row in range(len(x) - 2, -1, -1) if back else ():
        share = variances[row] / (variances[row] + n[row + 1] - n[row])
        means[row] = means[row] + share * (means[row + 1] - means[row])
    return softmax(np.array(means), axis=1)


LOOPS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "window": partial(loop_window, within(50, np.ones_like)),
    "median": partial(loop_window, median),
    "gaussian": partial(loop_window, within(100, lambda d: np.exp(-0.5 * (d / 25) ** 2))),
    "hamming": partial(loop_window, within(50, lambda d: 0.54 + 0.46 * np.cos(np.pi * d / 50))),
    "savitzky-golay": partial(loop_window, polynomial),
    "mode": partial(loop_window, loop_mode),
    "exponential": loop_exponential,
    "kalman-filter": partial(loop_kalman, back=False),
    "kalman": partial(loop_kalman, back=True),
}


def loop_seconds(spec: str, smoother: Smoother, clip: Frames) -> str:
    """Seconds of the plain loop for a million frames, after a look at whether both give the same."""
    loop = LOOPS.get(Spec.parse(spec).name)
    if loop is None:
        return ""
    x = clip.given(smoother)
    np.testing.assert_allclose(loop(x, clip.numbers), smoother(x, clip.numbers), rtol=0, atol=1e-8)
    return f"{cpu(lambda: loop(x, clip.numbers)) * 1e6 / len(x):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--loop-frames", type=int, default=5_000)
    options = parser.parse_args()
    full, lost = make(options.frames, 1.0), make(options.frames, 0.9)
    smoothers = {spec: fitted(spec, lost) for spec in SPECS}
    best: dict[tuple[str, str], float] = {}
    for _ in range(ROUNDS):
        for spec, (smoother, _) in smoothers.items():
            for name, clip in (("full", full), ("lost", lost)):
                x = clip.given(smoother)
                seconds = cpu(partial(smoother, x, clip.numbers)) * 1e6 / len(x)
                best[spec, name] = min(seconds, best.get((spec, name), seconds))
    table = Table("smoother", "every frame", "a tenth lost", "plain loop", "fit", title="seconds")
    for spec, (smoother, seconds) in smoothers.items():
        loop = loop_seconds(spec, smoother, lost.head(options.loop_frames))
        figures = f"{best[spec, 'full']:.2f}", f"{best[spec, 'lost']:.2f}", loop, f"{seconds:.2f}" if seconds else ""
        table.add_row(spec, *figures)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
