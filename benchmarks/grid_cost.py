"""What does a grid cost? Held against the sum of its parts, and against a script that makes every cell from pixels.

    python benchmarks/grid_cost.py            # about ten minutes on two cores
    python benchmarks/grid_cost.py --quick    # about one
    python benchmarks/grid_cost.py --workers-only --pairs 3   # two workers against one: needs a machine of its own

500 cells, 5 region sets x 5 fusions (width 256) x 4 smoothers x 5 seeds, on synthetic faces with vision transformers of
timm whose weights are random, which cost what trained ones cost. Libraries and weights are loaded before any clock
starts. Seconds on the clock and of the processor stand side by side: where a machine is shared, ratios of the latter
are the ones to go by, and verdicts are made on them.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np

from fusionkit.api import execute, prepare
from fusionkit.grid.plan import HeadWork, Plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.run import Outcome
from fusionkit.storage.embeddings import EmbeddingStore, shard_count

VIT_TI = "timm:model=vit_tiny_patch16_224"
VIT_B = "timm:model=vit_base_patch16_224"
REGIONS = ("eye", "mouth", "nose", "eye,mouth", "eye,mouth,nose")
FUSIONS = ("concat:width=256", "mean:width=256", "mlp", "plain-concat", "plain-mean")
SMOOTHERS = ("none", "window:width=3", "window:width=5", "window:width=11")
ONE_MORE = "window:width=7"
SEEDS = 5
CELLS = len(REGIONS) * len(FUSIONS) * len(SMOOTHERS) * SEEDS
FRAMES_A_PERSON = 64
SMALLEST = "synthetic:train=2,val=2,test=2,clips=4,clip_length=6"  # for the large model


@dataclass
class Cost:
    """Seconds on the clock and of the processor, that of finished child processes with it."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall - other.wall, self.cpu - other.cpu)

    def __mul__(self, factor: float) -> Cost:
        return Cost(self.wall * factor, self.cpu * factor)

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.cpu:.1f} CPU s)"

    def over(self, other: Cost) -> str:
        """How many times the other."""
        return f"{self.cpu / other.cpu:.2f} by CPU time, {self.wall / other.wall:.2f} by the clock"


def now() -> Cost:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Cost(time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages))


def timed(work: Callable[[], Any]) -> tuple[Cost, Any]:
    began = now()
    result = work()
    return now() - began, result


@dataclass
class Stages(Progress):
    """What each stage of a run cost."""

    costs: dict[str, Cost] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:  # noqa: D102  (as in the base class)
        began = now()
        yield
        self.costs[name] = now() - began


@dataclass(frozen=True)
class Setup:
    """What the grids of this benchmark share."""

    data: str
    backbone: str
    epochs: int

    def request(self, **changes: Any) -> dict[str, Any]:
        """The config."""
        return {
            "datasets": [self.data],
            "extractor": ["template:layout=arcface"],
            "backbones": [self.backbone],
            "main": "face",
            "regions": list(REGIONS),
            "fusions": list(FUSIONS),
            "smoothers": list(SMOOTHERS),
            "seeds": SEEDS,
            "reference": "eye",
            "recipe": {"epochs": self.epochs, "patience": 0},  # no early stop: every head costs the same anywhere
            **changes,
        }

    def plan(self) -> Plan:
        """The plan of the whole grid."""
        return prepare(overrides=self.request(), out="unused", device="cpu").plan

    def run(
        self, out: Path, executor: Literal["serial", "processes"] = "serial", **changes: Any
    ) -> tuple[Outcome, Stages]:
        """Everything that the command does: plan, embed, fit, smooth, score, statistics and files."""
        request = self.request(**changes)
        prepared = prepare(overrides=request, out=out, device="cpu", executor=executor, workers=2)
        stages = Stages()
        outcome, results = execute(prepared, stages)
        assert not outcome.failed, outcome.failed
        assert all(row.score for row in results.rows)
        return outcome, stages


# -- the parts, alone --------------------------------------------------------------------------------------------------


def embeddings_alone(plan: Plan, store: EmbeddingStore) -> Cost:
    """All embeddings of a plan with one data set, by the engine's function; a frame is read once, as in a run."""
    from fusionkit.engine.embed import embed

    source = next(iter(plan.heads.values())).fold_data.source
    wanted = list({item.key: item for head in plan.heads.values() for item in head.embeddings.values()}.values())
    cost, _ = timed(lambda: embed(source, wanted, range(shard_count(len(source.table))), store, "cpu", lambda _: None))
    return cost


