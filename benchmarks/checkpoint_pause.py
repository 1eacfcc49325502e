"""How long does a checkpoint stop the training? The state of ViT-B/16 with AdamW, on the CPU.

    python benchmarks/checkpoint_pause.py

Saves random tensors of the size of weights and both moments of ViT-B/16 with its decoder, and prints the seconds until
training goes on, and until the checkpoint is on the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from fusionkit.training.checkpoints import Checkpoints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=112, help="weights")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    state = {f"{kind}.{number}": torch.randn(1000, 1000) for kind in "wmv" for number in range(given.millions)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        for step in range(given.repeats):
            started = time.monotonic()
            checkpoints.save(step, state, {})
            paused = time.monotonic() - started
            checkpoints.finish()
            rows.append((paused, time.monotonic() - started))
    paused, whole = min(rows)
    print(f"{given.millions * 12 / 1000:.2f} GB: training stopped for {paused:.2f} s; written after {whole:.2f} s")


if __name__ == "__main__":
    main()
