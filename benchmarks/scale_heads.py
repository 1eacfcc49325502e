"""What do the heads of a grid of the size of Aff-Wild2 take? Three views of 768 values, five fusions, five seeds.

    python benchmarks/scale_heads.py                     # small heads of each fusion, and one head at the real size
    python benchmarks/scale_heads.py --full 0            # small heads only

Embeddings are noise with a faint class mean, stored as a grid stores them and streamed from there. One epoch of each
fusion is timed on two numbers of training frames: a line through both gives the cost of a frame and that of a head,
and from them the cost at the real size. ``linear`` on all three views is then trained at the real size and compared
with its line; memory is watched there. Processor seconds of one thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from expression import expression
from scale import GIB, Watch, size

from fusionkit.config.recipe import Recipe
from fusionkit.engine.features import FoldRows, load_features
from fusionkit.engine.fit import fit
from fusionkit.grid.tasks import single_thread
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import SHARD, EmbeddingStore, shard_count

VIEWS = ("face", "eye", "mouth")
FUSIONS = ("linear", "plain-concat", "mlp", "gated", "concat")
WIDTH, CLASSES = 768, 8
TRAIN, DEV, TEST = 1.0, 0.1, 0.48  # parts of a fold, in training frames: dev is carved from train, val is the test set
MEMORY, LITTLE = GIB, 2**25  # bytes of features that a worker holds: at the real size, and to stream small heads too


def stored(store: EmbeddingStore, rows: int) -> np.ndarray:
    """Write embeddings of all views; return the labels (rows,)."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, rows)
    noise = rng.standard_normal((SHARD, WIDTH), np.float32).astype(np.float16)
    for view in VIEWS:
        means = (0.05 * rng.standard_normal((CLASSES, WIDTH))).astype(np.float16)
        for shard in range(shard_count(rows)):
            own = label[shard * SHARD : (shard + 1) * SHARD]
            store.write(view, shard, np.roll(noise, shard, 1)[: len(own)] + means[own], ())
    return label


def fold(label: np.ndarray, train: int) -> FoldRows:
    """Return a fold of so many training frames, drawn over all rows as clips are."""
    counts = [round(part * train) for part in (TRAIN, DEV, TEST)]
    order = np.random.default_rng(1).permutation(len(label))[: sum(counts)]
    rows = [np.sort(part) for part in np.split(order, np.cumsum(counts)[:-1])]
    numbers = np.arange(len(label))
    return FoldRows(
        train=rows[0],
        train_label=label[rows[0]],
        train_unit=np.full(len(rows[0]), ""),
        dev=rows[1],
        dev_label=label[rows[1]],
        test=rows[2],
        clip=numbers,
        number=np.zeros_like(numbers),
    )


def trained(store: EmbeddingStore, label: np.ndarray, train: int, fusion: str, epochs: int, memory: int) -> float:
    """Train a head with streamed features, and return its processor seconds; reading is included."""
    rows, recipe = fold(label, train), replace(Recipe(), epochs=epochs, patience=0)
    began = time.process_time()
    features = load_features(store, {view: view for view in VIEWS}, rows, standardize=True, memory=memory)
    fit(features, rows, expression(CLASSES), Spec(fusion), recipe, 0, "cpu")
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16_384, help="training frames of the larger of the small heads")
    parser.add_argument("--full", type=int, default=585_000, help="training frames of the real size; 0: not measured")
    parser.add_argument("--epochs", type=int, default=30, help="of a head at the real size, for the extrapolation")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    single_thread()
    real = given.full or 585_000
    print("| fusion | ms a frame and epoch | s a head | hours, all seeds |\n|---|---|---|---|")
    total, lines = 0.0, {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FUSIONKIT_CACHE"] = folder
        store = EmbeddingStore(Path(folder))
        label = stored(store, round(given.frames * (TRAIN + DEV + TEST)) + 1)
        trained(store, label, given.frames // 4, FUSIONS[0], 1, LITTLE)  # loads libraries
        for fusion in FUSIONS:
            counts = given.frames // 2, given.frames
            half, whole = (trained(store, label, frames, fusion, 1, LITTLE) for frames in counts)
            each = (whole - half) / (given.frames - given.frames // 2)
            lines[fusion] = max(whole - each * given.frames, 0.0), each
            hours = given.seeds * (lines[fusion][0] + each * real * given.epochs) / 3600
            total += hours
            print(f"| {fusion} | {1e3 * each:.3f} | {lines[fusion][0]:.1f} | {hours:.1f} |", flush=True)
    print(f"\n{len(FUSIONS)} fusions, {given.seeds} seeds, {given.epochs} epochs: {total:.1f} core hours")
    if not given.full:
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FUSIONKIT_CACHE"] = folder
        store, watch = EmbeddingStore(Path(folder)), Watch()
        label = stored(store, round(real * (TRAIN + DEV + TEST)) + 1)
        with watch.stage("fit"):
            seconds = trained(store, label, real, "linear", 1, MEMORY)
        start, each = lines["linear"]
        print(
            f"linear, {real:,} training frames, 1 epoch: {seconds:.0f} s, by the line {start + each * real:.0f} s; "
            f"{watch.peaks['fit']['driver'] / GIB:.2f} GiB of memory; embeddings {size(Path(folder)) / GIB:.2f} GiB"
        )


if __name__ == "__main__":
    main()
