"""How busy does fusionkit keep a device? Pre-training, embedding and heads, beside the same work in a bare loop.

    python benchmarks/gpu.py                                   # a CUDA card, under five minutes
    python benchmarks/gpu.py --device cpu --small              # checks the program on a processor

Faces are noise in JPEG files of 256 px, weights are random. Bare loops compute on ready tensors, in one process and
batches of ``--batch``. Both loops of a row take turns in this process, and the fastest of their rounds counts.
Embedding is measured twice: in one process, and by the pool of processes that ``fusionkit bench`` starts, from the time
when each process has stored a shard to the time when the first one has no more to do. Before, values of a batch that is
launched and awaited are compared with those that are computed at once.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from expression import expression

from fusionkit.config.config_file import find_config, read_config
from fusionkit.config.recipe import Recipe
from fusionkit.config.views import FACE
from fusionkit.contracts.backbone import Backbone, has_native_bfloat16
from fusionkit.engine.embed import embed, embedding_of, shared_backbone
from fusionkit.engine.features import FeaturesInMemory, FoldFeatures, FoldRows
from fusionkit.engine.source import open_source
from fusionkit.engine.stacked import fit_stacked
from fusionkit.grid.executors import Processes, free_gpu_memory, visible_gpus, workers_on
from fusionkit.grid.tasks import Code, EmbedTask
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import SHARD, EmbeddingStore, shard_count
from fusionkit.training.pretrain import _PretrainRun
from fusionkit.training.pretrain_config import resolve_pretrain

LARGE, SMALL = ("vit_base_patch16_224", "resnet50"), ("test_vit", "test_resnet")
SIDE = 256
CLASSES = ("happiness", "neutral")
EXTRACTOR = Spec.parse("template:layout=arcface")
HEADS = 8


def write_faces(folder: Path, number: int, distinct: int) -> None:
    """Write JPEG files of two classes; those after the first ``distinct`` are hard links to them."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for index in range(number):
        path = folder / CLASSES[index % distinct % 2] / f"{index:05d}.jpg"
        if index >= distinct:
            os.link(path.with_name(f"{index % distinct:05d}.jpg"), path)
            continue
        noise = rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
        face = cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), face)


def embedding(
    faces: Path, images: int, model: str, batch: int, device: str
) -> tuple[Callable[[], int], Callable[[], int]]:
    """Return the loops of one model in this process; each returns the number of images."""
    import timm

    source = open_source(Spec.parse(f"folder:root={faces}"), None)
    source = source.take(np.arange(min(images, len(source.table))))
    backbone = Spec.parse(f"timm:model={model}")
    wanted = [embedding_of(source, EXTRACTOR, FACE, backbone, 0, device)]
    check_launch(shared_backbone(backbone), device)
    precision = torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    network: Any = timm.create_model(model, num_classes=0).eval()
    network = network.to(device, precision).to(memory_format=torch.channels_last)
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


def check_launch(backbone: Backbone, device: str) -> None:
    """Exit if values of a batch that is launched differ from those that are computed at once."""
    backbone.prepare(device, backbone.precision(device))
    views = [
        np.random.default_rng(seed).integers(0, 256, (64, *backbone.input_size, 3), dtype=np.uint8) for seed in range(3)
    ]
    waiting = [backbone.launched(batch) for batch in views]
    for batch, wait in zip(views, waiting, strict=True):
        if not np.array_equal(wait(), backbone(batch)):
            raise SystemExit("a batch that was launched has other values than one that is computed at once")


def pooled(faces: Path, model: str, device: str, cache: Path) -> tuple[int, float]:
    """Return the number of processes that embed, and the images a second of all of them."""
    source = open_source(Spec.parse(f"folder:root={faces}"), None)
    wanted = (embedding_of(source, EXTRACTOR, FACE, Spec.parse(f"timm:model={model}"), 0, device),)
    gpus, frames = visible_gpus(device), len(source.table)
    workers = workers_on(gpus, 0, os.cpu_count() or 1, free=free_gpu_memory(gpus), embedding=True)
    tasks = [
        EmbedTask(
            name=f"shard {shard}",
            dataset=source.spec,
            limit=None,
            fingerprint=source.fingerprint,
            wanted=wanted,
            shard=shard,
            frames=min(frames - shard * SHARD, SHARD),
            cache=cache,
            device=device,
        )
        for shard in range(shard_count(frames))
    ]
    ended: list[float] = []
    for task, failure in Processes(workers, None, Code((), ()), None, gpus).run(tasks, lambda _: None):
        if failure:
            raise RuntimeError(f"{task.name}: {failure.message}")
        ended.append(time.monotonic())
    counted = ended[workers - 1 : len(ended) - workers + 1]
    if len(counted) < 2:
        raise SystemExit(f"{workers} processes need at least {2 * workers * SHARD} --images")
    return workers, (len(counted) - 1) * SHARD / (counted[-1] - counted[0])


