"""Does masked pre-training pay where labels are scarce? A transformer with and without it, by the share of labels.

    python benchmarks/label_fraction.py --dataset folder:root=faces --size 48 --out labels

A transformer of 0.8 million weights is pre-trained on the train images of the data set, or on ``--unlabelled``. Then it
is fine-tuned on the labels of a share of the training units, and so is the same network from random weights, with the
same recipe, epochs and seeds. Every share is given as many steps as far as EPOCHS allows, so that few labels do not
mean few steps. Where dev is carved out of train, it has the same share of labels.

Scores are of the test split. Intervals and p are over units and seeds, p is Holm-corrected over the shares. One
pre-training stands behind all seeds. The same command
again goes on. ``curve.png`` in the folder draws the table.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.config.config_file import find_config, read_config
from fusionkit.contracts import UNLABELLED, FaceDataset, FrameTable
from fusionkit.registry import DATASETS
from fusionkit.stats.crossed import Estimate
from fusionkit.stats.intervals import holm, interval, paired_difference

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
ARMS = {"scratch": "from random weights", "pretrained": "pre-trained"}
STEPS, BATCH, RATE, EPOCHS = 1200, 16, 5e-4, (4, 64)  # of one fine-tuning; the least and most epochs
PRETRAIN_EPOCHS = 20


@DATASETS.register_module(name="fewer-labels")
class FewerLabels(FaceDataset):
    """A data set that keeps the labels of some of its training units; val and test stay whole.

    Args:
        source: the data set.
        share: of the training units; a smaller share's units are among those of a larger one, and the first of them
            show every class, without which nothing can be trained.
    """

    nested: ClassVar[dict[str, str]] = {"source": "dataset"}

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
    """

    dataset: dict[str, Any]
    units: int
    frames: int
    epochs: int


@dataclass(frozen=True)
class Request:
    """What is asked for; see the module."""

    dataset: str
    unlabelled: str
    size: int
    seeds: int
    folder: Path

    def labels(self, share: float) -> Labels:
        """What a share comes to."""
        table = FewerLabels(self.dataset, share).frames
        used = (table.split == "train") & (table.label != UNLABELLED)
        epochs = int(np.clip(round(STEPS * BATCH / used.sum()), *EPOCHS))
        spec = {"type": "fewer-labels", "source": self.dataset, "share": share}
        return Labels(spec, len(np.unique(table.unit[used])), int(used.sum()), epochs)

    def pretrained(self) -> Path:
        """The encoder of ``fusionkit pretrain``."""
        words = ["pretrain", "pretrain/tiny", "--data", self.unlabelled, "--out", str(self.folder / "pretrained")]
        words += ["--set", f"encoder.size={self.size}", "--set", f"recipe.epochs={PRETRAIN_EPOCHS}"]
        print(f"fusionkit {' '.join(words)}", flush=True)
        subprocess.run([sys.executable, "-m", "fusionkit", *words], check=True)
        return self.folder / "pretrained/encoder.safetensors"

    def random(self, seed: int) -> Path:
        """The same encoder as it is before pre-training."""
        import torch

        from fusionkit.training.encoder import EncoderOptions, build_encoder, write_encoder

        named = read_config(find_config("pretrain/tiny"))["encoder"]
        options = EncoderOptions(**{**named, "size": self.size})
        torch.manual_seed(seed)
        file = self.folder / f"random-{seed}.safetensors"
        write_encoder(file, build_encoder(options), options, {})
        return file


def counts_of(labels: Labels, init: Path, seed: int, folder: Path) -> np.ndarray:
    """Fine-tune once: test confusion counts by unit (U, C, C)."""
    from fusionkit.report.run import Results
    from fusionkit.training.finetune import finetune
    from fusionkit.training.finetune_config import resolve_finetune

    raw = read_config(find_config("finetune/tiny"))
    recipe = {**raw["recipe"], "epochs": labels.epochs, "batch_size": BATCH, "lr": RATE}
    changed = {"dataset": labels.dataset, "limit": None, "init": str(init), "recipe": recipe, "seeds": [seed]}
    finetune(resolve_finetune({**raw, **changed}, "label_fraction"), folder)
    results = Results(folder)
    (row,) = results.grid["rows"]
    return results.load(row).counts[seed]


