"""Toy components that pass every check of their kind; the broken ones derive from them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fusionkit.contracts import (
    Backbone,
    CausalSmoother,
    Clip,
    ClipFusion,
    Count,
    Extractor,
    FaceDataset,
    FittedFusion,
    FrameTable,
    Fusion,
    FusionOutput,
    Located,
    Smoother,
    StackedFusion,
)
from fusionkit_tasks.action_units import ActionUnits
from fusionkit_tasks.expression import Expression
from fusionkit_tasks.valence_arousal import ValenceArousal


class GoodFusion(StackedFusion):
    """Mean of the present views.

    Args:
        width: width of every view. Default: their own.

    Reference: a toy.
    """

    missing: ClassVar[str] = "masked"
    symmetric = True

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count | None = None) -> None:
        super().__init__(in_dims, num_classes, width)
        self.gain = nn.Parameter(torch.randn(self.width))

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return self.mean(views, present) * self.gain

    def mean(self, views: Tensor, present: Tensor) -> Tensor:
        mask = present.unsqueeze(-1).to(views.dtype)
        return (views * mask).sum(1) / mask.sum(1).clamp(min=1)


class GoodLogits(Fusion):
    """Logits of its own from the concatenation of all views.

    Reference: a toy.
    """

    symmetric = False

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.classifier = nn.Linear(sum(in_dims.values()), num_classes)

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor | FusionOutput:
        return FusionOutput(logits=self.classifier(torch.cat([views[name] for name in self.in_dims], 1)))


class GoodTokenFusion(Fusion):
    """Concatenation of all tokens of all views.

    Args:
        token_count: K.

    Reference: a toy.
    """

    needs: ClassVar[str] = "tokens"
    symmetric = False

    def __init__(self, in_dims: dict[str, int], num_classes: int, token_count: int = 3) -> None:
        super().__init__(in_dims, num_classes)
        self.token_count = token_count

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return torch.cat([views[name].flatten(1) for name in self.in_dims], 1)


class GoodMapFusion(Fusion):
    """The mean of a 1 x 1 convolution over the maps of the present views.

    Reference: a toy.
    """

    needs: ClassVar[str] = "map"
    missing: ClassVar[str] = "masked"
    symmetric = False

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.layers = nn.ModuleList([nn.Conv2d(dim, 4, 1) for dim in in_dims.values()])

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        each = [layer(views[name]).square() for name, layer in zip(self.in_dims, self.layers, strict=True)]
        there = [present[name] | (name == self.main) for name in self.in_dims]
        return torch.stack([self.pooled(a) * b[:, None] for a, b in zip(each, there, strict=True)]).sum(0)

    def pooled(self, value: Tensor) -> Tensor:
        return value.mean((2, 3))


class GoodClipFusion(ClipFusion):
    """Mean of the present views of all frames so far, each weighted by how near it is in time.

    Reference: a toy.
    """

    missing: ClassVar[str] = "masked"
    causal = True
    symmetric = None

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.project = nn.ModuleList([nn.Linear(dim, 4) for dim in in_dims.values()])
        self.speed = nn.Parameter(torch.ones(()))

    def fuse_clip(self, views: dict[str, Tensor], present: dict[str, Tensor], number: Tensor, mask: Tensor) -> Tensor:
        each = [layer(views[name]) for name, layer in zip(self.in_dims, self.project, strict=True)]
        there = torch.stack(list(present.values()), 2)[..., None]
        frame = (torch.stack(each, 2) * there).sum(2) / there.sum(2).clamp(min=1)
        weights = self.weights(number, mask, frame)
        return weights @ frame / weights.sum(2, keepdim=True).clamp(min=1e-3) + frame

    def weights(self, number: Tensor, mask: Tensor, frame: Tensor) -> Tensor:
        """Return the weight of each frame (last axis) for each frame: (B, T, T)."""
        past = number[:, :, None] - number[:, None, :]
        near = torch.exp(-0.1 * self.speed.abs() * past.abs())
        return near * (mask[:, None, :] & (past >= 0))


class GoodFitted(FittedFusion):
    """Nearest class mean, by Gaussian weight.

    Args:
        scale: factor of distances.

    Reference: a toy.
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int, scale: float = 1.0) -> None:
        super().__init__(in_dims, num_classes)
        self.scale = scale

    def fit(self, views: dict[str, np.ndarray], y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        x = self.stacked(views)
        rows = [x[y == label] if (y == label).any() else x for label in range(self.num_classes)]
        self.means = np.stack([row.mean(0) for row in rows])

    def predict_proba(self, views: dict[str, np.ndarray]) -> np.ndarray:
        gaps = ((self.stacked(views)[:, None] - self.means) ** 2).sum(2) * self.scale / 10
        weights = np.exp(gaps.min(1, keepdims=True) - gaps)
        return weights / weights.sum(1, keepdims=True)

    def stacked(self, views: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([views[name].astype(np.float64) for name in self.in_dims], 1)

    def state(self) -> dict[str, np.ndarray]:
        return {"means": self.means}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.means = state["means"]


class GoodSmoother(Smoother):
    """Mean over neighbouring frames.

    Args:
        width: width of the window in frames.

    Reference: a toy.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5)}

    def __init__(self, width: Count = 5) -> None:
        self.width = width

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        half = self.width // 2
        return np.stack([x[np.abs(frame_numbers - number) <= half].mean(0) for number in frame_numbers])


class GoodBeside(GoodSmoother):
    """Mean over neighbouring frames, weighted by how near their embeddings are.

    Args:
        width: width of the window in frames.

    Reference: a toy.
    """

    needs_embeddings = True

    def smooth(self, x: np.ndarray, clip: Clip) -> np.ndarray:
        assert clip.embeddings is not None
        near = np.abs(clip.number[:, None] - clip.number) <= self.width // 2
        apart = np.square(clip.embeddings[:, None] - clip.embeddings).sum(2)
        weights = near * np.exp(-apart)
        return weights @ x / weights.sum(1, keepdims=True)


class GoodHard(Smoother):
    """Class of most weight over the clip.

    Reference: a toy.
    """

    hard = True

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return np.repeat(np.eye(x.shape[1])[[x.sum(0).argmax()]], len(x), axis=0)


class GoodCausal(CausalSmoother):
    """Mean of the current and the smoothed past, which halves with each frame.

    Reference: a toy.
    """

    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
        rows = []
        for row, number in zip(x, frame_numbers.tolist(), strict=True):
            share = 0.0 if past is None else 0.5 ** float(number - past[1])
            past = (row if past is None else (1 - share) * row + share * past[0], number)
            rows.append(past[0])
        return np.stack(rows), past


class GoodLearned(Smoother):
    """Mean of predictions and the class frequencies of the clips it was fitted on; a single frame is unchanged.

    Reference: a toy.
    """

    fitted: ClassVar[bool] = True

    def fit(self, clips: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[np.ndarray], seed: int) -> None:
        known = np.concatenate(labels)
        self.share = np.bincount(known[known >= 0], minlength=clips[0][0].shape[1]) / (known >= 0).sum()

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return x if len(x) == 1 else 0.8 * x + 0.2 * self.share

    def state(self) -> dict[str, np.ndarray] | None:
        return {"share": self.share}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.share = state["share"]


class GoodExtractor(Extractor):
    """Upper and lower part; no lower one if the frame is black.

    Args:
        share: fraction of the upper part.

    Reference: a toy.
    """

    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    @property
    def regions(self) -> tuple[str, ...]:
        return ("top", "bottom")

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        boxes = np.stack([self.boxes(frame) for frame in frames])
        return Located(boxes, np.isfinite(boxes[..., 0]).astype(np.float32))

    def boxes(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        cut = self.share * height
        lower = (width / 2, (cut + height) / 2, width, height - cut, 0) if frame.any() else [np.nan] * 5
        return np.array([(width / 2, cut / 2, width, cut, 0), lower], np.float32)


class GoodDetector(Extractor):
    """The head and its mouth in a frame that is grey around the head, from the moments of all other pixels.

    Reference: a toy.
    """

    @property
    def regions(self) -> tuple[str, ...]:
        return ("head", "mouth")

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        boxes = np.stack([self.boxes(frame) for frame in frames]).astype(np.float32)
        return Located(boxes, np.isfinite(boxes[..., 0]).astype(np.float32))

    def boxes(self, frame: np.ndarray) -> np.ndarray:
        y, x = np.nonzero((np.abs(frame.astype(int) - 128) > 12).any(2))
        if len(x) < 3:
            return np.full((2, 5), np.nan)
        centre = np.array([x.mean(), y.mean()])
        variances, axes = np.linalg.eigh(np.cov(np.stack([x, y])) + 1e-6 * np.eye(2))
        width, height = 4 * np.sqrt(variances)
        down = axes[:, 1] * (1 if axes[1, 1] >= 0 else -1)
        turn = np.degrees(np.arctan2(-down[0], down[1]))
        mouth = centre + 0.3 * height * down
        return np.array([(*centre, width, height, turn), (*mouth, 0.5 * width, 0.2 * height, turn)])


class GoodBackbone(Backbone):
    """Mean colour of each quarter.

    Args:
        gain: a factor.

    Reference: a toy.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    @property
    def dim(self) -> int:
        return 12

    @property
    def input_size(self) -> tuple[int, int]:
        return (8, 8)

    def quarters(self, views: np.ndarray) -> np.ndarray:
        """(B, 4, 3) in 0..1."""
        means = views.reshape(len(views), 2, 4, 2, 4, 3).astype(np.float32).mean((2, 4))
        return (means / 255 * self.gain).reshape(len(views), 4, 3).astype(np.float32)

    def embed(self, views: np.ndarray) -> np.ndarray:
        return self.quarters(views).reshape(len(views), 12)

    def tokens(self, views: np.ndarray) -> np.ndarray:
        return np.repeat(self.embed(views)[:, None], 3, axis=1)


class GoodMaps(GoodBackbone):
    """Mean colour of each quarter, also as a map.

    Reference: a toy.
    """

    token_dim, token_grid = 3, (2, 2)

    def tokens(self, views: np.ndarray) -> np.ndarray:
        return self.quarters(views)


class GoodNetwork(Backbone):
    """A convolution with fixed weights, or those of a file.

    Args:
        weights: a file of :meth:`export`.

    Reference: a toy.
    """

    mean = (0.5, 0.4, 0.3)
    std = (0.2, 0.25, 0.3)
    files: ClassVar[tuple[str, ...]] = ("weights",)

    def __init__(self, weights: str | None = None) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        if weights:
            self.network.load_state_dict(load_file(weights))

    def trainable(self, drop_path: float, seed: int) -> nn.Module:
        return copy.deepcopy(self.network)

    def export(self, network: nn.Module, about: dict[str, Any]) -> bytes:
        return save(network.state_dict())

    @property
    def dim(self) -> int:
        return 16

    @property
    def input_size(self) -> tuple[int, int]:
        return (8, 8)

    def normalised(self, views: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(views.copy()).permute(0, 3, 1, 2).float() / 255
        return (pixels - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)

    def embed(self, views: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.network(self.normalised(views)).numpy()


class GoodExport(GoodNetwork):
    """A convolution that can be exported.

    Args:
        weights: a file of :meth:`export`.

    Reference: a toy.
    """

    def as_network(self, *, tokens: bool) -> nn.Module:
        return FromBytes(copy.deepcopy(self.network), self.mean, self.std)


class FromBytes(nn.Module):
    """A network behind the normalisation of uint8 views."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, torch.tensor(mean), torch.tensor(std)

    def forward(self, views: Tensor) -> Tensor:
        pixels = (views.float() / 255 - self.mean) / self.std
        found: Tensor = self.network(pixels.permute(0, 3, 1, 2))
        return found


class GoodDataset(FaceDataset):
    """Images in files named ``<split>_<clip>_<frame>_<class>.bmp``; an empty file is not an image.

    ``columns.txt`` has the number of columns that are kept of each image.

    Args:
        root: the folder.

    Reference: a toy.
    """

    places: ClassVar[tuple[str, ...]] = ("root",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.files = sorted(self.root.glob("*.bmp"))
        parts = [file.stem.split("_") for file in self.files]
        self._table = FrameTable.of(
            [f"{split}/{clip}" for split, clip, _, _ in parts],
            [int(part[2]) for part in parts],
            [("calm", "glad").index(part[3]) for part in parts],
            split=[part[0] for part in parts],
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return ("calm", "glad")

    @property
    def frames(self) -> FrameTable:
        return self._table

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        return [self.image(int(row)) for row in rows]

    def image(self, row: int) -> np.ndarray | None:
        file = self.files[row]
        return cv2.imread(str(file))[:, : int(self.columns)].copy() if file.stat().st_size else None

    @property
    def columns(self) -> str:
        return (self.root / "columns.txt").read_text(encoding="utf-8")

    def content(self) -> str:
        return self.columns

    def image_files(self, rows: np.ndarray) -> Iterable[str]:
        return [str(self.files[row]) for row in rows]

    def has_image(self) -> np.ndarray | None:
        return np.array([file.stat().st_size > 0 for file in self.files])

    def composed_of(self) -> np.ndarray | None:
        return np.full((len(self.files), 2), -1)


def write_faces(root: Path) -> Path:
    """Write a folder that :class:`GoodDataset` reads."""
    root.mkdir()
    (root / "columns.txt").write_text("4\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    for number in range(24):
        split = ("train", "val", "test")[number // 8]
        file = root / f"{split}_c{number // 4:02d}_{number % 4 + 1:03d}_{('calm', 'glad')[number % 2]}.bmp"
        if number % 7 == 3:
            file.touch()
        else:
            cv2.imwrite(str(file), rng.integers(0, 256, (6 + number % 3, 5, 3), dtype=np.uint8))
    return root


class GoodEmbeddings(FaceDataset):
    """Two views of embeddings, without images.

    Reference: a toy.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        return ("calm", "glad")

    @property
    def frames(self) -> FrameTable:
        return self.table_of_stills

    def __init__(self) -> None:
        self.table_of_stills = FrameTable.of([f"c{i:02d}" for i in range(20)], [1] * 20, [i % 2 for i in range(20)])

    @property
    def views(self) -> tuple[str, ...]:
        return ("face", "sound")

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        table = np.random.default_rng(len(view)).normal(size=(20, 3)).astype(np.float32)
        table[7] = np.nan
        return table[rows]


class GoodTask(ActionUnits):
    """Several labels.

    Reference: a toy.
    """


class GoodClasses(Expression):
    """One label.

    Reference: a toy.
    """


class GoodValues(ValenceArousal):
    """Two values.

    Args:
        loss: as in its base class.

    Reference: a toy.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)


GOOD = {
    "fusion": (GoodFusion, GoodTokenFusion, GoodMapFusion, GoodLogits, GoodClipFusion, GoodFitted),
    "smoother": (GoodSmoother, GoodBeside, GoodHard, GoodCausal, GoodLearned),
    "extractor": (GoodExtractor, GoodDetector),
    "backbone": (GoodBackbone, GoodMaps, GoodNetwork, GoodExport),
    "dataset": (GoodDataset, GoodEmbeddings),
    "task": (GoodTask, GoodClasses, GoodValues),
}
