"""Does masked pre-training pay, where labels are scarce and under the fusions? A small transformer with and without it.

    python benchmarks/label_fraction.py --dataset folder:root=faces --size 48 --out labels

A transformer of 0.8 million weights is pre-trained on the train images of the data set, or on ``--unlabelled``. Then it
is fine-tuned on each ``--view`` with the labels of a share of the training units, and so is the same network from
random weights, with the same recipe, epochs and seeds. Every share is given as many steps as far as ``--epochs``
allows, so that few labels do not mean few steps. Where dev is carved out of train, it has the same share of labels.

With ``--fusions``, the networks of the first seed with the largest share then become backbones, one for each view.
``fusionkit bench`` trains heads on them with the same labels: on each view alone, and on the first beside each of the
others and beside itself, which tells what the fusion adds without another view.

Scores are of the test split. Intervals and p are over units and seeds, p is Holm-corrected over a table. One
pre-training stands behind all seeds. The same command again goes on, and more seeds add to what is there. ``curve.png``
in the folder draws the first table.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from expression import accuracy, interval, paired_difference

from fusionkit.config.config_file import find_config, read_config
from fusionkit.contracts import UNLABELLED, FaceDataset, FrameTable
from fusionkit.registry import DATASETS
from fusionkit.stats.crossed import Estimate
from fusionkit.stats.intervals import holm

if TYPE_CHECKING:
    from fusionkit.grid.results import Row
    from fusionkit.report.run import Results

ARMS = {"scratch": "from random weights", "pretrained": "pre-trained"}
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
BATCH, RATE = 16, 5e-4  # of a fine-tuning
PRETRAIN_EPOCHS = 20

Key = tuple[str, str, float]  # view, arm and share


@DATASETS.register_module(name="fewer-labels")
class FewerLabels(FaceDataset):
    """A data set that keeps the labels of some of its training units; val and test stay whole.

    Args:
        source: the data set.
        share: of the training units; a smaller share's units are among those of a larger one, and the first of them
            show every class, without which nothing can be trained.
    """

    nested: ClassVar[dict[str, str]] = {"source": "dataset"}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # a source is needed to build it

    def __init__(self, source: Any, share: float) -> None:
        self.source, self.share = DATASETS.build(source), share

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the source."""
        return self.source.classes

    @cached_property
    def frames(self) -> FrameTable:
        """The source's, with fewer labels."""
        table = self.source.frames
        train = (table.split == "train") & (table.label != UNLABELLED)
        order = _order(table.take(train))
        kept = order[: max(1, round(self.share * len(order)))]
        hidden = train & ~np.isin(table.unit, kept)
        return replace(table, label=np.where(hidden, UNLABELLED, table.label))

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """The source's images."""
        return self.source.read(rows)

    def content(self) -> str:
        """The source's: labels are in the table."""
        return self.source.content()


def _order(table: FrameTable) -> list[str]:
    """The units as they are drawn, but that those come first which between them show every class."""
    drawn = np.random.default_rng(0).permutation(np.unique(table.unit)).tolist()
    shown: dict[str, set[int]] = {unit: set() for unit in drawn}
    for unit, label in zip(table.unit.tolist(), table.label.tolist(), strict=True):
        shown[unit].add(label)
    first: dict[str, None] = {}
    lacking = set(table.label.tolist())
    while lacking:
        best = max(drawn, key=lambda unit: len(shown[unit] & lacking))
        first[best] = None
        lacking -= shown[best]
    return [*first, *(unit for unit in drawn if unit not in first)]


@dataclass(frozen=True)
class Labels:
    """What a share of the labels comes to.

    Attributes:
        dataset: with these labels.
        units: that are labelled, of train.
        frames: that are labelled, of train.
        epochs: of a fine-tuning.
        seeds: fine-tunings of each view and arm.
    """

    dataset: dict[str, Any]
    units: int
    frames: int
    epochs: int
    seeds: int


