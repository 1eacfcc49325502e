"""Backbones as networks from uint8 views to embeddings, for ``fusionkit export``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """A network behind the normalisation of its input.

    Args:
        network: (B, 3, H, W) float32, normalised, to the embedding.
        mean: of each RGB channel, of values scaled to 0..1.
        std: of each RGB channel, of values scaled to 0..1.
        read: takes the network and its input, and returns the embedding. Default: call the network.
    """

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        read: Callable[[nn.Module, Tensor], Tensor] = lambda network, pixels: network(pixels),
    ) -> None:
        super().__init__()
        self.network, self._read = network, read
        center, spread = torch.tensor(mean).double(), torch.tensor(std).double()
        self.register_buffer("scale", (1 / (255 * spread)).float().view(1, 3, 1, 1))
        self.register_buffer("shift", (-center / spread).float().view(1, 3, 1, 1))

    def forward(self, views: Tensor) -> Tensor:
        """Embed (B, H, W, 3) uint8 RGB as (B, D), or (B, K, D) tokens, float32."""
        return self._read(self.network, views.permute(0, 3, 1, 2).float() * self.scale + self.shift)


def grey(views: Tensor) -> Tensor:
    """Convert (B, H, W, 3) uint8 RGB to (B, H, W) int32 grey values, by the integers that OpenCV computes with.

    Reference: ITU-R BT.601; 15 fractional bits as in OpenCV's ``cvtColor``.
    """
    red, green, blue = views.int().unbind(-1)
    return (red * 9798 + green * 19235 + blue * 3735 + 16384) // 32768


class HogNetwork(nn.Module):
    """Histograms of oriented gradients, computed as :class:`fusionkit_backbones.hog.Hog` does.

    Args:
        cell_size: height and width of a cell, in pixels.
        block_size: height and width of a block, in cells.
        orientations: bins of a cell.
        colour: use the channel with the strongest gradient instead of the grey image.
        bin_of_gradient: bin at index ``512 * d_row + d_column`` modulo its length.
        clip: of the first norm of a block.
        epsilon: of both norms.
    """

    def __init__(
        self,
        *,
        cell_size: int,
        block_size: int,
        orientations: int,
        colour: bool,
        bin_of_gradient: np.ndarray,
        clip: float,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.cell_size, self.block_size, self.orientations = cell_size, block_size, orientations
        self.colour, self.clip, self.epsilon = colour, clip, epsilon
        self.register_buffer("bins", torch.from_numpy(bin_of_gradient.astype(np.int64)))
        self.register_buffer("bin_numbers", torch.arange(orientations))

    def forward(self, views: Tensor) -> Tensor:
        """Embed (B, H, W, 3) uint8 RGB as (B, D) float32."""
        planes = [views[..., channel].int() for channel in range(3)] if self.colour else [grey(views)]
        code, squared = _gradient(planes[0])
        for plane in planes[1:]:
            rival_code, rival = _gradient(plane)
            code, squared = torch.where(rival > squared, rival_code, code), torch.maximum(rival, squared)
        return self._normalised(self._histograms(code, squared)).float()

    def _histograms(self, code: Tensor, squared: Tensor) -> Tensor:
        """Return the votes of each cell for each orientation, per pixel: (B, cells, cells, orientations) float64."""
        side = self.cell_size
        cells = code.shape[1] // side
        code, squared = (value[:, : cells * side, : cells * side] for value in (code, squared))
        bins = self.bins[torch.where(code < 0, code + len(self.bins), code).long()]
        votes = torch.where(bins[..., None] == self.bin_numbers, squared.double().sqrt()[..., None], 0.0)
        return votes.reshape(-1, cells, side, cells, side, self.orientations).sum((2, 4)) / side**2

    def _normalised(self, histograms: Tensor) -> Tensor:
        """Return the L2-Hys norm of every block: (B, cells, cells, orientations) to (B, D)."""
        size, blocks = self.block_size, histograms.shape[1] - self.block_size + 1
        parts = [histograms[:, i : i + blocks, j : j + blocks] for i in range(size) for j in range(size)]
        values = torch.stack(parts, 3).reshape(-1, blocks**2, size**2 * self.orientations)
        values = (values / self._norm(values)).clamp(max=self.clip)
        return (values / self._norm(values)).reshape(-1, blocks**2 * size**2 * self.orientations)

    def _norm(self, values: Tensor) -> Tensor:
        return (values.square().sum(2, keepdim=True) + self.epsilon**2).sqrt()


def _gradient(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Return code and squared magnitude (B, H, W) int32 of the gradient of a plane; it is zero at the border."""
    d_row = torch.cat([torch.zeros_like(plane[:, :1]), plane[:, 2:] - plane[:, :-2], torch.zeros_like(plane[:, :1])], 1)
    end = torch.zeros_like(plane[:, :, :1])
    d_column = torch.cat([end, plane[:, :, 2:] - plane[:, :, :-2], end], 2)
    return d_row * 512 + d_column, d_row * d_row + d_column * d_column


class DctNetwork(nn.Module):
    """Low frequencies of the DCT of each block of the grey view.

    Args:
        block: height and width of a block, in pixels.
        basis: (block * block, keep) float32: the kept frequencies of the orthonormal transform.
    """

    def __init__(self, block: int, basis: np.ndarray) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("basis", torch.from_numpy(basis))

    def forward(self, views: Tensor) -> Tensor:
        """Embed (B, H, W, 3) uint8 RGB as (B, D) float32."""
        count, side = views.shape[1] // self.block, self.block
        values = (grey(views).float() / 255).reshape(-1, count, side, count, side).transpose(2, 3)
        return (values.reshape(-1, count**2, side**2) @ self.basis).reshape(-1, count**2 * self.basis.shape[1])


class ProjectionNetwork(nn.Module):
    """A rectified projection of grey pixels, centred and scaled to length 1.

    Args:
        projection: (H * W, D) float32.
    """

    def __init__(self, projection: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("projection", torch.from_numpy(projection))

    def forward(self, views: Tensor) -> Tensor:
        """Embed (B, H, W, 3) uint8 RGB as (B, D) float32."""
        pixels = grey(views).float().flatten(1)
        pixels = pixels - pixels.mean(1, keepdim=True)
        pixels = pixels / pixels.square().sum(1, keepdim=True).sqrt().clamp(min=1e-6)
        return (pixels @ self.projection).relu()
