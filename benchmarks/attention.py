"""What does the paper's attention over single channels cost? Interpolated, against torch's, and in the main command.

    python benchmarks/attention.py                  # about five minutes on two cores

Two auxiliary views, so that a row has twice as many queries as keys; one thread; contestants take turns.

- The first table has one step of the attention alone, forward and backward, for widths and standard deviations of
  queries and keys; the standard deviation of the scores is the square.
- The second trains the heads of ``fusionkit bench --regions eye,mouth --fusion concat`` on the same features, with the
  interpolated and with torch's attention. Its macro-F1 is that of test.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import Work, contestants, in_turn, machine, serve

BATCH = {256: 256, 1024: 64}  # frames by width
STDS = (0.1, 0.3, 1.0, 2.0)
WAYS = ("interpolated", "torch")


def step(way: str, width: int, std: float, batch: int) -> Work:
    """One forward and backward pass; returns the sum of all gradients."""
    import torch

    from fusionkit_emotic import scalar_attention as module

    attend = module.scalar_attention if way == "interpolated" else module.plain_attention
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    query, key, value, weight = (
        torch.randn(batch, columns, generator=generator) for columns in (2 * width, width, width, 2 * width)
    )
    given = [x.requires_grad_() for x in (std * query, std * key, value)]

    def work() -> float:
        gradients = torch.autograd.grad((attend(*given) * weight).sum(), given)
        return sum(x.abs().mean().item() for x in gradients)

    return work


def head(way: str, fusion: str, seed: int, out: str) -> Work:
    """Train a head of the main command, and store its test logits."""
    from fusionkit.engine.fit import fit
    from fusionkit.grid.tasks import single_thread
    from fusionkit_emotic import scalar_attention, token_attention

    single_thread()
    if way == "torch":
        token_attention.scalar_attention = scalar_attention.plain_attention
    rows, features, work = _main_command(fusion)

    def train() -> None:
        found = fit(features, rows, work.fold_data.task, work.fusion, work.recipe, seed, "cpu")
        np.save(Path(out) / f"{way}.npy", found.test_logits)

    return train


def _main_command(fusion: str) -> tuple[Any, Any, Any]:
    """Rows, features and plan of the heads of a fusion; embeddings are in the cache."""
    from fusionkit.api import prepare
    from fusionkit.engine.features import load_features

    overrides = {"regions": ["eye,mouth"], "fusions": [fusion], "smoothers": ["none"], "seeds": 1}
    prepared = prepare(overrides=overrides)
    work = next(head for head in prepared.plan.heads.values() if len(head.embeddings) == 3)
    keys = {name: embedding.key for name, embedding in work.embeddings.items()}
    rows = work.fold_data.rows
    features = load_features(prepared.store, keys, rows, standardize=work.recipe.standardize, memory=2**33)
    return rows, features, work


def macro_f1(fusion: str, logits: np.ndarray) -> float:
    """Macro-F1 of the test frames with a label and a view."""
    rows, _, work = _main_command(fusion)
    truth = work.fold_data.source.table.label[rows.test]
    kept = (truth >= 0) & np.isfinite(logits).all(1)
    return float(work.fold_data.task.dev_metric(truth[kept], logits[kept]))


def of_steps(_: argparse.Namespace) -> None:
    print("\n| width | std | ms a frame | torch / interpolated |\n|---|---|---|---|")
    with contestants(__file__, [f"step {way}" for way in WAYS]) as ways:
        for width, batch in BATCH.items():
            for std in STDS:
                job = {"width": width, "std": std, "batch": batch}
                costs = in_turn({way: partial(each.do, job) for way, each in zip(WAYS, ways, strict=True)}, 5)
                ours, theirs = (costs[way].cpu for way in WAYS)
                print(f"| {width} | {std} | {1e3 * ours / batch:.3f} | {theirs / ours:.1f} |", flush=True)


def of_heads(options: argparse.Namespace) -> None:
    import fusionkit

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FUSIONKIT_CACHE"] = f"{folder}/cache"
        fusionkit.bench(
            out=f"{folder}/run",
            executor="serial",
            regions=["eye,mouth"],
            fusions=["linear"],
            smoothers=["none"],
            seeds=1,
        )
        print("\n| fusion, seed | s a head | torch / interpolated | macro-F1 | torch's |\n|---|---|---|---|---|")
        with contestants(__file__, ["head interpolated", "head torch"]) as both:
            for fusion in options.fusions:
                for seed in range(options.seeds):
                    job = {"fusion": fusion, "seed": seed, "out": folder}
                    costs = in_turn({each.name: partial(each.do, job) for each in both}, 1)
                    ours, theirs = (costs[each.name].cpu for each in both)
                    f1 = [macro_f1(fusion, np.load(f"{folder}/{way}.npy")) for way in WAYS]
                    print(
                        f"| `{fusion}`, {seed} | {ours:.2f} | {theirs / ours:.2f} | {f1[0]:.4f} | {f1[1]:.4f} |",
                        flush=True,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--tables", nargs="+", default=["steps", "heads"])
    parser.add_argument("--fusions", nargs="+", default=["concat"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.serve:
        what, _, way = options.serve.partition(" ")
        serve(partial(step if what == "step" else head, way))
        return
    print(machine())
    for name in options.tables:
        {"steps": of_steps, "heads": of_heads}[name](options)


if __name__ == "__main__":
    main()
