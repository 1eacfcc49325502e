"""Does the default recipe train? Heads against scikit-learn's logistic regression, from 150 to 30,000 frames.

    python benchmarks/recipe.py --faces ferplus --cache features

``--faces`` is a folder with ``train`` and ``val``, each with one folder a class, as ``folder:root=`` reads it. Features
are HOG of the whole face; they are stored in ``--cache``, and so is what logistic regression reaches, which takes most
of the time.

- Real faces: classes with 300 images and more. Frames are drawn from train, classes as even as their sizes allow; dev
  is a sixth more of them. Test is val.
- Synthetic faces: dev is of other people than train, and test of others than both.

Each size is drawn several times. ``LogisticRegression`` has balanced classes and the C of nine that is best on dev;
heads have the default recipe, the default of four times as many epochs and patience, and the recipe before batches
fitted the data. The last table compares the cost of the last two with each other where both take the same steps.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np
from expression import expression
from interleaved import machine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from fusionkit.config.recipe import Recipe
from fusionkit.config.views import View
from fusionkit.engine.embed import FrameEmbedder, embedding_of
from fusionkit.engine.features import FeaturesInMemory, FoldFeatures, FoldRows, Scaling, aligned
from fusionkit.engine.fit import fit
from fusionkit.engine.source import open_source
from fusionkit.grid.tasks import single_thread
from fusionkit.registry.spec import Spec

SYNTHETIC = "synthetic:train=360,val=40,test=60,unlabelled=0,missing=0"
DRAWS = {150: 12, 800: 8, 6000: 4, 30_000: 2}
LEAST_IMAGES = 300
C_GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1)
RECIPES = {
    "default": Recipe(),
    "4 x as long": Recipe(epochs=120, patience=20),
    "batch 256": Recipe(batch_size=256),
}
BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Faces:
    """Features (n, D), labels, splits and subjects (n,) of a data set."""

    x: np.ndarray
    label: np.ndarray
    split: np.ndarray
    subject: np.ndarray

    @classmethod
    def read(cls, spec: str, file: Path) -> Faces:
        """Read features from a file, or compute and store them."""
        if not file.exists():
            source = open_source(Spec.parse(spec), None)
            rows = np.flatnonzero(source.table.label >= 0)
            hog = embedding_of(source, Spec.parse("template"), View.parse("face"), Spec.parse("hog"), 0, "cpu")
            embed = FrameEmbedder([hog], "cpu")
            blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
            x = np.concatenate([embed(source.images(block)).values[hog.key] for block in blocks])
            kept = rows[~np.isnan(x).any(1)]
            columns = {name: getattr(source.table, name)[kept] for name in ("label", "split", "subject")}
            np.savez(file, x=x[~np.isnan(x).any(1)].astype(np.float32), **columns)
        stored = np.load(file)
        return cls(stored["x"], stored["label"], stored["split"], stored["subject"])

    def of_large_classes(self) -> Faces:
        """Return the frames of classes with many images, numbered anew."""
        counts = np.bincount(self.label)
        kept = np.flatnonzero(counts >= LEAST_IMAGES)
        rows = np.isin(self.label, kept)
        label = np.searchsorted(kept, self.label[rows])
        return Faces(self.x[rows], label, self.split[rows], self.subject[rows])


@dataclass(frozen=True, eq=False)
class Draw:
    """Standardised features and labels of one draw."""

    features: FoldFeatures
    label: dict[str, np.ndarray]

    @classmethod
    def of(cls, faces: Faces, rows: dict[str, np.ndarray]) -> Draw:
        """Standardise by the training rows."""
        scaling = Scaling.of(lambda: iter([faces.x[rows["train"]]]), standardize=True)
        assert scaling is not None
        parts = []
        for part in ("train", "dev", "test"):
            x = aligned(faces.x[rows[part]].shape)
            x[:] = faces.x[rows[part]]
            parts.append(FeaturesInMemory({"face": x}, {"face": scaling.apply(x)}))
        train, dev, test = parts
        features = FoldFeatures(train, dev, test, {"face": scaling.mean}, {"face": scaling.scale})
        return cls(features, {part: faces.label[index].astype(np.int64) for part, index in rows.items()})

    def x(self, part: str) -> np.ndarray:
        """Return the features of a part: (n, D)."""
        views: FeaturesInMemory = getattr(self.features, part)
        return views.views["face"]

    def score(self, part: str, predicted: np.ndarray) -> float:
        """Return macro-F1 of predicted classes (n,)."""
        return float(f1_score(self.label[part], predicted, average="macro"))


def draws(faces: Faces, frames: int, count: int) -> Iterator[Draw]:
    """Yield draws of some training frames; classes are as even as their sizes allow."""
    train, test = np.flatnonzero(faces.split == "train"), np.flatnonzero(faces.split != "train")
    for seed in range(count):
        rng = np.random.default_rng(seed)
        dev_frames = max(38, frames // 5) if frames < 15_000 else 2500
        if np.unique(faces.subject[train]).size > 1:
            people = rng.permutation(np.unique(faces.subject[train]))
            held_out = np.isin(faces.subject[train], people[: len(people) // 6])
            learnt, dev = train[~held_out], train[held_out]
            learnt, dev = learnt[even(faces.label[learnt], frames, rng)], dev[even(faces.label[dev], dev_frames, rng)]
        else:
            both = train[even(faces.label[train], frames + dev_frames, rng)]
            both = both[np.argsort(faces.label[both], kind="stable")]
            is_dev = np.zeros(len(both), bool)
            is_dev[(np.arange(dev_frames) * len(both) / dev_frames).astype(int)] = True
            learnt, dev = rng.permutation(both[~is_dev]), both[is_dev]
        yield Draw.of(faces, {"train": learnt, "dev": dev, "test": test})


def even(label: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return about ``count`` rows at random: as many of each class, where it has as many."""
    classes = [rng.permutation(np.flatnonzero(label == each)) for each in range(label.max() + 1)]
    left, found = min(count, len(label)), []
    for index, number in enumerate(np.argsort([len(rows) for rows in classes], kind="stable")):
        found.append(classes[number][: left // (len(classes) - index)])
        left -= len(found[-1])
    return rng.permutation(np.concatenate(found))


def regression(draw: Draw, file: Path) -> float:
    """Return macro-F1 on test of the logistic regression whose C is best on dev; stored in a file."""
    if not file.exists():
        best = (-1.0, 0.0)
        for c in C_GRID:
            model = LogisticRegression(C=c, class_weight="balanced", max_iter=500, tol=1e-3)
            model.fit(draw.x("train"), draw.label["train"])
            scores = [draw.score(part, model.predict(draw.x(part))) for part in ("dev", "test")]
            best = max(best, (scores[0], scores[1]), key=lambda pair: pair[0])
        file.write_text(json.dumps(best[1]), encoding="utf-8")
    return float(json.loads(file.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Fitted:
    """Macro-F1 on test, gradient steps and CPU seconds of a head."""

    score: float
    steps: int
    seconds: float


def fitted(draw: Draw, fusion: str, recipe: Recipe, seed: int) -> Fitted:
    """Train a head."""
    train, dev, test = (np.arange(len(draw.label[part])) for part in ("train", "dev", "test"))
    number = np.arange(max(map(len, (train, dev, test))))
    rows = FoldRows(train, draw.label["train"], train.astype(str), dev, draw.label["dev"], test, number, number)
    classes = int(max(label.max() for label in draw.label.values())) + 1
    started = time.process_time()
    head = fit(draw.features, rows, expression(classes), Spec(fusion), recipe, seed, "cpu")
    return Fitted(draw.score("test", head.test_logits.argmax(1)), head.steps, time.process_time() - started)


def table(name: str, faces: Faces, cache: Path, sizes: list[int]) -> None:
    """Print macro-F1 of logistic regression, and of each head the difference to it with its standard error."""
    kinds = [(fusion, recipe) for fusion in ("linear", "mlp") for recipe in RECIPES]
    print(f"\n| {name}: frames (draws) | logistic regression |" + "".join(f" {f}, {r} |" for f, r in kinds))
    print("|---" * (len(kinds) + 2) + "|")
    for frames in sizes:
        least, found, reference = frames, {kind: list[Fitted]() for kind in kinds}, list[float]()
        for seed, draw in enumerate(draws(faces, frames, DRAWS[frames])):
            least = len(draw.label["train"])
            reference.append(regression(draw, cache / f"regression_{name.partition(' ')[0]}_{frames}_{seed}.json"))
            for fusion, recipe in kinds:
                found[fusion, recipe].append(fitted(draw, fusion, RECIPES[recipe], seed))
        cells = "".join(f" {_difference(each, reference)} |" for each in found.values())
        print(f"| {least:,} ({len(reference)}) | {mean(reference):.3f} |{cells}", flush=True)


def _difference(heads: list[Fitted], reference: list[float]) -> str:
    gaps = [head.score - other for head, other in zip(heads, reference, strict=True)]
    error = f" ± {stdev(gaps) / len(gaps) ** 0.5:.3f}" if len(gaps) > 1 else ""
    return f"{mean(gaps):+.3f}{error}, {mean(head.steps for head in heads):,.0f} steps"


def cost(name: str, faces: Faces, sizes: list[int], rounds: int) -> None:
    """Print what the default costs against batches of 256, which it has from 5,120 frames on; in turns."""
    print(f"\n| {name}: frames | fusion | steps, default | steps, batch 256 | CPU s / that of batch 256 |")
    print("|---" * 5 + "|")
    for frames in [size for size in sizes if size >= 6000]:
        draw = next(draws(faces, frames, 1))
        for fusion in ("linear", "mlp"):
            turns = [
                {recipe: fitted(draw, fusion, RECIPES[recipe], 0) for recipe in order}
                for order in [("default", "batch 256"), ("batch 256", "default")] * rounds
            ]
            ratio = median(turn["default"].seconds / turn["batch 256"].seconds for turn in turns)
            steps = [turns[0][recipe].steps for recipe in ("default", "batch 256")]
            print(f"| {len(draw.label['train']):,} | {fusion} | {steps[0]} | {steps[1]} | {ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", default="", help="a folder of real faces; without it, synthetic ones only")
    parser.add_argument("--cache", type=Path, required=True, help="folder for features")
    parser.add_argument("--data", nargs="+", default=["real", "synthetic"], choices=["real", "synthetic"])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(DRAWS), choices=list(DRAWS))
    parser.add_argument("--rounds", type=int, default=3, help="of the cost, each in both orders")
    options = parser.parse_args()
    single_thread()
    options.cache.mkdir(parents=True, exist_ok=True)
    print(machine())
    if options.faces and "real" in options.data:
        real = Faces.read(f"folder:root={options.faces}", options.cache / "real.npz").of_large_classes()
        table("real faces", real, options.cache, options.sizes)
        cost("real faces", real, options.sizes, options.rounds)
    if "synthetic" in options.data:
        table("synthetic faces", Faces.read(SYNTHETIC, options.cache / "synthetic.npz"), options.cache, options.sizes)


if __name__ == "__main__":
    main()
