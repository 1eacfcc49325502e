"""How busy does fusionkit keep a device? Embedding and pre-training, beside the same model and batch on ready tensors.

    python benchmarks/gpu.py                                   # a CUDA card
    python benchmarks/gpu.py --device cpu --small              # checks the program on a processor

Faces are noise in JPEG files of 256 px, weights are random. Both loops of a row take turns in this process, and the
fastest of their rounds counts. The bare loop of embedding uses batches of ``--batch``; fusionkit uses its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from fusionkit.config.config_file import find_config, read_config
from fusionkit.config.views import FACE
from fusionkit.contracts.backbone import has_native_bfloat16
from fusionkit.engine.embed import embed, embedding_of
from fusionkit.engine.source import open_source
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import EmbeddingStore, shard_count
from fusionkit.training.pretrain import _PretrainRun
from fusionkit.training.pretrain_config import resolve_pretrain

LARGE, SMALL = ("vit_base_patch16_224", "resnet50"), ("test_vit", "test_resnet")
SIDE = 256
CLASSES = ("happiness", "neutral")


def write_faces(folder: Path, number: int) -> None:
    """Write JPEG files of two classes."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for index in range(number):
        noise = rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
        face = cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / CLASSES[index % 2] / f"{index:05d}.jpg"), face)


def embedding(faces: Path, model: str, batch: int, device: str) -> tuple[Callable[[], int], Callable[[], int]]:
    """Return the loops of one model; each returns the number of images."""
    import timm

    source = open_source(Spec.parse(f"folder:root={faces}"), None)
    spec, extractor = Spec.parse(f"timm:model={model}"), Spec.parse("template:layout=arcface")
    wanted = [embedding_of(source, extractor, FACE, spec, 0, device)]
    precision = torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    network = timm.create_model(model, num_classes=0).eval()
    network = network.to(device, precision, memory_format=torch.channels_last)
    pixels = torch.randn(batch, *network.pretrained_cfg["input_size"], device=device, dtype=precision)
    pixels = pixels.to(memory_format=torch.channels_last)
    batches = -(-len(source.table) // batch)

    def bare() -> int:
        with torch.inference_mode():
            last = [network(pixels) for _ in range(batches)][-1]
        last.float().cpu()
        return batch * batches

    def ours() -> int:
        with tempfile.TemporaryDirectory() as folder:
            shards = range(shard_count(len(source.table)))
            embed(source, wanted, shards, EmbeddingStore(Path(folder)), device, lambda _: None)
        return len(source.table)

    return bare, ours


def pretraining(
    faces: Path, config: str, batch: int, steps: int, device: str, folder: Path
) -> tuple[Callable[[], int], Callable[[], int], Callable[[], None]]:
    """Return the loops of pre-training, and what ends its workers."""
    raw = read_config(find_config(config))
    raw["recipe"] |= {"batch_size": batch, "epochs": 10_000}
    wanted = resolve_pretrain({**raw, "data": [str(faces)], "run": {"cache_mb": 0}}, config)
    run = _PretrainRun(wanted, folder, device)
    made: Generator[Any] = run.batches.steps(0, 10_000)
    numbers = count()
    (one,) = next(run.batches.steps(0, 1))
    ready = [replace(one, tensors=tuple(tensor.to(run.accelerator.device, copy=True) for tensor in one.tensors))]

    def bare() -> int:
        for _ in range(steps):
            run.stepper.take(next(numbers), ready)
        return batch * steps

    def ours() -> int:
        for _ in range(steps):
            run.stepper.take(next(numbers), next(made))
        return batch * steps

    return bare, ours, made.close


def row(name: str, loops: tuple[Callable[[], int], Callable[[], int]], rounds: int) -> None:
    """Print a row of the table. The first round warms up and does not count."""
    best = [0.0, 0.0]
    for number in range(rounds + 1):
        for index, loop in enumerate(loops):
            started = time.monotonic()
            rate = loop() / (time.monotonic() - started)
            best[index] = max(best[index], rate if number else 0.0)
    print(f"| {name} | {best[0]:,.0f} | {best[1]:,.0f} | {best[1] / best[0]:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="small models and few images")
    given = parser.parse_args()
    images, batch = (128, 32) if given.small else (given.images, given.batch)
    models, config = (SMALL, "pretrain/tiny") if given.small else (LARGE, "pretrain/mae_face_vitb")
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else "a processor"
    print(f"{name}, torch {torch.__version__}; images a second\n")
    print("| work | bare loop | fusionkit | share |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        faces = Path(folder) / "faces"
        write_faces(faces, images)
        # First: its workers are forked before this process computes.
        bare, ours, close = pretraining(faces, config, batch, max(images // batch // 2, 1), given.device, Path(folder))
        row(f"pre-training, {config}, batch {batch}", (bare, ours), given.rounds)
        close()
        for model in models:
            row(f"embedding, {model}", embedding(faces, model, batch, given.device), given.rounds)


if __name__ == "__main__":
    main()
