"""Toy components for the tests of the engine and the grid: tiny images whose colours tell the label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from fusionkit.config.grid_config import GridConfig, resolve
from fusionkit.contracts import Backbone, Extractor, FaceDataset, FrameTable, Located, Smoother
from fusionkit.contracts.fusion import FittedFusion, Fusion, FusionOutput, StackedFusion
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan, make_plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.run import Outcome, RunOptions, run
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS, FUSIONS, SMOOTHERS, ComponentRegistry
from fusionkit.report.run import Results
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore

CLASSES = ("calm", "glad", "sad")
SIDE = 12


def toy_table(clips: int, length: int, seed: int, *, official: bool = True) -> FrameTable:
    """Clips with gaps in frame numbers and unlabelled frames; two clips a subject; subjects stay in one split."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {name: [] for name in ("clip", "number", "label", "subject", "split")}
    for clip in range(clips):
        numbers = np.sort(rng.choice(3 * length, size=length, replace=False)) + 1
        subject = clip // 2
        split = ("train", "train", "val", "test")[subject % 4] if official else ""
        state = int(rng.integers(3))
        for number in numbers.tolist():
            state = int(rng.integers(3)) if rng.random() < 0.3 else state
            columns["clip"].append(f"c{clip:03d}")
            columns["number"].append(number)
            columns["label"].append(-1 if rng.random() < 0.15 else state)
            columns["subject"].append(f"s{subject:03d}")
            columns["split"].append(split)
    return FrameTable.of(
        columns["clip"], columns["number"], columns["label"], subject=columns["subject"], split=columns["split"]
    )


