"""Does masked pre-training pay where labels are scarce? A transformer with and without it, by the share of labels.

    python benchmarks/label_fraction.py --out labels

An encoder of 0.8 million weights is pre-trained on drawn faces without labels. Then it is fine-tuned on the labels of a
share of the training people, people who were not pre-trained on, and so is the same network from random weights, with
the same recipe, epochs and seeds. Every share trains about as many steps as far as EPOCHS allows, so that few labels do
not mean few steps. The epoch is chosen on dev, whose labels are all there at each share, for both alike.

Scores are of the test people. Intervals are delete-one-unit jackknife-t with the spread over seeds in them, p is of the
unit-swap permutation test, Holm-corrected over the shares. One pre-training stands behind all seeds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.config_file import find_config, read_config
from fusionkit.contracts import UNLABELLED, FaceDataset, FrameTable
from fusionkit.registry import DATASETS
from fusionkit.stats import Estimate, holm, interval, paired_difference, permutation_p

PEOPLE = "synthetic:train=60,val=10,test=30,clips=3,clip_length=10"
OTHERS = "synthetic:seed=1"  # who are pre-trained on
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
SEEDS = (0, 1, 2)
ARMS = ("scratch", "pretrained")
STEPS, BATCH, EPOCHS = 120, 64, (4, 40)  # of one fine-tuning; the least and most epochs
PRETRAIN_EPOCHS = 30


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
    shown = {unit: set(table.label[table.unit == unit].tolist()) for unit in drawn}
    first: list[str] = []
    lacking = set(table.label.tolist())
    while lacking:
        first.append(max(drawn, key=lambda unit: len(shown[unit] & lacking)))
        lacking -= shown[first[-1]]
    return first + [unit for unit in drawn if unit not in first]


@dataclass(frozen=True)
class Labels:
    """What a share comes to: labelled training units and frames, and epochs of a fine-tuning."""

    share: float
    units: int
    frames: int
    epochs: int

    @property
    def dataset(self) -> dict[str, Any]:
        """The data set with these labels."""
        return {"type": "fewer-labels", "source": PEOPLE, "share": self.share}


def labels_of(share: float) -> Labels:
    table = FewerLabels(PEOPLE, share).frames
    used = (table.split == "train") & (table.label != UNLABELLED)
    epochs = int(np.clip(round(STEPS * BATCH / used.sum()), *EPOCHS))
    return Labels(share, len(np.unique(table.unit[used])), int(used.sum()), epochs)


def pretrain(folder: Path) -> Path:
    """The encoder of ``fusionkit pretrain`` on people without labels."""
    words = ["pretrain", "pretrain/tiny", "--data", OTHERS, "--set", f"recipe.epochs={PRETRAIN_EPOCHS}"]
    print(f"fusionkit {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "fusionkit", *words, "--out", str(folder)], check=True)
    return folder / "encoder.safetensors"


def random_encoder(file: Path, seed: int) -> Path:
    """The same network as it is before pre-training."""
    import torch

    from fusionkit.training.encoder import EncoderOptions, build_encoder, write_encoder

    options = EncoderOptions(**read_config(find_config("pretrain/tiny"))["encoder"])
    torch.manual_seed(seed)
    write_encoder(file, build_encoder(options), options, {})
    return file


def counts_of(labels: Labels, init: Path, seed: int, folder: Path) -> np.ndarray:
    """Fine-tune once: test confusion counts by unit (U, C, C)."""
    from fusionkit.report.results import Results
    from fusionkit.training.finetune import finetune
    from fusionkit.training.finetune_config import resolve_finetune

    raw = read_config(find_config("finetune/tiny"))
    recipe = {**raw["recipe"], "epochs": labels.epochs, "batch_size": BATCH}
    changed = {"dataset": labels.dataset, "limit": None, "init": str(init), "recipe": recipe, "seeds": [seed]}
    finetune(resolve_finetune({**raw, **changed}, "label_fraction"), folder)
    results = Results(folder)
    (family,) = results.grid["families"]
    return results.load(family).counts[seed]


def measure(folder: Path) -> dict[tuple[str, float], np.ndarray]:
    """Counts (S, U, C, C) by arm and share."""
    encoder = pretrain(folder / "pretrained")
    random = {seed: random_encoder(folder / f"random-{seed}.safetensors", seed) for seed in SEEDS}
    work = [(arm, share, seed) for share in reversed(SHARES) for arm in ARMS for seed in SEEDS]
    labels = {share: labels_of(share) for share in SHARES}
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        waiting = {
            (arm, share, seed): pool.submit(
                counts_of,
                labels[share],
                encoder if arm == "pretrained" else random[seed],
                seed,
                folder / f"{arm}-{share}-{seed}",
            )
            for arm, share, seed in work
        }
        found = {}
        for number, (key, each) in enumerate(waiting.items(), 1):
            found[key] = each.result()
            print(f"fine-tuned {number}/{len(work)}: {key}", flush=True)
    return {(arm, share): np.stack([found[arm, share, seed] for seed in SEEDS]) for arm in ARMS for share in SHARES}


def text(estimate: Estimate, sign: str = "") -> str:
    """A score as in the tables of the bench: ``.373 [.319, .439]``."""
    value, low, high = (
        f"{each:{sign}.3f}".replace("0.", ".") for each in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def table(counts: dict[tuple[str, float], np.ndarray]) -> list[str]:
    """The curve, as lines of Markdown."""
    pairs = {share: (counts["pretrained", share], counts["scratch", share]) for share in SHARES}
    corrected = holm(np.array([permutation_p(*pair) for pair in pairs.values()]))
    lines = [
        "| labels | people | frames | epochs | from scratch | pre-trained | difference | p Holm |",
        "|" + "---|" * 8,
    ]
    for (share, (ours, theirs)), p in zip(pairs.items(), corrected, strict=True):
        size = labels_of(share)
        lines.append(
            f"| {share:.0%} | {size.units} | {size.frames} | {size.epochs} | {text(interval(theirs))} "
            f"| {text(interval(ours))} | {text(paired_difference(ours, theirs), '+')} | {p:.3f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder; the same one again goes on")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print("\n".join(["", *table(measure(folder)), "", f"{(time.monotonic() - started) / 60:.0f} minutes"]))


if __name__ == "__main__":
    main()
