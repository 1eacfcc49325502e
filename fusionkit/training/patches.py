"""Images as patches and back, the targets that MAE predicts, and the masks it draws."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_EPSILON = 1e-6  # keeps the variance of a flat patch from being divided by


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images into square patches.

    Shape:
        (B, 3, H, W) to (B, N, patch * patch * 3): patches row by row of the image; within a patch row by row, the three
        channels of a pixel together.
    """
    batch, channels, height, width = images.shape
    cells = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """Put patches together again: the inverse of :func:`patchify` for a grid of (rows, columns)."""
    batch, channels = len(patches), patches.shape[-1] // patch**2
    cells = patches.reshape(batch, *grid, patch, patch, channels)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, grid[0] * patch, grid[1] * patch)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch over its pixels and channels, each (B, N, 1).

    The variance is the unbiased one, as in the authors' released code.
    """
    return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + _EPSILON).sqrt()


def patches_kept(count: int, mask_ratio: float) -> int:
    """How many of ``count`` patches stay visible; the masked ones are rounded to the nearest whole number."""
    return count - round(count * mask_ratio)


def draw_order(count: int, rng: np.random.Generator) -> Tensor:
    """(count,) int64: the patches of one image in random order; the first ones stay visible, the others are masked."""
    return torch.from_numpy(rng.permutation(count))
