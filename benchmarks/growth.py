"""How do time and memory grow with a grid? Frames, views, fusions, seeds and smoothers, each by 1, 2, 4 and 8.

    python benchmarks/growth.py            # about six minutes on two cores

The stand-ins of ``scale_components.py``: frames and an embedding that cost next to nothing, so that all else shows.
Each grid runs alone in a fresh process with the serial executor, after a small one that has imported everything.
Seconds of the processor; memory is the highest of the process, above what it had after the small grid. ``8 / 4`` is
what the last doubling costs: 2 is linear.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from statistics import median
from typing import Any

from interleaved import ONE_THREAD, machine

FACTORS = (1, 2, 4, 8)
VIEWS = ("eye", "mouth", "nose", "brow", "eye+mouth", "keep:eye", "drop:eye", "drop:mouth")
SMALL = 0.004
AXES = ("frames", "views", "fusions", "seeds", "smoothers")


def request(scale: float, views: int = 1, fusions: int = 1, seeds: int = 1, smoothers: int = 1) -> dict[str, Any]:
    """A grid of that size; the reference row is the face alone."""
    return {
        "datasets": [f"like-affwild2:scale={scale:g}"],
        "extractor": ["template:layout=arcface"],
        "backbones": ["reshape"],
        "main": "face",
        "regions": [",".join(VIEWS[:views])],
        "fusions": [f"mlp:hidden={128 + index}" for index in range(fusions)],
        "smoothers": [f"window:width={3 + 2 * index}" for index in range(smoothers)],
        "seeds": seeds,
        "recipe": {"epochs": 3, "patience": 0},
    }


def run(sizes: dict[str, Any]) -> dict[str, float]:
    """Seconds of each stage and of the whole, and MiB, of one grid in this process."""
    import scale_components  # noqa: F401  (registers what stands in)
    from grid_cost import Stages, timed

    from fusionkit.api import execute, prepare

    def grid(folder: str, **sizes: Any) -> Stages:
        stages = Stages()
        prepared = prepare(overrides=request(**sizes), out=folder, device="cpu", executor="serial")
        outcome, _ = execute(prepared, stages)
        assert not outcome.failed, outcome.failed
        return stages

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FUSIONKIT_CACHE"] = f"{folder}/cache"
        grid(f"{folder}/small", scale=SMALL)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cost, stages = timed(lambda: grid(f"{folder}/run", **sizes))
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {**{name: each.cpu for name, each in stages.costs.items()}, "whole": cost.cpu, "MiB": peak}


def measured(sizes: dict[str, Any]) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--run", json.dumps(sizes)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--scale", type=float, default=0.02, help="share of Aff-Wild2's 900,000 frames, times 1")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run(options.run)))
        return
    print(f"{machine()}\n")
    print("| | figure | 1 | 2 | 4 | 8 | 8 / 4 |\n|---|---|---|---|---|---|---|")
    for axis in options.axes:
        grids = [
            {"scale": options.scale * factor} if axis == "frames" else {"scale": options.scale, axis: factor}
            for factor in FACTORS
        ]
        rounds = [[measured(sizes) for sizes in grids] for _ in range(options.rounds)]
        for figure in rounds[0][0]:
            values = [median(each[place][figure] for each in rounds) for place in range(len(FACTORS))]
            shown = " | ".join(f"{value:.0f}" if figure == "MiB" else f"{value:.2f}" for value in values)
            print(f"| {axis} | {figure} | {shown} | {values[3] / max(values[2], 1e-3):.2f} |", flush=True)


if __name__ == "__main__":
    main()