class Blobs(FaceDataset):
    """Random images; the top half is brighter in the label's channel, the bottom half a little, and all are noisy.

    Every 11th frame has no image; every 7th is marked in its first pixel as one whose bottom cannot be found.
    """

    places: ClassVar[tuple[str, ...]] = ("root",)
    reads: ClassVar[list[int]] = []

    def __init__(
        self,
        clips: int = 40,
        length: int = 8,
        seed: int = 0,
        official: bool = True,
        missing: bool = True,
        noise: float = 40.0,
        root: str = "",
    ) -> None:
        self._table = toy_table(clips, length, seed, official=official)
        self._seed, self._missing, self._noise = seed, missing, noise
        truth = self._table.label.copy()
        self._truth = np.where(truth < 0, 0, truth)

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def frames(self) -> FrameTable:
        return self._table

    def content(self) -> str:
        return f"{self._seed} {self._missing} {self._noise}"

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        Blobs.reads.extend(rows.tolist())
        return [self._image(int(row)) for row in rows]

    def _image(self, row: int) -> np.ndarray | None:
        if self._missing and row % 11 == 5:
            return None
        rng = np.random.default_rng([self._seed, row])
        side = SIDE + row % 3
        image = rng.normal(90, self._noise, (side, side, 3))
        image[: side // 2, :, self._truth[row]] += 35
        image[side // 2 :, :, (self._truth[row] + 1) % 3] += 15
        image = image.clip(0, 254).astype(np.uint8)
        if self._missing and row % 7 == 3:
            image[0, 0] = 255
        return image


class BlobsOfClips(Blobs):
    """Blobs of which all frames of a clip have one label."""

    def __init__(self) -> None:
        super().__init__()
        self._truth = self._table.clip_index % 3
        self._table = replace(self._table, label=self._truth)


class Halves(Extractor):
    """``top`` and ``bottom`` half of a frame; no bottom where the first pixel is white."""

    calls: ClassVar[list[int]] = []

    @property
    def regions(self) -> tuple[str, ...]:
        return ("top", "bottom")

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        Halves.calls.append(len(frames))
        boxes = np.empty((len(frames), 2, 5), np.float32)
        for index, frame in enumerate(frames):
            height, width = frame.shape[:2]
            half = height // 2
            boxes[index, 0] = (width / 2, half / 2, width, half, 0)
            boxes[index, 1] = (width / 2, half + (height - half) / 2, width, height - half, 0)
            if (frame[0, 0] == 255).all():
                boxes[index, 1] = np.nan
        return Located(boxes, np.isfinite(boxes[..., 0]).astype(np.float32))


class Colours(Backbone):
    """Mean colour of each quarter: 12 values in 0..1; counts how often it is called."""

    calls: ClassVar[list[int]] = []

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    @property
    def dim(self) -> int:
        return 12

    @property
    def input_size(self) -> tuple[int, int]:
        return (8, 8)

    def embed(self, views: np.ndarray) -> np.ndarray:
        Colours.calls.append(len(views))
        quarters = views.reshape(len(views), 2, 4, 2, 4, 3).astype(np.float32).mean((2, 4))
        return (quarters / 255 * self.gain).reshape(len(views), 12)

    def cost(self) -> tuple[int, float]:
        return 7, 0.25


class NanColours(Colours):
    """NaN for bright frames."""

    def embed(self, views: np.ndarray) -> np.ndarray:
        values = super().embed(views)
        values[values.mean(1) > 0.42] = np.nan
        return values


class Furious(Colours):
    """Raises."""

    def embed(self, views: np.ndarray) -> np.ndarray:
        raise RuntimeError("no weights today")


class Sum(StackedFusion):
    """Sum of views."""

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return views.sum(1)


class WrongShape(Fusion):
    """Forgets the batch."""

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return views[self.main].mean(0, keepdim=True)


class NotANumber(Fusion):
    """Divides zero by zero."""

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return views[self.main] * 0 / 0


class NanLogits(Fusion):
    """Trains well and predicts NaN."""

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return views[self.main] if self.training else views[self.main] * torch.nan


class Raises(Fusion):
    """Raises in training only, after it has been built."""

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        if self.training:
            raise ValueError("gates are shut")
        return views[self.main]


class Recorder(Fusion):
    """A linear head that keeps all that it was given."""

    given: ClassVar[list[Any]] = []

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        Recorder.given.append((dict(views), dict(present)))
        return torch.cat([views[name] for name in self.in_dims], 1)

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        Recorder.given.append(target)
        return super().loss(output, target)


class Forest(FittedFusion):
    """scikit-learn's logistic regression on all views side by side."""

    given: ClassVar[list[Any]] = []

    def fit(self, views: dict[str, np.ndarray], y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        from sklearn.linear_model import LogisticRegression

        Forest.given.append((views, y, groups, seed))
        self.model = LogisticRegression(random_state=seed, max_iter=1000).fit(np.hstack(list(views.values())), y)

    def predict_proba(self, views: dict[str, np.ndarray]) -> np.ndarray:
        Forest.given.append(views)
        return self.model.predict_proba(np.hstack(list(views.values())))

    def state(self) -> dict[str, np.ndarray]:
        return {"coef": self.model.coef_, "intercept": self.model.intercept_}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        from sklearn.linear_model import LogisticRegression

        self.model = LogisticRegression()
        self.model.classes_ = np.arange(self.num_classes)
        for name, value in state.items():
            setattr(self.model, f"{name}_", value)


class Plain(Smoother):
    """Leaves predictions as they are."""

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return x


class Box(Smoother):
    """Mean over frame numbers, in plain loops."""

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 3, 9)}
    calls: ClassVar[list[tuple[int, np.ndarray, np.ndarray]]] = []

    def __init__(self, width: int | str = 3) -> None:
        self.width = width

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        assert isinstance(self.width, int)
        Box.calls.append((self.width, x, frame_numbers))
        half = self.width // 2
        return np.stack([x[np.abs(frame_numbers - number) <= half].mean(0) for number in frame_numbers])


class Learned(Smoother):
    """Mixes in the class shares that it was fitted on; keeps all that it was given."""

    fitted: ClassVar[bool] = True
    given: ClassVar[list[Any]] = []

    def fit(self, clips: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[np.ndarray], seed: int) -> None:
        Learned.given.append((clips, labels, seed))
        known = np.concatenate(labels)
        self.share = np.bincount(known[known >= 0], minlength=3) / (known >= 0).sum()

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return 0.8 * x + 0.2 * self.share


class Grumpy(Smoother):
    """Raises on every clip."""

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        raise RuntimeError("too old for this")


TOYS: tuple[tuple[ComponentRegistry, str, type], ...] = (
    (DATASETS, "toy-blobs", Blobs),
    (DATASETS, "toy-clips", BlobsOfClips),
    (EXTRACTORS, "toy-halves", Halves),
    (BACKBONES, "toy-colours", Colours),
    (BACKBONES, "toy-nan-colours", NanColours),
    (BACKBONES, "toy-furious", Furious),
    (FUSIONS, "toy-sum", Sum),
    (FUSIONS, "toy-wrong-shape", WrongShape),
    (FUSIONS, "toy-nan", NotANumber),
    (FUSIONS, "toy-nan-logits", NanLogits),
    (FUSIONS, "toy-raises", Raises),
    (FUSIONS, "toy-recorder", Recorder),
    (FUSIONS, "toy-forest", Forest),
    (SMOOTHERS, "toy-plain", Plain),
    (SMOOTHERS, "toy-box", Box),
    (SMOOTHERS, "toy-learned", Learned),
    (SMOOTHERS, "toy-grumpy", Grumpy),
)
_LOGS = (Blobs.reads, Halves.calls, Colours.calls, Recorder.given, Forest.given, Box.calls, Learned.given)


@contextmanager
def registered(registry: ComponentRegistry, name: str, cls: type) -> Iterator[None]:
    """A component under a name, for as long as the context lasts."""
    registry.register_module(name=name, module=cls)
    try:
        yield
    finally:
        registry._registered.pop(name, None)
        registry._classes.module_dict.pop(name, None)


@contextmanager
def toys() -> Iterator[None]:
    """All toys registered, and their logs empty."""
    with ExitStack() as stack:
        for registry, name, cls in TOYS:
            stack.enter_context(registered(registry, name, cls))
        for log in _LOGS:
            log.clear()
        yield


@pytest.fixture
def toy_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Toys, and a cache of the test's own."""
    monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / "cache"))
    with toys():
        yield


def toy_grid(**changes: Any) -> GridConfig:
    """A small grid of toys."""
    raw = {
        "datasets": ["toy-blobs"],
        "extractor": "toy-halves",
        "backbones": ["toy-colours"],
        "main": "face",
        "regions": ["bottom"],
        "fusions": ["toy-sum"],
        "smoothers": ["toy-plain"],
        "recipe": {"epochs": 4, "lr": 0.05},
        "seeds": 2,
    }
    return resolve({**raw, **changes}, "toy")


def toy_plan(**changes: Any) -> Plan:
    """The plan of a :func:`toy_grid`."""
    return make_plan(toy_grid(**changes), "cpu")


def carry_out(
    plan: Plan, path: Path, options: RunOptions | None = None, progress: Progress | None = None
) -> tuple[Outcome, Results]:
    """Run a plan in a folder with the test's own cache."""
    folder = RunFolder(path)
    folder.add_plan(plan, {})
    outcome = run(plan, folder, EmbeddingStore(cache_folder()), options or RunOptions(), progress or Progress())
    return outcome, Results(folder)
