"""How long does a head take to train? Against a tight loop in memory, and against what people would use instead.

    python benchmarks/heads.py                                                  # about six minutes on two cores
    python benchmarks/heads.py --peer pykale=/envs/pykale/bin/python --peer fusilli=/envs/fusilli/bin/python

Three views of 900 numbers (as HOG makes them of ``--faces DIR``, one folder a class; else drawn at random, since time
does not depend on values), 6,000 frames to train on, 600 to choose an epoch on, 3,520 to predict; batches of 256, one
thread. All contestants take turns.

- The first table trains one hidden layer of 256 on the views side by side, as each library has it: ``fusionkit`` is
  ``engine.fit``; ``tight loop`` is what it is held against: plain PyTorch that slices tensors by index, with fused
  AdamW, predicts dev after each epoch and test at the end; ``DataLoader`` is the same with one. Peers run in
  environments of their own, named by ``--peer``, which ``benchmarks/README.md`` says how to make; others are left out.
- The second has a line for each fusion: ``engine.fit`` against a loop as tight around the same module.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from expression import expression
from heads_peers import CLASSES, PEERS, VIEWS, Data
from interleaved import Work, contestants, in_turn, machine, serve, started

OWN = ("fusionkit", "tight loop", "DataLoader", "LogisticRegression", "MLPClassifier")
TRAIN, DEV, TEST = 6000, 600, 3520


# -- contestants -------------------------------------------------------------------------------------------------------


def fusionkit(data: str, epochs: int, fusion: str, frames: int = TRAIN) -> Work:
    """The engine's function, on features that are in memory."""
    from fusionkit.config.recipe import Recipe
    from fusionkit.engine.features import FeaturesInMemory, FoldFeatures, FoldRows, aligned
    from fusionkit.engine.fit import fit
    from fusionkit.grid.tasks import single_thread
    from fusionkit.registry.spec import Spec

    single_thread()
    given = Data.read(data, frames)

    def part(x: np.ndarray) -> FeaturesInMemory:
        views = {}
        for index, name in enumerate(VIEWS):
            views[name] = aligned(x[:, index].shape)
            views[name][:] = x[:, index]
        return FeaturesInMemory(views, {name: np.ones(len(x), bool) for name in VIEWS})

    ones = {name: np.ones(given.train.shape[-1], np.float32) for name in VIEWS}
    features = FoldFeatures(
        part(given.train), part(given.dev), part(given.test), {n: 0 * v for n, v in ones.items()}, ones
    )
    places = [np.arange(len(x)) for x in (given.train, given.dev, given.test)]
    number = np.arange(max(map(len, places)))
    rows = FoldRows(
        places[0], given.train_label, places[0].astype(str), places[1], given.dev_label, places[2], number, number
    )
    recipe = Recipe(epochs=epochs, patience=0)
    return lambda: fit(features, rows, expression(CLASSES), Spec.parse(fusion), recipe, 0, "cpu")


