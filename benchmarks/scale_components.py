"""Stand-ins of the size of Aff-Wild2, for scale.py: frames that cost next to nothing, a backbone that is a reshape.

What is measured with them is everything else: tables, cutting, storing, reading, training, smoothing, scoring.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fusionkit.contracts import Backbone, FaceDataset, FrameTable
from fusionkit.registry import BACKBONES, DATASETS

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
# Frames a class, those with an image. Reference: counted by Savchenko for HSEmotion's solution of ABAW 6
# (github.com/av-savchenko/face-emotion-recognition, abaw6_affwild2.ipynb), which finds 2 % more without one.
COUNTS = {
    "train": (177198, 16573, 10771, 9080, 95463, 78751, 31615, 165866),
    "val": (82258, 6126, 5296, 8408, 34511, 25157, 12332, 106444),
}
CLIPS = {"train": 247, "val": 70}
SIDE = 16
RUN = 120  # frames that keep their expression, on average; at a small scale there are more and shorter runs
UNLABELLED, LOST = 0.02, 0.02  # share of the frames
NOISES = 4099


@DATASETS.register_module(name="like-affwild2")
class LikeAffWild2(FaceDataset):
    """As many clips as Aff-Wild2 has, of unequal length, with its class shares; some frames without label or image.

    Args:
        scale: share of the frames; 1 for all.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        rng = np.random.default_rng(0)
        self._noise = rng.integers(0, 160, (NOISES, SIDE, SIDE, 3), dtype=np.uint8)
        self._pattern = rng.integers(0, 6, (len(CLASSES), SIDE, SIDE, 3), dtype=np.uint8)

    @property
    def classes(self) -> tuple[str, ...]:
        """Eight expressions."""
        return CLASSES

    @cached_property
    def frames(self) -> FrameTable:
        """The table, drawn anew."""
        clip, number, label, split = [], [], [], []
        for name, counts in COUNTS.items():
            rng = np.random.default_rng(len(name))
            truth = self._truth(rng, counts)
            lengths = rng.lognormal(0, 0.8, CLIPS[name])
            edges = np.round(np.cumsum(lengths) / lengths.sum() * len(truth)).astype(int)
            sizes = np.diff(np.r_[0, edges])
            clip.append(np.repeat([f"{name}/{place:03d}-30-1920x1080" for place in range(len(sizes))], sizes))
            number.append(np.concatenate([np.arange(size) + 1 for size in sizes]))
            label.append(truth)
            split.append(np.full(len(truth), name))
        return FrameTable.of(*map(np.concatenate, (clip, number, label)), split=np.concatenate(split))

    def _truth(self, rng: np.random.Generator, counts: tuple[int, ...]) -> np.ndarray:
        """Runs of one expression, of unequal length, in an order that is drawn; -1 is unlabelled."""
        runs = []
        for label, count in zip((-1, *range(len(counts))), (round(sum(counts) * UNLABELLED), *counts), strict=True):
            frames = max(round(count * self.scale / (1 - LOST)), 16)
            cuts = rng.integers(1, frames, max(frames // RUN, 15))
            runs += [np.full(size, label) for size in np.diff(np.r_[0, np.sort(cuts), frames])]
        return np.concatenate([runs[place] for place in rng.permutation(len(runs))])

    def content(self) -> str:
        """The scale decides everything."""
        return f"{self.scale}"

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Noise and, faintly, a pattern that tells the class."""
        labels = self.frames.label[rows]
        images = self._noise[rows % NOISES] + self._pattern[labels.clip(0)]
        lost = (rows * 2654435761 % 2**32) < LOST * 2**32
        return [None if gone else image for image, gone in zip(images, lost.tolist(), strict=True)]


@BACKBONES.register_module(name="reshape")
class Reshape(Backbone):
    """The pixels of a view as its embedding: 768 numbers."""

    @property
    def dim(self) -> int:
        """768."""
        return SIDE * SIDE * 3

    @property
    def input_size(self) -> tuple[int, int]:
        """16 by 16 pixels."""
        return (SIDE, SIDE)

    def embed(self, views: np.ndarray) -> np.ndarray:
        """(B, 16, 16, 3) to (B, 768)."""
        return views.reshape(len(views), -1).astype(np.float32) / 64
