"""Tiny faces in files and tiny training runs, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fusionkit.training.finetune_config import FinetuneConfig, resolve_finetune
from fusionkit.training.pretrain_config import PretrainConfig, resolve_pretrain
from fusionkit.training.progress import TrainingProgress

TINY: dict[str, Any] = {
    "encoder": {"model": "vit_tiny_patch16_224", "size": 16, "patch": 4, "width": 16, "depth": 1, "heads": 2},
    "decoder": {"width": 8, "depth": 1, "heads": 2},
    "recipe": {"epochs": 3, "warmup_epochs": 1, "batch_size": 8, "base_lr": 0.1},
    "run": {"save_every": 3, "faces": 2, "pictures": 1},
}


class InterruptAt(TrainingProgress):
    """Interrupt training after step ``last``."""

    def __init__(self, last: int) -> None:
        self.last = last

    def stepped(self, step: int, epoch: int, loss: float) -> None:
        if step == self.last:
            raise KeyboardInterrupt


def picture(number: int, side: int = 24) -> np.ndarray:
    """Return an RGB image: a ramp in one channel, and a bright disc; each number gives another."""
    rng = np.random.default_rng(number)
    image = np.full((side, side, 3), rng.integers(30, 90, 3), np.uint8)
    image[..., number % 3] = np.linspace(40, 200, side).astype(np.uint8)[:, None]
    middle = tuple(int(value) for value in rng.integers(side // 4, 3 * side // 4, 2))
    cv2.circle(image, middle, side // 5, tuple(int(value) for value in rng.integers(120, 255, 3)), -1)
    return image


def write_pictures(folder: Path, count: int, side: int = 24) -> Path:
    """Write a folder of PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture(number, side)[..., ::-1])
    return folder


def tiny_run(data: Path | str, **changes: dict[str, Any]) -> PretrainConfig:
    """Return a pre-training that takes a second; sections are merged into those of :data:`TINY`."""
    sections = {key: {**TINY.get(key, {}), **changes.pop(key, {})} for key in TINY}
    return resolve_pretrain({"data": [str(data)], **sections, **changes}, "tiny")


def patches_by_hand(images: np.ndarray, patch: int) -> np.ndarray:
    """Cut patches in plain loops: row by row, pixels row by row, channels together."""
    found = []
    for image in images:
        rows = []
        for top in range(0, image.shape[1], patch):
            for left in range(0, image.shape[2], patch):
                values = []
                for y in range(top, top + patch):
                    for x in range(left, left + patch):
                        values += [image[channel, y, x] for channel in range(3)]
                rows.append(values)
        found.append(rows)
    return np.array(found)


def tiny_encoder(folder: Path, depth: int = 2, size: int = 16, seed: int = 0) -> Path:
    """Write random weights in the format of pre-training: width 16, patches of 4 px."""
    import torch

    from fusionkit.training.encoder import EncoderOptions, build_encoder, write_encoder

    options = EncoderOptions(model="vit_tiny_patch16_224", size=size, patch=4, width=16, depth=depth, heads=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        path = folder / f"encoder-{depth}-{seed}.safetensors"
        write_encoder(path, build_encoder(options), options, {})
    return path


def tiny_tuning(encoder: Path, **changes: Any) -> FinetuneConfig:
    """Return a fine-tuning on toys that takes a second; ``recipe`` and ``run`` are merged into the defaults here."""
    recipe = {"epochs": 3, "batch_size": 16, "lr": 3e-3, "warmup_epochs": 1, "drop_path": 0.0, "layer_decay": 1.0}
    raw = {
        "dataset": "toy-blobs:clips=12",
        "extractor": "toy-halves",
        "backbone": {"type": "timm", "checkpoint": str(encoder)},
        **changes,
        "recipe": {**recipe, **changes.get("recipe", {})},
        "run": {"save_every": 3, "curves": 0, **changes.get("run", {})},
    }
    return resolve_finetune(raw, "tiny")
