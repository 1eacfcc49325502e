"""How fast are faces embedded? From image files to stored embeddings, against the loop people write and the limits.

    python benchmarks/embedding.py                                  # about eight minutes on two cores
    python benchmarks/embedding.py --models vit_tiny_patch16_224 --views 1

Four ways take turns, each in a process of its own with one thread:

- fusionkit: ``engine.embed``, as a worker of a grid calls it: read, locate, cut, resize, embed, store, with checksum;
- plain: the loop people write: a ``DataLoader`` over PIL and torchvision transforms, the model in float32, ``np.save``;
- bare: the model alone in fusionkit's precision and memory format, on tensors that are ready: the practical limit;
- peak: a product of square matrices in that precision, as a rate: the machine's limit.

Weights are random, which cost what trained ones cost. Frames a second of the processor's time; views are made of the
same frames. On the clock, fusionkit reads beside computing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from interleaved import Cost, Work, contestants, in_turn, machine, serve, timed

MODELS = {  # frames a round, in whole batches
    "test_vit": 512,
    "vit_tiny_patch16_224": 64,
    "resnet18": 64,
    "resnet50": 192,
    "vit_base_patch16_224": 64,
}
VIEWS = ("face", "eye", "mouth", "nose")
WAYS = ("fusionkit", "plain", "bare")
NOT_RUN = Cost(float("nan"), float("nan"))
SIZE = 2048  # of the matrices


# -- the ways ----------------------------------------------------------------------------------------------------------


def fusionkit(faces: str, model: str, views: int, frames: int) -> Work:
    """The engine's own function on the data set ``folder``, into a new store each time."""
    from fusionkit.config.views import View
    from fusionkit.engine.embed import embed, embedding_of
    from fusionkit.engine.source import open_source
    from fusionkit.grid.tasks import single_thread
    from fusionkit.registry.spec import Spec
    from fusionkit.storage.embeddings import EmbeddingStore

    single_thread()
    source = open_source(Spec.parse(f"folder:root={faces}"), None).take(np.arange(frames))
    extractor, backbone = Spec.parse("template:layout=arcface"), Spec.parse(f"timm:model={model}")
    wanted = [embedding_of(source, extractor, View.parse(view), backbone, 0, "cpu") for view in VIEWS[:views]]

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            embed(source, wanted, [0], EmbeddingStore(Path(folder)), "cpu", lambda _: None)

    return work