@contextmanager
def engine_calls() -> Iterator[Cost]:
    """What the engine's embed() and fit() cost inside a run of one process: parts and whole of the same moments."""
    from fusionkit.engine.embed import embed
    from fusionkit.engine.fit import fit

    total = Cost()

    def measured(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*given: Any) -> Any:
            cost, result = timed(lambda: call(*given))
            total.wall, total.cpu = total.wall + cost.wall, total.cpu + cost.cpu
            return result

        return wrapper

    with (
        mock.patch("fusionkit.grid.tasks.embed", measured(embed)),
        mock.patch("fusionkit.engine.fit.fit", measured(fit)),
    ):
        yield total


def heads_alone(plan: Plan, store: EmbeddingStore) -> Cost:
    """All heads of a plan, by the engine's function; reading their features is not counted."""
    from fusionkit.engine.features import load_features
    from fusionkit.engine.fit import fit

    groups: dict[tuple[str, ...], list[HeadWork]] = {}
    for head in plan.heads.values():
        groups.setdefault(tuple(head.embeddings), []).append(head)
    total = Cost()
    for heads in groups.values():
        fold_data = heads[0].fold_data
        keys = {name: item.key for name, item in heads[0].embeddings.items()}
        features = load_features(store, keys, fold_data.rows, standardize=True, memory=2**31)
        for head in heads:
            call = (features, fold_data.rows, fold_data.task, head.fusion, head.recipe, head.seed, "cpu")
            total += timed(partial(fit, *call))[0]
    return total


# -- the script that people write --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images that are in memory already: reading them is not counted against the script."""

    images: list[np.ndarray | None]
    boxes: list[dict[str, np.ndarray]]
    plan: Plan

    @classmethod
    def of(cls, plan: Plan) -> Pixels:
        """The images of a plan's data set."""
        from fusionkit.registry import EXTRACTORS
        from fusionkit.registry.spec import Spec

        source = next(iter(plan.heads.values())).fold_data.source
        images = source.images(np.arange(len(source.table)))
        extractor = EXTRACTORS.build(Spec.parse("template:layout=arcface"))
        found = extractor([np.zeros((112, 112, 3), np.uint8) if image is None else image for image in images])
        return cls(images, [dict(zip(extractor.regions, box, strict=True)) for box in found.boxes], plan)


def script_cell(pixels: Pixels, backbone: Any, regions: str, fusion: str, smoother: str, epochs: int) -> float:
    """One cell from pixels, in one go: embed train and test, train a head, smooth, score. Macro-F1 of test."""
    import cv2
    import torch
    from sklearn.metrics import f1_score
    from torch.nn import functional

    from fusionkit.config.views import View, cut
    from fusionkit.registry import FUSIONS as KNOWN
    from fusionkit.registry import SMOOTHERS as SMOOTHING
    from fusionkit.registry.spec import Spec

    fold_data = next(iter(pixels.plan.heads.values())).fold_data
    table, rows = fold_data.source.table, fold_data.rows
    there = np.array([image is not None for image in pixels.images])
    train = rows.train[there[rows.train]]
    test = rows.test[there[rows.test]]

    def embedded(which: np.ndarray, view: View) -> torch.Tensor:
        parts = []
        for start in range(0, len(which), 64):
            chunk = which[start : start + 64].tolist()
            views = [cut(pixels.images[row], pixels.boxes[row], view) for row in chunk]
            cuts = [cv2.resize(each, (224, 224), interpolation=2) for each in views if each is not None]
            parts.append(backbone(np.stack(cuts), 0))
        return torch.from_numpy(np.concatenate(parts))

    torch.manual_seed(0)
    views = {"face": View("face"), **{name: View("crop", (name,)) for name in regions.split(",")}}
    x = {name: embedded(train, view) for name, view in views.items()}
    y = torch.from_numpy(table.label[train])
    unseen = {name: embedded(test, view) for name, view in views.items()}
    for name, values in x.items():
        mean, std = values.mean(0), values.std(0)
        x[name], unseen[name] = (values - mean) / std, (unseen[name] - mean) / std

    classes = len(fold_data.source.classes)
    head = KNOWN.build(Spec.parse(fusion), in_dims={n: v.shape[1] for n, v in x.items()}, num_classes=classes)
    head.attach_head()
    weight = (len(y) / (classes * y.bincount(minlength=classes).clamp(min=1))).float()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(256):
            logits = head({name: values[batch] for name, values in x.items()}).logits
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(logits, y[batch], weight=weight).backward()
            optimizer.step()
    head.eval()
    with torch.inference_mode():
        probs = head(unseen).logits.softmax(1).double().numpy()
    smoothing = SMOOTHING.build(Spec.parse(smoother))
    for clip in np.unique(table.clip[test]):
        of_clip = table.clip[test] == clip
        probs[of_clip] = smoothing(probs[of_clip], table.number[test[of_clip]])
    truth = fold_data.sealed._label[there[rows.test]]  # noqa: SLF001  (a script has no seals)
    return float(f1_score(truth[truth >= 0], probs[truth >= 0].argmax(1), average="macro", zero_division=0))


