"""Random resized crops and flips of single images, drawn from each sample's own generator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Of ImageNet, per RGB channel of values in 0..1, as in MAE and MAE-Face.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
INTERPOLATION = "bicubic"

_TRIES = 10


@dataclass(frozen=True)
class RandomCrop:
    """A random crop of an image, resized to a square and mirrored at random.

    torchvision's transform draws from torch's global generator. Here the box is drawn from the sample's own.

    Attributes:
        size: side of the result in pixels.
        scale: minimum and maximum share of the image's area.
        ratio: minimum and maximum width by height of the crop.
        flip: probability of mirroring.

    Reference:
        Szegedy et al., Going Deeper with Convolutions, CVPR 2015. The box is drawn as by torchvision's
        ``RandomResizedCrop``.
    """

    size: int
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Crop, resize and mirror.

        Args:
            image: RGB uint8 (H, W, 3).
            rng: draws the box, then the flip.

        Returns:
            (size, size, 3) uint8.
        """
        box = self.box(image.shape[0], image.shape[1], rng)
        resized = resize(image, box, self.size)
        return mirrored(resized) if rng.random() < self.flip else resized

    def box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width) of the crop, in pixels."""
        for _ in range(_TRIES):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        return central_box(height, width, self.ratio)


def central_box(height: int, width: int, ratio: tuple[float, float] = (1.0, 1.0)) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of the largest central crop whose width by height is within ``ratio``."""
    h, w = height, width
    if width / height < ratio[0]:
        h = max(round(width / ratio[0]), 1)
    elif width / height > ratio[1]:
        w = max(round(height * ratio[1]), 1)
    return (height - h) // 2, (width - w) // 2, h, w


def mirrored(image: np.ndarray) -> np.ndarray:
    """Mirror an image (H, W, 3) left to right."""
    import cv2

    found: np.ndarray = cv2.flip(image, 1)
    return found


def resize(image: np.ndarray, box: tuple[int, int, int, int], size: int) -> np.ndarray:
    """Crop a box and resize it bicubically with antialiasing: (size, size, 3) uint8."""
    import torch
    from torch.nn.functional import interpolate

    top, left, height, width = box
    # With a batch of one and the channels last, torch neither unpacks the pixels nor packs them again.
    part = image[None, top : top + height, left : left + width].copy()
    pixels = torch.from_numpy(part).permute(0, 3, 1, 2)
    resized = interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    found: np.ndarray = resized[0].permute(1, 2, 0).numpy()
    return found
