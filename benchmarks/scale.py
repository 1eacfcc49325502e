"""Does a grid of the size of Aff-Wild2 fit on a laptop? Run one and watch the memory of every process.

    python benchmarks/scale.py --scale 0.05     # a try
    python benchmarks/scale.py                  # 317 clips, 880,000 labelled frames, four views of 768 numbers

The real grid runs on stand-ins (scale_components.py): planned, embedded, fitted on two and on four views, smoothed,
scored, planned again. Watched are seconds, disk, and the peak of RssAnon: the memory that is a process's own, without
pages of mapped files, which the system may drop. Afterwards a fit in memory is held against a streamed one, in turns,
on as many frames as fit: bit for bit, and in time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from expression import expression

from fusionkit.api import Prepared, execute, prepare
from fusionkit.engine.features import load_features
from fusionkit.engine.fit import fit
from fusionkit.grid.progress import Progress
from fusionkit.grid.tasks import single_thread

PLUGIN = Path(__file__).with_name("scale_components.py")
GIB = 2**30
WIDTH = 768
EVERY = 0.05  # s between looks at memory
GRID = {
    "backbones": ["reshape"],
    "regions": ["eye", "eye,mouth,nose"],
    "fusions": ["plain-concat", "mlp"],
    "smoothers": ["none", "window:width=25"],
    "seeds": 1,
}


class Watch:
    """Looks at RssAnon of this process and of all below it, and keeps the peak of each in every stage."""

    def __init__(self) -> None:
        self.stage_name = "start"
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, dict[str, int]] = defaultdict(lambda: {"driver": 0, "worker": 0})
        threading.Thread(target=self._look, daemon=True).start()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage begins; the context is its duration."""
        before, self.stage_name, began = self.stage_name, name, time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        self.stage_name = before

    def _look(self) -> None:
        while True:
            peak = self.peaks[self.stage_name]
            peak["driver"] = max(peak["driver"], rss_anon(os.getpid()))
            peak["worker"] = max([peak["worker"], *map(rss_anon, below(os.getpid()))])
            time.sleep(EVERY)


def rss_anon(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def below(process: int) -> list[int]:
    found = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(word) for word in file.read_text(encoding="utf-8").split()]
        except OSError:
            continue
        for child in children:
            found += [child, *below(child)]
    return found


class Watched(Progress):
    """Each stage of a run as a stage of the watch."""

    def __init__(self, watch: Watch, prefix: str) -> None:
        self.watch, self.prefix = watch, prefix

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """As the run tells it."""
        with self.watch.stage(f"{self.prefix}{name}"):
            yield

    def failed(self, name: str, message: str) -> None:
        """Nothing may fail here."""
        print(f"failed {name}: {message}")


def planned(options: argparse.Namespace, out: Path, **changes: object) -> Prepared:
    grid = {
        **GRID,
        "datasets": [f"like-affwild2:scale={options.scale}"],
        "plugins": [str(PLUGIN)],
        "recipe": {"epochs": options.epochs, "patience": 0},
        **changes,
    }
    return prepare(
        overrides=grid,
        out=out,
        device="cpu",
        executor=options.executor,
        workers=options.workers,
        memory=options.memory,
    )


def run(options: argparse.Namespace, work: Path, watch: Watch) -> Prepared:
    """The grid, twice: the second time everything is there and is only checked."""
    with watch.stage("plan"):
        prepared = planned(options, work / "out")
    for prefix in ("", "again: "):
        with watch.stage(f"{prefix}all"):
            outcome, results = execute(prepared, Watched(watch, prefix))
        if outcome.failed:
            sys.exit(f"failed: {outcome.failed}")
        if not prefix:
            counted = outcome
    with watch.stage("plan of 500 cells"):
        many = planned(options, work / "out", fusions=[f"mlp:hidden={width}" for width in range(1, 126)])
    rows = len(next(iter(prepared.plan.heads.values())).fold_data.source.table)
    disk = {name: size(work / name) for name in ("cache", "out")}
    print(
        f"{rows:,} rows; {counted.embedded:,} views embedded, {counted.fitted} heads, {counted.scored} cells; "
        f"disk: embeddings {disk['cache'] / GIB:.2f} GiB, run folder {disk['out'] / GIB:.2f} GiB; "
        f"a second plan of {sum(len(row.heads) for row in many.plan.rows)} cells"
    )
    print("macro-F1 " + ", ".join(f"{row.axes.name} {row.score.value:.3f}" for row in results.rows if row.score))
    print(f"{'stage':<22}{'s':>8}{'driver GiB':>12}{'worker GiB':>12}")
    for name, seconds in watch.seconds.items():
        if seconds < EVERY:
            continue  # over before it was looked at
        peak = watch.peaks[name]
        print(f"{name:<22}{seconds:>8.1f}{peak['driver'] / GIB:>12.2f}{peak['worker'] / GIB:>12.2f}")
    print(
        f"rows/s: embed {counted.embedded / watch.seconds['embed']:,.0f} views, "
        f"fit {trained(prepared, options.epochs) / watch.seconds['fit']:,.0f} training frames"
    )
    return prepared


def trained(prepared: Prepared, epochs: int) -> int:
    return sum(len(head.fold_data.rows.train) * epochs for head in prepared.plan.heads.values())


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def compare(prepared: Prepared, rounds: int, most: float) -> bool:
    """A fit in memory against a streamed one, in turns, on four views and as many frames as ``most`` GiB hold."""
    give_back = single_thread()
    same = True
    for head in list(prepared.plan.heads.values())[-2:]:
        rows = head.fold_data.rows
        keys = {name: embedding.key for name, embedding in head.embeddings.items()}
        frames = len(rows.train) + len(rows.dev) + len(rows.test)
        share = min(0.9 * most * GIB / (frames * len(keys) * WIDTH * 4), 1)
        rows = rows.take(*(slice(int(share * len(part))) for part in (rows.train, rows.dev, rows.test)))
        seconds: dict[bool, list[float]] = {True: [], False: []}
        logits = []
        for turn in range(rounds + 1):  # the first turn checks the shards and is not counted
            for held in (True, False):
                began = time.process_time()
                memory = int(most * GIB) if held else int(most * GIB / 8)
                features = load_features(prepared.store, keys, rows, standardize=True, memory=memory)
                logits.append(fit(features, rows, expression(8), head.fusion, head.recipe, 0, "cpu").test_logits)
                seconds[held] += [time.process_time() - began] if turn else []
        same &= all(np.array_equal(logits[0], other, equal_nan=True) for other in logits)
        ratio = statistics.median(seconds[False]) / statistics.median(seconds[True])
        print(
            f"{head.fusion} on {len(rows.train):,} training frames: streamed takes {ratio:.2f} x the CPU time in memory"
        )
    give_back()
    print("logits are the same bits" if same else "logits DIFFER")
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the frames")
    parser.add_argument("--memory", type=float, default=1.0, help="GiB of features that a worker holds")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--executor", choices=("processes", "serial"), default="processes")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison; 0 leaves it out")
    parser.add_argument("--most", type=float, default=4.0, help="GiB: the claim about each process")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="scale-"))
    os.environ["FUSIONKIT_CACHE"] = str(work / "cache")
    try:
        watch = Watch()
        prepared = run(options, work, watch)
        peak = max(max(each.values()) for each in watch.peaks.values()) / GIB
        print(f"peak of RssAnon in any process: {peak:.2f} GiB")
        same = compare(prepared, options.rounds, 1.0) if options.rounds else True
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0 if same and peak < options.most else 1


if __name__ == "__main__":
    sys.exit(main())