@dataclass(frozen=True)
class Request:
    """What is asked for; see the module and its options."""

    dataset: str
    unlabelled: Sequence[str]
    size: int
    folder: Path
    views: Sequence[str] = ("face",)
    shares: Sequence[float] = SHARES
    seeds: Sequence[int] = (3,)
    steps: int = 1200
    epochs: tuple[int, int] = (4, 64)
    pretrain: Sequence[str] = ()
    finetune: Sequence[str] = ()
    fusions: str = ""
    head_seeds: int = 3
    processes: int = 2

    @cached_property
    def labels(self) -> dict[float, Labels]:
        """What each share comes to."""
        seeds = [*self.seeds] * (len(self.shares) if len(self.seeds) == 1 else 1)
        return {share: self._labels(share, count) for share, count in zip(self.shares, seeds, strict=True)}

    def _labels(self, share: float, seeds: int) -> Labels:
        table = FewerLabels(self.dataset, share).frames
        used = (table.split == "train") & (table.label != UNLABELLED)
        epochs = int(np.clip(round(self.steps * BATCH / used.sum()), *self.epochs))
        spec = {"type": "fewer-labels", "source": self.dataset, "share": share}
        return Labels(spec, len(np.unique(table.unit[used])), int(used.sum()), epochs, seeds)

    def network(self, view: str, arm: str, share: float, seed: int) -> Path:
        """Folder of a fine-tuning."""
        return self.folder / f"{view}-{arm}-{share:g}-{seed}"

    def pretrained(self) -> Path:
        """The encoder of ``fusionkit pretrain``."""
        words = ["pretrain", "pretrain/tiny", "--out", str(self.folder / "pretrained")]
        words += [word for source in self.unlabelled for word in ("--data", source)]
        options = [f"encoder.size={self.size}", f"recipe.epochs={PRETRAIN_EPOCHS}", *self.pretrain]
        words += [word for option in options for word in ("--set", option)]
        print(f"fusionkit {' '.join(words)}", flush=True)
        subprocess.run([sys.executable, "-m", "fusionkit", *words], check=True)
        return self.folder / "pretrained/encoder.safetensors"

    def random(self, seed: int) -> Path:
        """The same encoder as pre-training starts from: random weights that are drawn like MAE's."""
        import torch

        from fusionkit.training.encoder import EncoderOptions, build_encoder, write_encoder
        from fusionkit.training.mae import initialize

        named = read_config(find_config("pretrain/tiny"))["encoder"]
        options = EncoderOptions(**{**named, "size": self.size})
        torch.manual_seed(seed)
        file = self.folder / f"random-{seed}.safetensors"
        encoder = build_encoder(options)
        initialize(encoder)
        write_encoder(file, encoder, options, {})
        return file

    def counts_of(self, key: Key, seed: int, init: Path) -> np.ndarray:
        """Fine-tune once, or go on: test confusion counts by unit (U, C, C)."""
        from fusionkit.report.run import Results
        from fusionkit.training.finetune import finetune
        from fusionkit.training.finetune_config import resolve_finetune

        view, _, share = key
        folder, labels = self.network(*key, seed), self.labels[share]
        recipe = [f"recipe.epochs={labels.epochs}", f"recipe.batch_size={BATCH}", f"recipe.lr={RATE}"]
        raw = read_config(find_config("finetune/tiny"), [*recipe, *self.finetune])
        changed = {"dataset": labels.dataset, "limit": None, "init": str(init), "view": view, "seeds": [seed]}
        finetune(resolve_finetune({**raw, **changed}, "label_fraction"), folder)
        results = Results(folder)
        (row,) = results.grid["rows"]
        return results.load(row).counts[seed]

    def heads(self, arm: str) -> Results:
        """``fusionkit bench`` with the networks of the first seed and the largest share as backbones."""
        from fusionkit.api import bench

        share = max(self.shares)
        files = {view: self.network(view, arm, share, 0) / "best/backbone.safetensors" for view in self.views}
        main, *others = self.views
        beside: dict[str, Any] = {"main": main, "regions": [*others, main], "fusions": self.fusions}
        alone: dict[str, Any] = {"main": "none", "regions": others, "fusions": "linear"}
        for grid in (beside, alone):  # the second adds its rows to the folder of the first
            results = bench(
                datasets=self.labels[share].dataset,
                backbones={view: f"timm:checkpoint={file}" for view, file in files.items()},
                smoothers="none",
                seeds=self.head_seeds,
                out=self.folder / f"heads-{arm}-{share:g}",
                **grid,
            )
        return results


