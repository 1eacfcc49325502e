"""The discrete cosine transform of blocks: a training-free descriptor of shading."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fusionkit.contracts import Backbone
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


class Dct(Backbone):
    """Low frequencies of the two-dimensional DCT-II of each block of the grey view: no training, no weights.

    Each block keeps the ``keep`` lowest frequencies after the constant one, in zigzag order, so that overall brightness
    has no effect. The transform is orthonormal and grey values are in 0..1.

    Args:
        size: height and width in pixels to which a view is resized; a multiple of ``block``.
        block: height and width of a block, in pixels.
        keep: frequencies per block, at most block * block - 1.

    Raises:
        ConfigError: if ``block`` does not divide ``size``, or ``keep`` is too large.

    Reference: Ekenel and Stiefelhagen 2005, "Local appearance based face recognition using discrete cosine transform"
    (EUSIPCO), on the transform of Ahmed, Natarajan and Rao 1974 (https://doi.org/10.1109/T-C.1974.223784).
    """

    examples = ({}, {"size": 32, "block": 16, "keep": 20})

    def __init__(self, size: Count = 48, block: Count = 8, keep: Count = 10) -> None:
        if size % block:
            raise ConfigError(f"dct: option block = {block} must divide size = {size}")
        if keep > block * block - 1:
            raise ConfigError(f"dct: option keep = {keep} must be at most {block * block - 1}, with block = {block}")
        self.size, self.block, self.keep = size, block, keep

    @property
    def dim(self) -> int:
        """D: blocks x blocks x keep."""
        return (self.size // self.block) ** 2 * self.keep

    @property
    def input_size(self) -> tuple[int, int]:
        """(size, size)."""
        return self.size, self.size

    def embed(self, views: np.ndarray) -> np.ndarray:
        """Describe a batch: (B, size, size, 3) uint8 RGB to (B, D) float32, block rows, block columns, frequencies."""
        from scipy.fft import dctn

        count = self.size // self.block
        grey = np.stack([cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) for view in views]).astype(np.float32) / 255
        blocks = grey.reshape(-1, count, self.block, count, self.block).swapaxes(2, 3)
        spectrum = dctn(blocks, axes=(3, 4), norm="ortho").reshape(len(views), count, count, -1)
        kept: np.ndarray = spectrum[..., self._zigzag].reshape(len(views), -1)
        return kept

    def as_network(self, *, tokens: bool) -> nn.Module:
        """Return the transform as a network; there are no tokens."""
        from scipy.fft import dctn

        from fusionkit_backbones.networks import DctNetwork

        pixels = np.eye(self.block**2).reshape(-1, self.block, self.block)
        spectra = dctn(pixels, axes=(1, 2), norm="ortho").reshape(len(pixels), -1)
        return DctNetwork(self.block, spectra[:, self._zigzag].astype(np.float32))

    @cached_property
    def _zigzag(self) -> np.ndarray:
        """(keep,) indices of the lowest frequencies in a flat block, without the constant one."""
        rows, columns = np.divmod(np.arange(self.block**2), self.block)
        diagonal = rows + columns
        along = np.where(diagonal % 2, rows, columns)  # every other diagonal runs upwards
        return np.lexsort((along, diagonal))[1 : self.keep + 1]
