"""Views of the frames of a data set with their labels: what fine-tuning is shown."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.config.views import FACE, View, cut
from fusionkit.contracts.backbone import Backbone, Interpolation
from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.embed import locate, resized
from fusionkit.engine.source import Source
from fusionkit.registry import EXTRACTORS
from fusionkit.registry.spec import Spec
from fusionkit.training.crop import RandomCrop
from fusionkit.training.images import CachedImages, DatasetImages

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class ViewSample:
    """One frame.

    Attributes:
        views: RGB uint8 (h, w, 3) each, main view first; None where a region was not found.
        label: class number; -1 where there is none.
    """

    views: tuple[np.ndarray | None, ...]
    label: int

    @property
    def whole(self) -> bool:
        """Whether every view is there."""
        return all(view is not None for view in self.views)


class ViewSamples:
    """Frames by number, cut as the embed stage of the bench cuts them. Reading is safe from several threads.

    Args:
        source: the data set.
        rows: (n,) int64, rows of the source.
        labels: (n,) int64 in 0..C-1, or -1.
        extractor: says where regions are; it is built only if a view needs it.
        views: main view first.
        budget: bytes of memory for decoded frames; 0 for frames that are read once, of which nothing is remembered.

    Raises:
        ConfigError: if the data set brings embeddings and no images.
    """

    def __init__(
        self,
        source: Source,
        rows: np.ndarray,
        labels: np.ndarray,
        extractor: Spec,
        views: Sequence[View],
        budget: int,
    ) -> None:
        self.frames = CachedImages(DatasetImages(source, rows), budget)
        self.labels = labels
        self.cuts = tuple(views)
        self._extractor: Extractor | None = None
        if any(view != FACE for view in views):
            self._extractor = EXTRACTORS.build(extractor)
        self._boxes: dict[int, dict[str, np.ndarray]] | None = {} if budget else None
        self._lock = threading.Lock()  # the contract of an extractor does not promise that threads may share it

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> ViewSample | None:
        """The views of a frame; None where there is none at all."""
        frame = self.frames.read(index)
        if frame is None:
            return None
        boxes = self._located(index, frame)
        views = tuple(cut(frame, boxes, view) for view in self.cuts)
        if all(view is None for view in views):
            return None
        return ViewSample(views, int(self.labels[index]))

    def where(self, index: int) -> str:
        """As the data set names it."""
        return self.frames.where(index)

    def _located(self, index: int, frame: np.ndarray) -> dict[str, np.ndarray]:
        """The boxes of a frame, which are looked for once."""
        with self._lock:
            known = self._boxes.get(index) if self._boxes is not None else None
            if known is None:
                (known,) = locate(self._extractor, [frame]).boxes
                if self._boxes is not None:
                    self._boxes[index] = known
            return known


@dataclass(frozen=True)
class ViewTransform:
    """Prepares samples for one backbone.

    A view is brought to the backbone's size as the bench does it, with its aspect ratio not kept; a random crop is one
    of the view as it would look at that size. Every view of a frame has a crop of its own, and all are mirrored or
    none is. A view that is missing is an empty image of the mean colour.

    Attributes:
        size: height and width in pixels.
        interpolation: of the backbone.
        empty: the mean colour, RGB.
        crop: draws boxes and flips.
    """

    size: tuple[int, int]
    interpolation: Interpolation
    empty: tuple[int, int, int]
    crop: RandomCrop

    @classmethod
    def of(cls, backbone: Backbone, least: float, flip: float) -> ViewTransform:
        """The transform for a backbone.

        Args:
            backbone: takes the images.
            least: share of an image's area that a random crop keeps.
            flip: probability of mirroring.
        """
        red, green, blue = (round(255 * value) for value in backbone.mean)
        size = backbone.input_size
        return cls(size, backbone.interpolation, (red, green, blue), RandomCrop(size[0], (least, 1.0), flip=flip))

    def drawn(self, sample: ViewSample, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """For training: (3, H, W) uint8 a view, then the label."""
        import torch

        boxes = [self.crop.box(*self.size, rng) for _ in sample.views]
        mirrored = rng.random() < self.crop.flip
        views = [self._cropped(view, box) for view, box in zip(sample.views, boxes, strict=True)]
        shown = [view[:, ::-1] if mirrored else view for view in views]
        return (*map(_tensor, shown), torch.tensor(sample.label))

    def plain(self, sample: ViewSample) -> tuple[Tensor, ...]:
        """As the bench shows them: (3, H, W) uint8 a view."""
        return tuple(_tensor(self._whole(view)) for view in sample.views)

    def _cropped(self, view: np.ndarray | None, box: tuple[int, int, int, int]) -> np.ndarray:
        if view is None:
            return self._whole(view)
        top, left, height, width = box
        down, right = view.shape[0] / self.size[0], view.shape[1] / self.size[1]
        y, x = round(top * down), round(left * right)
        below, beyond = max(round((top + height) * down), y + 1), max(round((left + width) * right), x + 1)
        return self._whole(view[y:below, x:beyond])

    def _whole(self, view: np.ndarray | None) -> np.ndarray:
        if view is None:
            return np.broadcast_to(np.array(self.empty, np.uint8), (*self.size, 3))
        return resized(view, self.size, self.interpolation)


def _tensor(image: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)).copy())