def measure(request: Request) -> dict[Key, np.ndarray]:
    """Counts (S, U, C, C) by view, arm and share."""
    seeds = range(max(request.seeds))
    begin = {("pretrained", seed): encoder for encoder in [request.pretrained()] for seed in seeds}
    begin |= {("scratch", seed): request.random(seed) for seed in seeds}
    work = [
        ((view, arm, share), seed)
        for seed in seeds
        for share in sorted(request.labels, reverse=True)
        if seed < request.labels[share].seeds
        for view in request.views
        for arm in ARMS
    ]
    found: dict[Key, list[np.ndarray]] = {}
    with ProcessPoolExecutor(request.processes, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(request.counts_of, key, seed, begin[key[1], seed]) for key, seed in work]
        for number, ((key, seed), each) in enumerate(zip(work, waiting, strict=True), 1):
            found.setdefault(key, []).append(each.result())
            print(f"fine-tuned {number}/{len(work)}: {key}, seed {seed}", flush=True)
    return {key: np.stack(counts) for key, counts in found.items()}


def number(value: float, sign: str = "") -> str:
    """As in the tables of the bench: ``.373``."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


def score_text(estimate: Estimate, sign: str = "") -> str:
    """A score as in the tables of the bench: ``.373 [.319, .439]``."""
    return f"{number(estimate.value, sign)} [{number(estimate.low, sign)}, {number(estimate.high, sign)}]"


def p_text(p: float) -> str:
    """As in the tables of the bench."""
    if np.isnan(p):
        return ""  # one seed
    return "<.001" if p < 0.001 else number(p)


def table(counts: dict[Key, np.ndarray], sizes: dict[float, Labels]) -> list[str]:
    """The curve, as lines of Markdown."""
    views = dict.fromkeys(view for view, _, _ in counts)
    pairs = {
        (v, share): (counts[v, "pretrained", share], counts[v, "scratch", share]) for v in views for share in sizes
    }
    corrected = holm(np.array([paired_difference(*pair).p for pair in pairs.values()]))
    lines = [
        "| view | labels | units | frames | epochs | seeds | scratch | pre-trained | difference | p Holm | correct |",
        "|" + "---|" * 11,
    ]
    for ((view, share), (ours, theirs)), p in zip(pairs.items(), corrected, strict=True):
        size = sizes[share]
        correct = ", ".join(number(accuracy(each.sum(1)).mean()) for each in (theirs, ours))
        lines.append(
            f"| {view} | {share:.0%} | {size.units} | {size.frames} | {size.epochs} | {size.seeds} "
            f"| {score_text(interval(theirs))} | {score_text(interval(ours))} "
            f"| {score_text(paired_difference(ours, theirs), '+')} | {p_text(p)} | {correct} |"
        )
    return lines


def head_table(arms: dict[str, Results]) -> list[str]:
    """Heads by backbone, as lines of Markdown: each with its difference to the first view alone."""
    rows = {arm: {each.name: each for each in results.rows} for arm, results in arms.items()}
    names = [*rows["scratch"]]
    counts = {
        arm: {each.name: results.stored[each.id].counts for each in results.rows} for arm, results in arms.items()
    }
    pairs = [[np.stack([*counts[arm][name].values()]) for arm in ("pretrained", "scratch")] for name in names]
    differences = [paired_difference(*pair) for pair in pairs]
    corrected = holm(np.array([each.p for each in differences]))
    lines = [f"| views | fusion | {ARMS['scratch']} | {ARMS['pretrained']} | difference | p Holm |", "|" + "---|" * 6]
    for name, difference, p in zip(names, differences, corrected, strict=True):
        axes = rows["scratch"][name].axes
        cells = [head_text(rows[arm][name]) for arm in ("scratch", "pretrained")]
        lines.append(
            f"| {axes.views} | {axes.fusion} | {' | '.join(cells)} | {score_text(difference, '+')} | {p_text(p)} |"
        )
    return lines


def head_text(row: Row) -> str:
    """A score, and its difference to the reference, with an asterisk for p < .05 after Holm's correction."""
    assert row.score
    if row.delta is None:
        return score_text(row.score)
    return f"{score_text(row.score)} {number(row.delta.value, '+')}{'*' * (row.p_holm < 0.05)}"