def heads(rows: int, width: int, epochs: int, device: str) -> tuple[Callable[[], int], Callable[[], int]]:
    """Return the loops that train an ``mlp`` on two views; each returns rows times epochs times heads.

    The bare loop trains one head on tensors that are on the device: batches by index, fused AdamW, nothing else.
    """
    rng = np.random.default_rng(0)
    names = ("face", "eye")
    parts = {"train": rows, "dev": rows // 8, "test": 64}
    label = {part: rng.integers(0, 8, count) for part, count in parts.items()}
    held = {
        part: FeaturesInMemory(
            {name: rng.standard_normal((count, width), np.float32) for name in names},
            {name: np.ones(count, bool) for name in names},
        )
        for part, count in parts.items()
    }
    widths = dict.fromkeys(names, width)
    zero, one = ({name: np.full(width, value, np.float32) for name in names} for value in (0, 1))
    features = FoldFeatures(held["train"], held["dev"], held["test"], zero, one)
    numbers = np.arange(sum(parts.values()))
    fold = FoldRows(
        train=numbers[:rows],
        train_label=label["train"],
        train_unit=np.full(rows, ""),
        dev=numbers[rows:-64],
        dev_label=label["dev"],
        test=numbers[-64:],
        clip=numbers,
        number=np.zeros_like(numbers),
    )
    spec, recipe = Spec("mlp"), replace(Recipe(), epochs=epochs, patience=0, batch_size=256)
    views = {name: torch.from_numpy(value).to(device) for name, value in held["train"].views.items()}
    present = {name: torch.ones(rows, dtype=torch.bool, device=device) for name in names}
    target = torch.from_numpy(label["train"]).to(device)

    def bare() -> int:
        fusion = FUSIONS.build(spec, in_dims=widths, num_classes=8)
        fusion.attach_head()
        fusion.to(device)
        optimizer = torch.optim.AdamW(fusion.parameters(), lr=recipe.lr, fused=True)
        for _ in range(epochs):
            for chosen in torch.randperm(rows, device=device).split(recipe.batch_size):
                there = {name: value[chosen] for name, value in present.items()}
                logits = fusion({name: value[chosen] for name, value in views.items()}, there).logits
                loss = torch.nn.functional.cross_entropy(logits, target[chosen])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
        loss.item()
        return rows * epochs

    def ours() -> int:
        fit_stacked(features, fold, expression(8), spec, recipe, range(HEADS), device)
        return HEADS * rows * epochs

    return bare, ours


def pretraining(
    faces: Path, config: str, batch: int, steps: int, device: str, folder: Path
) -> tuple[Callable[[], int], Callable[[], int], Callable[[], None]]:
    """Return the loops of pre-training, and what ends its workers."""
    raw = read_config(find_config(config))
    raw["recipe"] |= {"batch_size": batch, "epochs": 10_000}
    wanted = resolve_pretrain({**raw, "data": [str(faces)], "run": {"cache_mb": 0}}, config)
    run = _PretrainRun(wanted, folder, device)
    made: Any = run.batches.steps(0, 10_000)  # a generator
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


def row(name: str, loops: tuple[Callable[[], int], Callable[[], int]], rounds: int) -> float:
    """Print a row of the table, and return the rate of the bare loop. The first round warms up and does not count."""
    best = [0.0, 0.0]
    for number in range(rounds + 1):
        for index, loop in enumerate(loops):
            started = time.monotonic()
            rate = loop() / (time.monotonic() - started)
            best[index] = max(best[index], rate if number else 0.0)
    print(f"| {name} | {best[0]:,.0f} | {best[1]:,.0f} | {best[1] / best[0]:.2f} |", flush=True)
    return best[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--images", type=int, default=65_536, help="of the rows with several processes")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="small models and few images")
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    images, few, batch = (2 * SHARD * cores, 128, 32) if given.small else (given.images, 8192, given.batch)
    models, config = (SMALL, "pretrain/tiny") if given.small else (LARGE, "pretrain/mae_face_vitb")
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else "a processor"
    print(f"{name}, {cores} cores, torch {torch.__version__}; images or rows a second\n")
    print("| work | bare loop | fusionkit | share |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FUSIONKIT_CACHE"] = str(Path(folder) / "cache")
        faces = Path(folder) / "faces"
        write_faces(faces, images, min(few, 2048))
        # First: its workers are forked before this process computes.
        bare, ours, close = pretraining(faces, config, batch, max(few // batch // 2, 1), given.device, Path(folder))
        row(f"pre-training, {config}, batch {batch}", (bare, ours), given.rounds)
        close()
        for model in models:
            alone = row(f"embedding, {model}", embedding(faces, few, model, batch, given.device), given.rounds)
            if model == models[0] or not given.small:
                workers, rate = pooled(faces, model, given.device, Path(folder) / model)
                name = f"embedding, {model}, {workers} processes"
                print(f"| {name} | {alone:,.0f} | {rate:,.0f} | {rate / alone:.2f} |", flush=True)
        rows, epochs = (2_000, 1) if given.small else (133_000, 5)
        row(f"{HEADS} `mlp` heads together; bare: one", heads(rows, 768, epochs, given.device), min(given.rounds, 1))


if __name__ == "__main__":
    main()
