"""Views made into what a network takes: cropped at random and mirrored in training, resized alone afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.contracts.backbone import Backbone, Interpolation
from fusionkit.engine.resize import resized
from fusionkit.training.crop import RandomCrop
from fusionkit.training.view_samples import ViewSample

if TYPE_CHECKING:
    from torch import Tensor


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
