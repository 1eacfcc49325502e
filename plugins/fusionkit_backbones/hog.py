"""Histograms of oriented gradients: a training-free descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from fusionkit.contracts import Backbone
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

LEVELS = 256  # of a uint8 channel: each component of a gradient is one of 511 integers
CLIP = 0.2
EPSILON = 1e-5
CHUNK_PIXELS = 2**15  # views are processed in chunks whose temporaries stay in the cache of a core


class Hog(Backbone):
    """Histograms of oriented gradients (HOG): no training, no weights.

    Gradients are central differences, zero at the image border; each pixel votes with its magnitude for one of
    ``orientations`` unsigned orientations of its cell; overlapping blocks of cells are normalised by L2-Hys (L2, clip
    at 0.2, L2 again). Equal to scikit-image's ``hog`` with the same options, to float32 rounding. The only exception is
    ``colour`` where channels tie exactly: it takes the first one, scikit-image the one that rounding makes longer.

    Args:
        size: height and width in pixels to which a view is resized.
        orientations: bins over 0..180 degrees.
        cell_size: height and width of a cell, in pixels.
        block_size: height and width of a block, in cells.
        colour: use at each pixel the gradient of the channel in which it is strongest, instead of that of the ITU-R
            BT.601 grey image.

    Raises:
        ConfigError: if no block fits into a view.

    Reference:
        Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005
        (https://doi.org/10.1109/CVPR.2005.177).
    """

    examples = ({}, {"size": 32, "colour": True})

    def __init__(
        self,
        size: Count = 48,
        orientations: Count = 9,
        cell_size: Count = 8,
        block_size: Count = 2,
        colour: bool = False,
    ) -> None:
        if size < cell_size * block_size:
            raise ConfigError(
                f"hog: option size = {size} must be at least cell_size x block_size = {cell_size * block_size}"
            )
        self.size = size
        self.orientations = orientations
        self.cell_size = cell_size
        self.block_size = block_size
        self.colour = colour
        self._bin_of_gradient = _bin_of_gradient(orientations)

    @property
    def dim(self) -> int:
        """D: blocks x blocks x block_size x block_size x orientations."""
        blocks = self.size // self.cell_size - self.block_size + 1
        return blocks**2 * self.block_size**2 * self.orientations

    @property
    def input_size(self) -> tuple[int, int]:
        """(size, size)."""
        return self.size, self.size

    def embed(self, views: np.ndarray) -> np.ndarray:
        """Describe a batch.

        Args:
            views: (B, size, size, 3) uint8 RGB.

        Returns:
            (B, D) float32 in 0..1: block rows, block columns, cell rows and columns in a block, orientations.
        """
        out = np.empty((len(views), self.dim), np.float32)
        step = max(1, CHUNK_PIXELS // self.size**2)
        voting = _Voting(min(step, len(views)), self.size, self.cell_size, self._bin_of_gradient, self.orientations)
        for start in range(0, len(views), step):
            chunk = np.ascontiguousarray(views[start : start + step])
            _normalise(voting.histograms(chunk, self.colour), self.block_size, out[start : start + step])
        return out

    def as_network(self, *, tokens: bool) -> nn.Module:
        """Return the descriptor as a network; there are no tokens."""
        from fusionkit_backbones.networks import HogNetwork

        return HogNetwork(
            cell_size=self.cell_size,
            block_size=self.block_size,
            orientations=self.orientations,
            colour=self.colour,
            bin_of_gradient=self._bin_of_gradient,
            clip=CLIP,
            epsilon=EPSILON,
        )


class _Voting:
    """Histograms of views, in buffers that all chunks of a batch reuse: new pages cost more than the sums.

    Pixels are float32: integers of this size are exact in it, and need no conversion.

    Args:
        batch: most views of a chunk.
        size: pixels along a side of a view.
        cell_size: pixels along a side of a cell.
        bin_of_gradient: from :func:`_bin_of_gradient`.
        orientations: bins of a cell.
    """

    def __init__(self, batch: int, size: int, cell_size: int, bin_of_gradient: np.ndarray, orientations: int) -> None:
        self.bin_of_gradient = bin_of_gradient
        self.cell_area = cell_size**2
        self.histogram_shape = (size // cell_size, size // cell_size, orientations)
        self.first_bin = _first_bin(batch, size, cell_size, orientations)
        pixels = (batch, size, size)
        self.bytes = np.empty(pixels, np.uint8)
        self.plane, self.d_row, self.d_column, self.scratch = (np.zeros(pixels, np.float32) for _ in range(4))
        self.code, self.squared, self.rival_code, self.rival_squared = (np.empty(pixels, np.float32) for _ in range(4))
        self.index, self.vote = np.empty(pixels, np.intp), np.empty(pixels, np.intp)
        self.magnitude = np.empty(pixels, np.float64)

    def histograms(self, views: np.ndarray, colour: bool) -> np.ndarray:
        """Return the votes of each cell for each orientation, per pixel: (B, cells, cells, orientations) float64."""
        b, size = views.shape[:2]
        rows = views.reshape(b * size, size, 3)  # one tall image: one call for all views
        if colour:
            self._strongest_gradient(rows, b)
        else:
            cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY, dst=self.bytes[:b].reshape(b * size, size))
            self._gradient(self.bytes[:b], self.code[:b], self.squared[:b])
        index, vote, magnitude = self.index[:b], self.vote[:b], self.magnitude[:b]
        np.copyto(index, self.code[:b], casting="unsafe")
        np.take(self.bin_of_gradient, index, out=vote, mode="wrap")  # a negative code counts from the table's end
        vote += self.first_bin[:b]
        np.sqrt(self.squared[:b], out=magnitude)
        length = b * int(np.prod(self.histogram_shape))
        votes = np.bincount(vote.ravel(), weights=magnitude.ravel(), minlength=length)[:length]
        return votes.reshape(b, *self.histogram_shape) / self.cell_area

    def _strongest_gradient(self, rows: np.ndarray, b: int) -> None:
        """Compute the gradient of each pixel's strongest channel, the first of equally strong ones."""
        plane, code, squared = self.bytes[:b], self.code[:b], self.squared[:b]
        rival_code, rival_squared, stronger = self.rival_code[:b], self.rival_squared[:b], self.scratch[:b]
        for channel in range(3):
            cv2.extractChannel(rows, channel, dst=plane.reshape(rows.shape[:2]))
            if channel == 0:
                self._gradient(plane, code, squared)
                continue
            self._gradient(plane, rival_code, rival_squared)
            # Sums instead of a masked copy: which channel wins is noise to the branch predictor.
            np.greater(rival_squared, squared, out=stronger)
            rival_code -= code
            rival_code *= stronger
            code += rival_code
            np.maximum(squared, rival_squared, out=squared)

    def _gradient(self, channel: np.ndarray, code: np.ndarray, squared: np.ndarray) -> None:
        """Compute code and squared magnitude (B, H, W) of the gradient of a channel (B, H, W)."""
        b = len(channel)
        plane, d_row, d_column = self.plane[:b], self.d_row[:b], self.d_column[:b]
        np.copyto(plane, channel)
        np.subtract(plane[:, 2:], plane[:, :-2], out=d_row[:, 1:-1])  # the first and last row stay zero
        # One run across the ends of all rows is several times faster than row by row; the ends are corrected after it.
        flat = plane.reshape(-1)
        np.subtract(flat[2:], flat[:-2], out=d_column.reshape(-1)[1:-1])
        d_column[:, :, [0, -1]] = 0
        np.multiply(d_row, 2 * LEVELS, out=code)
        code += d_column
        np.multiply(d_row, d_row, out=squared)
        squared += np.multiply(d_column, d_column, out=self.scratch[:b])


def _normalise(histograms: np.ndarray, block_size: int, out: np.ndarray) -> None:
    """Write the L2-Hys norm of every block of ``histograms`` (B, cells, cells, orientations) into ``out`` (B, D)."""
    blocks = np.lib.stride_tricks.sliding_window_view(histograms, (block_size, block_size), axis=(1, 2))
    # (B, rows, columns, orientations, block, block) to the order of the descriptor.
    blocks = blocks.transpose(0, 1, 2, 4, 5, 3)
    values = np.array(blocks, order="C").reshape(len(out), blocks.shape[1] ** 2, -1)
    values /= _norm(values)
    np.minimum(values, CLIP, out=values)
    np.divide(values, _norm(values), out=out.reshape(values.shape))


def _norm(values: np.ndarray) -> np.ndarray:
    squared = np.einsum("bkd,bkd->bk", values, values)
    return np.sqrt(squared + EPSILON**2)[..., None]


def _bin_of_gradient(orientations: int) -> np.ndarray:
    """Return the bin of every gradient of a uint8 image, at index ``512 * d_row + d_column`` modulo its length."""
    steps = np.arange(-LEVELS, LEVELS)
    d_row, d_column = np.meshgrid(steps, steps, indexing="ij")
    degrees = np.rad2deg(np.arctan2(d_row, d_column)) % 180.0
    edges = 180.0 / orientations * np.arange(1, orientations)
    table = np.empty(4 * LEVELS**2, np.intp)
    table[2 * LEVELS * d_row + d_column] = np.searchsorted(edges, degrees, side="right")
    return table


def _first_bin(batch: int, size: int, cell_size: int, orientations: int) -> np.ndarray:
    """(batch, size, size) first bin of each pixel's cell; past the last whole cell, a bin after all others."""
    cells = size // cell_size
    cell = np.arange(size) // cell_size
    inside = cell < cells
    first = (np.arange(batch)[:, None, None] * cells**2 + cell[:, None] * cells + cell) * orientations
    return np.where(inside[:, None] & inside, first, batch * cells**2 * orientations)
