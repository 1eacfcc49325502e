"""Views of the frames of a data set, with their labels, for fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusionkit.config.views import FACE, View, cut
from fusionkit.contracts.backbone import Backbone, Interpolation
from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.embed import locate, resized
from fusionkit.engine.source import Source
from fusionkit.registry import EXTRACTORS
from fusionkit.registry.spec import Spec
from fusionkit.training.crop import RandomCrop, mirrored
from fusionkit.training.images import CachedImages, DatasetImages
from fusionkit.training.loader import PerWorker, Sample, shared_array


@dataclass(frozen=True, eq=False)
class ViewSample:
    """One frame.

    Attributes:
        views: RGB uint8 (h, w, 3) each, main view first; None where a region was not found.
        label: class number; -1 if unlabelled.
    """

    views: tuple[np.ndarray | None, ...]
    label: int

    @property
    def complete(self) -> bool:
        """Whether the frame has every view."""
        return all(view is not None for view in self.views)


class ViewSamples:
    """Frames by index, cut like in the embed stage of a bench. Several workers read them.

    Args:
        source: the data set.
        rows: (n,) int64, rows of the source.
        labels: (n,) int64 in 0..C-1, or -1.
        extractor: region extractor; it is built only if a view needs it.
        views: main view first.
        budget: bytes of memory for decoded frames; 0 keeps neither frames nor boxes, for frames that are read once.

    Raises:
        ConfigError: if the data set has embeddings and no images.
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
        self._extractor: PerWorker[Extractor] | None = None
        self._boxes: np.ndarray | None = None  # (n, R, 5)
        if any(view != FACE for view in views):
            self._extractor = PerWorker(lambda: EXTRACTORS.build(extractor))
            regions = len(self._extractor.value.regions)
            self._located = shared_array((len(rows),), bool)
            self._boxes = shared_array((len(rows), regions, 5), np.float32) if budget else None

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> ViewSample | None:
        """Return the views of a frame; None if it has no view."""
        frame = self.frames.read(index)
        if frame is None:
            return None
        boxes = self._boxes_of(index, frame)
        views = tuple(cut(frame, boxes, view) for view in self.cuts)
        if all(view is None for view in views):
            return None
        return ViewSample(views, int(self.labels[index]))

    def where(self, index: int) -> str:
        """Return the name given by the data set."""
        return self.frames.where(index)

    def _boxes_of(self, index: int, frame: np.ndarray) -> dict[str, np.ndarray]:
        """Return the boxes of a frame, located once, or by two workers at the same time to the same values."""
        if self._extractor is None:
            return {}
        extractor = self._extractor.value
        if self._boxes is not None and self._located[index]:
            return dict(zip(extractor.regions, self._boxes[index], strict=True))
        (boxes,) = locate(extractor, [frame]).boxes
        if self._boxes is not None:
            self._boxes[index] = list(boxes.values())
            self._located[index] = True
        return boxes


@dataclass(frozen=True)
class ViewTransform:
    """Prepares samples for one backbone.

    A view is resized to the backbone's size like in a bench, without keeping its aspect ratio; the box of a random crop
    is drawn at that size. Each view of a frame has its own crop; all views are mirrored, or none. A missing view is an
    image of the mean colour.

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
        """Build the transform for a backbone.

        Args:
            backbone: takes the images.
            least: minimum share of an image's area that a random crop keeps.
            flip: probability of mirroring.
        """
        red, green, blue = (round(255 * value) for value in backbone.mean)
        size = backbone.input_size
        return cls(size, backbone.interpolation, (red, green, blue), RandomCrop(size[0], (least, 1.0), flip=flip))

    def drawn(self, sample: ViewSample, rng: np.random.Generator) -> Sample:
        """Return the arrays for training: (H, W, 3) uint8 per view, then the label."""
        boxes = [self.crop.box(*self.size, rng) for _ in sample.views]
        flipped = rng.random() < self.crop.flip
        views = [self._cropped(view, box) for view, box in zip(sample.views, boxes, strict=True)]
        return (*(mirrored(view) if flipped else view for view in views), np.array(sample.label))

    def plain(self, sample: ViewSample) -> Sample:
        """Return the arrays without cropping and mirroring, as in a bench: (H, W, 3) uint8 per view."""
        return tuple(self._resized(view) for view in sample.views)

    def _cropped(self, view: np.ndarray | None, box: tuple[int, int, int, int]) -> np.ndarray:
        if view is None:
            return self._resized(view)
        top, left, height, width = box
        down, right = view.shape[0] / self.size[0], view.shape[1] / self.size[1]
        y, x = round(top * down), round(left * right)
        below, beyond = max(round((top + height) * down), y + 1), max(round((left + width) * right), x + 1)
        return self._resized(view[y:below, x:beyond])

    def _resized(self, view: np.ndarray | None) -> np.ndarray:
        if view is None:
            return np.broadcast_to(np.array(self.empty, np.uint8), (*self.size, 3))
        return resized(view, self.size, self.interpolation)