def plain(faces: str, model: str, views: int, frames: int) -> Work:
    """What a script does; each image is opened once for all views."""
    import timm
    import torch
    from PIL import Image
    from timm.data import resolve_model_data_config  # type: ignore[attr-defined]
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from fusionkit.registry import EXTRACTORS
    from fusionkit.registry.spec import Spec

    torch.set_num_threads(1)
    network = timm.create_model(model, num_classes=0).eval()
    config = resolve_model_data_config(network)
    prepare = transforms.Compose(
        [
            transforms.Resize(config["input_size"][1:], transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(config["mean"], config["std"]),
        ]
    )
    paths = sorted(Path(faces).rglob("*.jpg"))[:frames]
    extractor = EXTRACTORS.build(Spec.parse("template:layout=arcface"))
    box = dict(zip(extractor.regions, extractor([np.asarray(Image.open(paths[0]))]).boxes[0], strict=True))
    boxes = [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h, _ in (box[name] for name in VIEWS[1:views])]

    class Faces(Dataset[Any]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> list[torch.Tensor]:
            image = Image.open(paths[index]).convert("RGB")
            return [prepare(image), *(prepare(image.crop(tuple(map(round, edges)))) for edges in boxes)]

    def work() -> None:
        found: list[list[np.ndarray]] = [[] for _ in range(views)]
        with torch.no_grad():
            for batch in DataLoader(Faces(), batch_size=64):
                for values, x in zip(found, batch, strict=True):
                    values.append(network(x).numpy())
        with tempfile.TemporaryDirectory() as folder:
            for index, values in enumerate(found):
                np.save(Path(folder) / f"{index}.npy", np.concatenate(values))

    return work


def bare(faces: str, model: str, views: int, frames: int) -> Work:  # noqa: ARG001 - it is called as the others are
    """The model and nothing else, with memory held as fusionkit holds it."""
    import timm
    import torch

    from fusionkit.engine.malloc import tuned_malloc

    torch.set_num_threads(1)
    network: Any = timm.create_model(model, num_classes=0).eval().to(precision()).to(memory_format=torch.channels_last)
    size = network.pretrained_cfg["input_size"]
    batch = torch.randn(64, *size).to(precision(), memory_format=torch.channels_last)

    def work() -> None:
        with torch.inference_mode(), tuned_malloc():
            for _ in range(views * frames // 64):
                network(batch)

    return work


def precision() -> Any:
    """The precision that fusionkit takes here."""
    import torch

    from fusionkit.contracts.backbone import has_native_bfloat16

    return torch.bfloat16 if has_native_bfloat16("cpu") else torch.float32


def peak() -> float:
    """GFLOP a second of processor time, of one thread."""
    import torch

    torch.set_num_threads(1)
    left, right = (torch.randn(SIZE, SIZE).to(precision()) for _ in range(2))
    left @ right
    return max(2 * SIZE**3 / 1e9 / timed(lambda: left @ right).cpu for _ in range(5))


# -- the table ---------------------------------------------------------------------------------------------------------


@contextmanager
def drawn(frames: int) -> Iterator[str]:
    """A data set of drawn faces, 112 x 112 JPEG, in folders whose names mean nothing."""
    import cv2

    from fusionkit.registry import DATASETS

    people = max(-(-frames // 64), 2)
    dataset = DATASETS.build(f"synthetic:train={people},val=2,test=2,clips=4,clip_length=16")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("even", "odd"):
            (Path(folder) / name).mkdir()
        images = (image for image in dataset.images(np.arange(len(dataset.frames))) if image is not None)
        for index, image in zip(range(frames), images, strict=False):
            cv2.imwrite(f"{folder}/{'odd' if index % 2 else 'even'}/{index:05d}.jpg", image[..., ::-1])
        yield folder


def gflop(model: str) -> float:
    """Of one view."""
    from fusionkit.engine.embed import shared_backbone
    from fusionkit.registry.spec import Spec

    return shared_backbone(Spec.parse(f"timm:model={model}")).cost()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="any of timm")
    parser.add_argument("--views", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain", action=argparse.BooleanOptionalAction, default=True, help="with the plain loop")
    parser.add_argument("--seconds", type=float, default=25, help="no round of a line begins after so many")
    options = parser.parse_args()
    if options.serve:
        serve({"fusionkit": fusionkit, "plain": plain, "bare": bare}[options.serve])
        return
    most = max(MODELS.get(model, 64) for model in options.models)
    print(f"{machine()}, {precision()}; peak of one thread {(limit := peak()):.0f} GFLOP/s\n")
    print("| model | views | frames/s | by the clock | / plain | by the clock | / bare | of the peak |")
    print("|---|---|---|---|---|---|---|---|")
    names = [name for name in WAYS if options.plain or name != "plain"]
    with drawn(most) as faces, contestants(__file__, names) as ways:
        for model in options.models:
            for views in options.views:
                frames = MODELS.get(model, 64)
                job = {"faces": faces, "model": model, "views": views, "frames": frames}
                costs = in_turn({way.name: partial(way.do, job) for way in ways}, options.rounds, options.seconds)
                ours, theirs, least = (costs.get(name, NOT_RUN) for name in WAYS)
                print(
                    f"| {model} | {views} | {frames / ours.cpu:.1f} | {frames / ours.wall:.1f} | "
                    f"{theirs.cpu / ours.cpu:.2f} | {theirs.wall / ours.wall:.2f} | {least.cpu / ours.cpu:.2f} | "
                    f"{frames * views * gflop(model) / ours.cpu / limit:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