def tight_loop(data: str, epochs: int, fusion: str = "", frames: int = TRAIN) -> Work:
    """Plain PyTorch; with ``fusion``, around that one's module, whose checks are passed by."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    given = Data.read(data, frames)
    y = torch.from_numpy(given.train_label)
    weight = (len(y) / (CLASSES * y.bincount(minlength=CLASSES).clamp(min=1))).float()
    ready = _of_fusion(fusion, given) if fusion else _of_one_matrix(given)

    def work() -> None:
        torch.manual_seed(0)
        network, logits = ready()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
        for _ in range(epochs):
            network.train()
            for rows in torch.randperm(len(y)).split(256):
                loss = functional.cross_entropy(logits("train", rows), y[rows], weight=weight)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            network.eval()
            with torch.inference_mode():
                logits("dev", slice(None)).argmax(1).numpy()
        with torch.inference_mode():
            for start in range(0, len(given.test), 4096):
                logits("test", slice(start, start + 4096)).numpy()

    return work


def _of_one_matrix(given: Data) -> Callable[[], tuple[Any, Callable[[str, Any], Any]]]:
    """Makes a network and its logits of some rows of a part; the views lie side by side already."""
    import torch
    from torch import nn

    parts = {name: torch.from_numpy(x.reshape(len(x), -1)) for name, x in given.parts.items()}

    def ready() -> tuple[Any, Callable[[str, Any], Any]]:
        network = nn.Sequential(nn.Linear(given.train[0].size, 256), nn.ReLU(), nn.Linear(256, CLASSES))
        return network, lambda part, rows: network(parts[part][rows])

    return ready


def _of_fusion(fusion: str, given: Data) -> Callable[[], tuple[Any, Callable[[str, Any], Any]]]:
    """As above, for a fusion: by what it defines itself."""
    import torch

    from fusionkit.contracts import FusionOutput
    from fusionkit.registry import FUSIONS
    from fusionkit.registry.spec import Spec

    parts = {
        part: {name: torch.from_numpy(np.ascontiguousarray(x[:, index])) for index, name in enumerate(VIEWS)}
        for part, x in given.parts.items()
    }
    in_dims = dict.fromkeys(VIEWS, given.train.shape[-1])

    def ready() -> tuple[Any, Callable[[str, Any], Any]]:
        built = FUSIONS.build(Spec.parse(fusion), in_dims=in_dims, num_classes=CLASSES)
        built.attach_head()

        def logits(part: str, rows: Any) -> Any:
            views = {name: values[rows] for name, values in parts[part].items()}
            there = torch.ones(len(views[VIEWS[0]]), dtype=torch.bool)
            output = built.fuse(views, dict.fromkeys(VIEWS, there))
            if isinstance(output, FusionOutput):
                output = output.embedding if output.logits is None else output.logits
            return built.head(output) if built.head else output

        return built, logits

    return ready


SERVED: dict[str, Callable[..., Work]] = {
    **PEERS,
    "fusionkit": fusionkit,
    "tight loop": tight_loop,
}


# -- data --------------------------------------------------------------------------------------------------------------


def features(faces: str) -> dict[str, np.ndarray]:
    """(n, 3, 900) standardised features and (n,) labels of all parts."""
    rng, count = np.random.default_rng(0), TRAIN + DEV + TEST
    if not faces:
        label = rng.integers(0, CLASSES, count)
        means = 0.1 * rng.standard_normal((CLASSES, len(VIEWS), 900))
        x = (rng.standard_normal((count, len(VIEWS), 900)) + means[label]).astype(np.float32)
    else:
        x, label = _described(faces, count)
    order = rng.permutation(len(x))
    x, label = x[order], label[order]
    x = (x - x[:TRAIN].mean(0)) / np.maximum(x[:TRAIN].std(0), 1e-6)
    parts = {"train": slice(TRAIN), "dev": slice(TRAIN, TRAIN + DEV), "test": slice(TRAIN + DEV, None)}
    found = {name: x[rows] for name, rows in parts.items()}
    return found | {f"{name}_label": label[rows].astype(np.int64) for name, rows in parts.items()}


def _described(faces: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """HOG of three boxes of the first images of a folder."""
    from fusionkit.config.views import View
    from fusionkit.engine.embed import FrameEmbedder, embedding_of
    from fusionkit.engine.source import open_source
    from fusionkit.registry.spec import Spec

    source = open_source(Spec.parse(f"folder:root={faces}"), None)
    rows = np.random.default_rng(0).permutation(len(source.table))[:count]
    hog, template = Spec.parse("hog"), Spec.parse("template")
    wanted = [embedding_of(source, template, View.parse(view), hog, 0, "cpu") for view in VIEWS]
    found = FrameEmbedder(wanted, "cpu")(source.images(rows)).values
    return np.stack([found[item.key] for item in wanted], 1), source.table.label[rows]


# -- tables ------------------------------------------------------------------------------------------------------------


def against_libraries(data: str, options: argparse.Namespace) -> None:
    pythons = dict(peer.split("=", 1) for peer in options.peer)
    for name in sorted(set(PEERS) - set(OWN) - set(pythons)):
        print(f"{name} is left out: --peer {name}=PYTHON names its environment")
    print(f"\n| {options.epochs} epochs of the concatenation MLP | s a head | by the clock | / tight loop |")
    print("|---|---|---|---|")
    commands = {name: [sys.executable, __file__, "--serve", name] for name in OWN}
    alone = str(Path(__file__).with_name("heads_peers.py"))  # which needs nothing of fusionkit
    with started(commands | {name: [python, alone, "--serve", name] for name, python in pythons.items()}) as all_:
        job = {"data": data, "epochs": options.epochs}
        jobs = {each.name: job | ({"fusion": "mlp"} if each.name == "fusionkit" else {}) for each in all_}
        works = {each.name: partial(each.do, jobs[each.name]) for each in all_}
        for name in pythons:
            try:
                works[name]()
            except RuntimeError as error:
                print(f"{error}; it is left out")
                del works[name]
        costs = in_turn(works, options.rounds, options.seconds)
    for name, cost in costs.items():
        print(f"| {name} | {cost.cpu:.2f} | {cost.wall:.2f} | {cost.cpu / costs['tight loop'].cpu:.2f} |")


def by_fusion(data: str, options: argparse.Namespace) -> None:
    print("\n| fusion | s a head and epoch | / tight loop around it | / the MLP's |\n|---|---|---|---|")
    least = 0.0
    with contestants(__file__, ["fusionkit", "tight loop"]) as (ours, loop):
        for fusion in options.fusions or list(trained()):
            job = {"data": data, "epochs": options.fusion_epochs, "fusion": fusion}
            costs = in_turn({each.name: partial(each.do, job) for each in (ours, loop)}, options.rounds, 40)
            seconds = costs["fusionkit"].cpu / options.fusion_epochs
            least = least or seconds
            ratio = costs["fusionkit"].cpu / costs["tight loop"].cpu
            print(f"| {fusion} | {seconds:.3f} | {ratio:.2f} | {seconds / least:.1f} |", flush=True)


def trained() -> Iterator[str]:
    """Every fusion of pooled views that is trained by gradient steps, the MLP first."""
    from fusionkit.contracts import Fusion
    from fusionkit.registry import FUSIONS

    yield "mlp"
    for name in FUSIONS.names():
        cls = FUSIONS.get(name)
        if name != "mlp" and issubclass(cls, Fusion) and cls.needs == "pooled":
            yield name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", choices=list(SERVED), help=argparse.SUPPRESS)
    parser.add_argument("--faces", default="", help="a folder of faces, one folder a class")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=", ".join(PEERS))
    parser.add_argument("--tables", nargs="+", default=["libraries", "fusions"])
    parser.add_argument("--fusions", nargs="+", help="all by default")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--fusion-epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120, help="no round of the first table begins after so many")
    options = parser.parse_args()
    if options.serve:
        serve(SERVED[options.serve])
        return
    print(machine())
    tables = {"libraries": against_libraries, "fusions": by_fusion}
    with tempfile.TemporaryDirectory() as folder:
        for name, values in features(options.faces).items():
            np.save(Path(folder) / f"{name}.npy", values)
        for name in options.tables:
            tables[name](folder, options)


if __name__ == "__main__":
    main()