def draw(scores: dict[str, list[Estimate]], shares: Sequence[float], file: Path) -> None:
    """The curve as a picture: macro-F1 with intervals by share, a line for each name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, found) in enumerate(scores.items()):
        values = np.array([estimate.value for estimate in found])
        ends = np.array([(estimate.low, estimate.high) for estimate in found]).T
        beside = np.array(shares) * (0.98 + 0.04 * place)  # so that intervals do not hide each other
        axes.errorbar(beside, values, abs(ends - values), marker="o", capsize=3, label=name)
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{share:.0%}" for share in shares], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("labels")
    axes.set_ylabel("macro-F1 on test, 95 %")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(file, dpi=120)


def lines_of(counts: dict[Key, np.ndarray], shares: Sequence[float]) -> dict[str, list[Estimate]]:
    """What is drawn, by name; without the view if there is one only."""
    views = dict.fromkeys(view for view, _, _ in counts)
    return {
        (f"{view}, {text}" if len(views) > 1 else text): [interval(counts[view, arm, share]) for share in shares]
        for view in views
        for arm, text in ARMS.items()
    }


def numbers(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Reads ``0.01,0.1,1``."""
    return lambda text: tuple(map(kind, text.split(",")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="labelled, with official splits")
    parser.add_argument(
        "--unlabelled", action="append", help="pre-trained on: the train images of a data set, or a folder; repeatable"
    )
    parser.add_argument("--size", type=int, default=64, help="side of the images, a multiple of 8")
    parser.add_argument("--view", action="append", dest="views", help="fine-tuned on; repeatable; default: face")
    parser.add_argument("--shares", type=numbers(float), default=SHARES, help="of the labels, as 0.01,0.1,1")
    parser.add_argument(
        "--seeds", type=numbers(int), default=(3,), help="fine-tunings of each; one number, or by share"
    )
    parser.add_argument("--steps", type=int, default=1200, help="of a fine-tuning, as far as --epochs allows")
    parser.add_argument("--epochs", type=numbers(int), default=(4, 64), help="least and most of a fine-tuning")
    parser.add_argument(
        "--pretrain", action="append", default=[], metavar="KEY=VALUE", help="sets a key of pretrain/tiny"
    )
    parser.add_argument(
        "--finetune", action="append", default=[], metavar="KEY=VALUE", help="sets a key of finetune/tiny"
    )
    parser.add_argument("--fusions", default="", help="of the heads, separated by commas; default: no heads")
    parser.add_argument("--head-seeds", type=int, default=3, help="heads of each row")
    parser.add_argument("--processes", type=int, default=2, help="fine-tunings at once")
    parser.add_argument("--out", type=Path, required=True, dest="folder")
    given = vars(parser.parse_args())
    given["unlabelled"] = given["unlabelled"] or [given["dataset"]]
    request = Request(**{**given, "views": given["views"] or ["face"]})
    if len(request.seeds) not in (1, len(request.shares)):
        parser.error(
            f"--seeds has {len(request.seeds)} numbers for {len(request.shares)} shares; give one, or one a share"
        )
    request.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    counts = measure(request)
    print("\n".join(["", *table(counts, request.labels), ""]), flush=True)
    draw(lines_of(counts, request.shares), request.shares, request.folder / "curve.png")
    if request.fusions:
        print("\n".join(["", *head_table({arm: request.heads(arm) for arm in ARMS}), ""]))
    print(f"{(time.monotonic() - started) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