def script(plan: Plan, backbone: str, epochs: int, cells: list[tuple[str, str, str]]) -> Cost:
    """What all cells would take: the given ones are made and extrapolated."""
    from fusionkit.registry import BACKBONES
    from fusionkit.registry.spec import Spec

    pixels, model = Pixels.of(plan), BACKBONES.build(Spec.parse(backbone))
    model.prepare("cpu", model.precision("cpu"))
    total = Cost()
    for cell in cells:
        total += timed(partial(script_cell, pixels, model, *cell, epochs))[0]
    return total * (CELLS / len(cells))


# -- the claims --------------------------------------------------------------------------------------------------------


class Benchmark:
    """Prints figures and keeps count of the claims that are not kept."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.missed = 0
        people = max(round(options.frames / FRAMES_A_PERSON), 6)
        test, val = max(people // 3, 2), max(people // 4, 2)
        data = f"synthetic:train={people - test - val},val={val},test={test},clips=4"
        self.small = Setup(data, VIT_TI, options.epochs)
        self.large = Setup(SMALLEST, VIT_B, options.epochs)

    def claim(self, text: str, kept: bool) -> None:
        """Print a figure and whether it keeps what is claimed; the sizes of ``--quick`` are too small to tell."""
        verdict = "" if self.options.quick else f"{'kept' if kept else 'MISSED'}: "
        print(f"  {verdict}{text}", flush=True)
        self.missed += not (kept or self.options.quick)

    def run(self) -> int:
        """Measure everything; how many claims were missed."""
        from fusionkit.grid.tasks import single_thread

        single_thread()
        plan = self.small.plan()  # loads libraries and weights
        if self.options.workers_only:
            self.two_workers()
            return self.missed
        table = next(iter(plan.heads.values())).fold_data.source.table
        print(f"{CELLS} cells, {len(plan.heads)} heads of {self.options.epochs} epochs, {len(table)} frames, {VIT_TI}")
        whole = self.sum_of_parts(plan)
        self.against_script(self.small, plan, whole, cells=2 if self.options.quick else 5, least=20)
        self.another_smoother(whole)
        self.two_workers()
        if not self.options.quick:
            plan = self.large.plan()
            print(f"\n{CELLS} cells with {VIT_B}, {len(next(iter(plan.heads.values())).fold_data.source.table)} frames")
            whole, (_, self.stages) = timed(lambda: self.large.run(self.folder / "large"))
            self.against_script(self.large, plan, whole, cells=2, least=20)
        return self.missed

    def sum_of_parts(self, plan: Plan) -> Cost:
        """Claim: a grid costs its embeddings and its heads, and little else."""
        print("\nA grid against the sum of its parts, measured alone by the engine's own functions")
        store = EmbeddingStore(self.folder / "alone")
        embeddings = embeddings_alone(plan, store)
        with engine_calls() as calls:
            whole, (outcome, self.stages) = timed(lambda: self.small.run(self.folder / "run"))
        heads = heads_alone(plan, store)
        print(f"  embeddings {embeddings}, heads {heads}, together {embeddings + heads}")
        stages = ", ".join(f"{name} {cost}" for name, cost in self.stages.costs.items())
        print(f"  grid {whole}: {stages}; {outcome.embedded:,} frames, {outcome.fitted} heads, {outcome.scored} cells")
        parts = embeddings + heads
        self.claim(f"grid / parts is {whole.over(parts)} (claim: 1.15)", whole.cpu <= 1.15 * parts.cpu)
        text = f"grid / its own calls of embed() and fit(), {calls}, is {whole.over(calls)} (claim: 1.15)"
        self.claim(text, whole.cpu <= 1.15 * calls.cpu)
        return whole

    def against_script(self, setup: Setup, plan: Plan, whole: Cost, cells: int, least: float) -> None:
        """Claim: it costs a small part of what cells from pixels cost."""
        print(f"\nThe script that makes every cell from pixels, {cells} cells extrapolated to {CELLS}")
        # One cell from each region set and fusion, each once.
        chosen = [(REGIONS[cell], FUSIONS[cell], SMOOTHERS[cell % len(SMOOTHERS)]) for cell in range(cells)]
        cost = script(plan, setup.backbone, setup.epochs, chosen)
        costs = self.stages.costs
        views = len({item.key for head in plan.heads.values() for item in head.embeddings.values()})
        one = costs["fit"].cpu / len(plan.heads), costs["embed"].cpu / views
        print(f"  script {cost}, grid {whole}")
        print(f"  a head {one[0]:.2f} CPU s, an embedding {one[1]:.2f}: head / embedding {one[0] / one[1]:.3f}")
        self.claim(f"script / grid is {cost.over(whole)} (claim: {least:g})", cost.cpu >= least * whole.cpu)

    def another_smoother(self, whole: Cost) -> None:
        """Claims: what is done is not done again, and a smoother costs no training."""
        print("\nThe same command again, then with one smoother more")
        again, (outcome, _) = timed(lambda: self.small.run(self.folder / "run"))
        done = f"{outcome.embedded} frames, {outcome.fitted} heads, {outcome.scored} cells"
        nothing = not (outcome.embedded or outcome.fitted or outcome.scored)
        self.claim(f"again: {again}, {done}", nothing)
        more, (outcome, _) = timed(lambda: self.small.run(self.folder / "run", smoothers=[*SMOOTHERS, ONE_MORE]))
        added = more - again
        print(f"  with {ONE_MORE}: {more}, {outcome.fitted} heads, {outcome.scored} cells")
        share = 100 * added.cpu / whole.cpu
        self.claim(f"beyond the command again it adds {added}, {share:.2f} % of the grid (claim: 2 %)", share < 2)

    def two_workers(self) -> None:
        """Claim: two processes train nearly twice as many heads."""
        print("\nThe head stage by one process and by two, turn about")
        setup = Setup(self.small.data, VIT_TI, self.options.worker_epochs)
        start = self._heads(Setup(self.small.data, VIT_TI, 1), "processes", fusions=["plain-concat"], seeds=1)
        print(f"  starting two processes, five small heads with it: {start}")
        fastest, ideal = 0.0, 0.0
        for _ in range(self.options.pairs):
            one, two = (self._heads(setup, executor) for executor in ("serial", "processes"))
            print(f"  one {one}, two {two}: {one.wall / two.wall:.2f} times as fast with the start")
            work = two - start
            fastest, ideal = max(fastest, one.wall / work.wall), max(ideal, 2 * one.cpu / work.cpu)
        print(f"  once started, two are {fastest:.2f} times as fast by the clock (best of {self.options.pairs})")
        # Where neighbours take the second core, the clock tells of them; CPU time tells whether work got dearer.
        text = f"by CPU time they would be {min(ideal, 2):.2f} times as fast on two cores of their own (claim: 1.8)"
        self.claim(text, max(fastest, ideal) >= 1.8)

    def _heads(self, setup: Setup, executor: Literal["serial", "processes"], **changes: Any) -> Cost:
        """What training some heads costs; embeddings are there."""
        alike = {"smoothers": ["none"], "seeds": 2, "fusions": list(FUSIONS[:2]), **changes}
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            return setup.run(Path(out), executor, **alike)[1].costs["fit"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=832, help="about so many")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--worker-epochs", type=int, default=30, help="of the heads that two workers share")
    parser.add_argument("--pairs", type=int, default=2, help="of runs with one worker and with two")
    parser.add_argument("--workers-only", action="store_true", help="only the heads that two workers share")
    parser.add_argument("--quick", action="store_true", help="few frames, epochs, script cells; no large model")
    options = parser.parse_args()
    if options.quick:
        options.frames, options.epochs, options.worker_epochs, options.pairs = 384, 2, 10, 1
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="grid-cost-") as folder:
        os.environ["FUSIONKIT_CACHE"] = str(Path(folder) / "cache")
        missed = Benchmark(options, Path(folder)).run()
    print(f"\n{time.perf_counter() - began:.0f} s; {missed} claim(s) missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