def measure(request: Request, sizes: dict[float, Labels]) -> dict[tuple[str, float], np.ndarray]:
    """Counts (S, U, C, C) by arm and share."""
    seeds = range(request.seeds)
    begin = {("pretrained", seed): encoder for encoder in [request.pretrained()] for seed in seeds}
    begin |= {("scratch", seed): request.random(seed) for seed in seeds}
    work = [(arm, share, seed) for seed in seeds for share in reversed(SHARES) for arm in ARMS]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        waiting = {
            (arm, share, seed): pool.submit(
                counts_of, sizes[share], begin[arm, seed], seed, request.folder / f"{arm}-{share}-{seed}"
            )
            for arm, share, seed in work
        }
        found = {}
        for number, (key, each) in enumerate(waiting.items(), 1):
            found[key] = each.result()
            print(f"fine-tuned {number}/{len(work)}: {key}", flush=True)
    return {(arm, share): np.stack([found[arm, share, seed] for seed in seeds]) for arm in ARMS for share in SHARES}


def score_text(estimate: Estimate, sign: str = "") -> str:
    """A score as in the tables of the bench: ``.373 [.319, .439]``."""
    value, low, high = (f"{x:{sign}.3f}".replace("0.", ".", 1) for x in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def p_text(p: float) -> str:
    """As in the tables of the bench."""
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def table(counts: dict[tuple[str, float], np.ndarray], sizes: dict[float, Labels]) -> list[str]:
    """The curve, as lines of Markdown."""
    pairs = {share: (counts["pretrained", share], counts["scratch", share]) for share in sizes}
    corrected = holm(np.array([paired_difference(*pair).p for pair in pairs.values()]))
    lines = [
        "| labels | units | frames | epochs | from scratch | pre-trained | difference | p Holm |",
        "|" + "---|" * 8,
    ]
    for (share, (ours, theirs)), p in zip(pairs.items(), corrected, strict=True):
        size = sizes[share]
        lines.append(
            f"| {share:.0%} | {size.units} | {size.frames} | {size.epochs} | {score_text(interval(theirs))} "
            f"| {score_text(interval(ours))} | {score_text(paired_difference(ours, theirs), '+')} | {p_text(p)} |"
        )
    return lines


def draw(scores: dict[str, list[Estimate]], shares: Sequence[float], file: Path) -> None:
    """The curve as a picture: macro-F1 with intervals by share, a line an arm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for place, (arm, found) in enumerate(scores.items()):
        values = np.array([estimate.value for estimate in found])
        ends = np.array([(estimate.low, estimate.high) for estimate in found]).T
        beside = np.array(shares) * (0.98 + 0.04 * place)  # so that intervals do not hide each other
        axes.errorbar(beside, values, abs(ends - values), marker="o", capsize=3, label=ARMS[arm])
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{share:.0%}" for share in shares], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("labels")
    axes.set_ylabel("macro-F1 on test, 95 %")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="labelled, with official splits")
    parser.add_argument("--unlabelled", help="pre-trained on: the train images of a data set, or a folder")
    parser.add_argument("--size", type=int, default=64, help="side of the images, a multiple of 8")
    parser.add_argument("--seeds", type=int, default=3, help="fine-tunings of each share and arm")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    request = Request(given.dataset, given.unlabelled or given.dataset, given.size, given.seeds, given.out)
    sizes = {share: request.labels(share) for share in SHARES}
    counts = measure(request, sizes)
    lines = table(counts, sizes)
    draw({arm: [interval(counts[arm, share]) for share in SHARES] for arm in ARMS}, SHARES, given.out / "curve.png")
    print("\n".join(["", *lines, "", f"{(time.monotonic() - started) / 60:.0f} minutes"]))


if __name__ == "__main__":
    main()
