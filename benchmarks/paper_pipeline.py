"""The paper's whole way at a toy size: from faces without labels to a file of predictions.

    python benchmarks/paper_pipeline.py --out toy

Drawn faces take the place of Aff-Wild2, a transformer of 0.8 million weights that of MAE-Face. Each step is one command
of fusionkit, printed before it runs, and takes what the steps before it have left in the folder.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FACES = "affwild2:root=faces"
TEMPLATE = "faces/test_set_examples/CVPR_6th_ABAW_Expr_test_set_example.txt"
KEYS = "concat,mean,updown-concat,updown-mean"  # at the default width of 256, a sixteenth of the paper's cost


@dataclass(frozen=True)
class Sizes:
    """How large the toy is.

    Attributes:
        clips: drawn in the layout of Aff-Wild2: train, val and test.
        frames: mean length of a clip.
        unlabelled: the data set for pre-training: people who are not in the clips.
        pretrain_epochs: of stage 1.
        finetune_epochs: of each fine-tuning.
        seeds: heads a fusion.
    """

    clips: int = 120
    frames: int = 24
    unlabelled: str = "synthetic:seed=1"
    pretrain_epochs: int = 10
    finetune_epochs: int = 10
    seeds: int = 3


def commands(sizes: Sizes) -> dict[str, list[str]]:
    """Every step with its command, in order; paths are relative to the folder in which they run."""
    views = {"face": "face", "eye-mouth": "eye+mouth"}
    tuned = {
        f"fine-tune {name}": [
            *("finetune", "finetune/tiny", "--dataset", FACES, "--view", view, "--out", name),
            *("--init", "pretrained/encoder.safetensors", "--set", f"recipe.epochs={sizes.finetune_epochs}"),
        ]
        for name, view in views.items()
    }
    backbone = {name: f"timm:checkpoint={name}/best/backbone.safetensors" for name in views}
    return {
        "draw": [
            *("data", "synth", "--layout", "affwild2", "--out", "faces"),
            *("--clips", str(sizes.clips), "--frames", str(sizes.frames)),
        ],
        "pre-train": [
            *("pretrain", "pretrain/tiny", "--data", sizes.unlabelled, "--out", "pretrained"),
            *("--set", f"recipe.epochs={sizes.pretrain_epochs}", "--set", "recipe.warmup_epochs=1"),
        ],
        **tuned,
        "fuse and smooth": [
            *("bench", "paper/keys", "--dataset", FACES, "--fusion", KEYS, "--smoother", "none,window:width=11"),
            *("--set", f"backbones.0.face={backbone['face']}", "--set", f"backbones.0.default={backbone['eye-mouth']}"),
            *("--seeds", str(sizes.seeds), "--out", "fused"),
        ],
        "submit": [
            *("submit", "fused", "--cell", "face,eye+mouth/concat/window", "--template", TEMPLATE),
            *("--out", "predictions.txt"),
        ],
        "check": ["submit", "--check", "predictions.txt", "--template", TEMPLATE],
    }


def run(step: str, words: list[str], folder: Path) -> float:
    """Run one step; the seconds that it took."""
    print(f"\n# {step}\nfusionkit {shlex.join(words)}", flush=True)
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "fusionkit", *words], cwd=folder, check=True)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a new folder, in which all of it is left")
    folder = parser.parse_args().out
    folder.mkdir(parents=True)
    took = {step: run(step, words, folder) for step, words in commands(Sizes()).items()}
    print("\n" + "".join(f"{step:20} {seconds:6.0f} s\n" for step, seconds in took.items()), end="")
    print(f"{'in all':20} {sum(took.values()):6.0f} s")


if __name__ == "__main__":
    main()
