"""Batches in an order drawn from the seed, read and transformed ahead by workers.

The samples of a step depend on the seed and the step alone, not on the number of processes, micro-batches or workers,
nor on where a run was resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from fusionkit.errors import ConfigError, DataError
from fusionkit.training.loader import Loader, Sample

if TYPE_CHECKING:
    from torch import Tensor

# Turns what was read (an image, or views with a label) into arrays, images as (H, W, 3) uint8. All samples have the
# same shapes. The generator is the sample's own.
Transform = Callable[[Any, np.random.Generator], Sample]

_ORDER, _SAMPLE = 1, 2  # separate streams of random numbers
_TRIES = 100


class Readable(Protocol):
    """Training data by index. Several workers read them."""

    def __len__(self) -> int:
        """Return the number of items."""

    def read(self, index: int) -> Any:
        """Return the input of the transform; None if the item cannot be read."""

    def where(self, index: int) -> str:
        """Return the name of an item, for messages."""


@dataclass(frozen=True)
class Share:
    """One process's part of each batch.

    Attributes:
        rank: of the process, from 0.
        world: number of processes.
        accumulation: micro-batches per step; their gradients are added.
    """

    rank: int = 0
    world: int = 1
    accumulation: int = 1

    def positions(self, batch_size: int) -> list[np.ndarray]:
        """Return the positions in the whole batch, for each micro-batch of this process.

        Raises:
            ConfigError: if the batch cannot be divided evenly.
        """
        parts = self.world * self.accumulation
        if batch_size % parts:
            raise ConfigError(
                f"recipe: batch_size = {batch_size} must be a multiple of {parts}, for {self.world} process(es) with "
                f"{self.accumulation} micro-batch(es) each"
            )
        pieces = np.split(np.arange(batch_size), parts)
        return [pieces[index * self.world + self.rank] for index in range(self.accumulation)]


@dataclass(frozen=True, eq=False)
class Batch:
    """A micro-batch.

    Attributes:
        rows: (b,) int64: indices of the images, after replacement of unreadable ones.
        tensors: each (b, ...): output of the transform, images as (b, 3, H, W). They are in shared memory, and valid
            until the next step is asked for.
    """

    rows: np.ndarray
    tensors: tuple[Tensor, ...]


@dataclass(eq=False)
class Batches:
    """The batches of a run.

    An image that cannot be read is added to ``unreadable`` and replaced by one that the sample's own generator draws.
    The incomplete last batch of an epoch is dropped.

    Attributes:
        images: training data.
        transform: makes a sample.
        batch_size: images per step, over all processes.
        seed: of order and samples.
        share: this process's part of each batch.
        workers: how many read and transform.
        device: that the tensors are copied to.
        unreadable: names of images found unreadable so far.

    Raises:
        ConfigError: if the batch cannot be divided evenly.
        DataError: if there are fewer images than ``batch_size``.
    """

    images: Readable
    transform: Transform
    batch_size: int
    seed: int
    share: Share = field(default_factory=Share)
    workers: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    unreadable: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._drawn = (-1, np.empty(0, np.int64))
        self._positions = self.share.positions(self.batch_size)
        if len(self.images) < self.batch_size:
            raise DataError(
                f"{len(self.images)} images are fewer than recipe.batch_size = {self.batch_size}",
                hint="choose a smaller recipe.batch_size, or add data",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Complete batches per epoch."""
        return len(self.images) // self.batch_size

    def rows(self, step: int) -> np.ndarray:
        """Return (batch_size,) int64: the indices of a step's images, in the order of the whole batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._drawn[0] != epoch:  # drawn once per epoch: there may be millions of images
            order = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(len(self.images))
            self._drawn = (epoch, order)
        return self._drawn[1][position * self.batch_size : (position + 1) * self.batch_size]

    def steps(self, first: int, last: int) -> Iterator[list[Batch]]:
        """Start the workers, and yield this process's micro-batches of each step from ``first`` to ``last - 1``.

        Raises:
            CellError: if a sample cannot be made.
            DataError: if an image and many drawn in its place cannot be read.
        """
        if first == last:
            return iter(())
        parts = len(self._positions)
        loader = Loader(
            self._make,
            range(first * parts, last * parts),
            self._sample(first, 0, int(self.rows(first)[0]), set())[1],
            len(self._positions[0]),
            self.workers,
            self.device,
            held=parts,
        )
        loader.start()
        return self._received(loader, last - first)

    def _received(self, loader: Loader, steps: int) -> Iterator[list[Batch]]:
        with loader:
            made = iter(loader)
            for _ in range(steps):
                ready = []
                for (rows, unreadable), tensors in islice(made, len(self._positions)):
                    self.unreadable |= unreadable
                    ready.append(Batch(rows, tuple(map(channels_first, tensors))))
                yield ready

    def _make(self, number: int, arrays: list[np.ndarray]) -> tuple[np.ndarray, set[str]]:
        """Write the samples of a micro-batch; return the rows that are shown, and the names of unreadable images."""
        step, part = divmod(number, len(self._positions))
        positions, unreadable = self._positions[part], set[str]()
        shown = self.rows(step)[positions]
        for index, position in enumerate(positions.tolist()):
            shown[index], sample = self._sample(step, position, int(shown[index]), unreadable)
            for array, value in zip(arrays, sample, strict=True):
                array[index] = value
        return shown, unreadable

    def _sample(self, step: int, position: int, row: int, unreadable: set[str]) -> tuple[int, Sample]:
        """Return the row that is shown at a position of a step, and its sample."""
        rng = np.random.default_rng([self.seed, _SAMPLE, step, position])
        row, image = self._readable(row, rng, unreadable)
        return row, self.transform(image, rng)

    def _readable(self, row: int, rng: np.random.Generator, unreadable: set[str]) -> tuple[int, Any]:
        """Return a row and its image; if it is unreadable, those of a row drawn in its place."""
        first = row
        for _ in range(_TRIES):
            image = self.images.read(row)
            if image is not None:
                return row, image
            unreadable.add(self.images.where(row))
            row = int(rng.integers(len(self.images)))
        raise DataError(f"{self.images.where(first)} and {_TRIES - 1} images drawn in its place cannot be read")


def channels_first(tensor: Tensor) -> Tensor:
    """Return images (b, H, W, 3) as (b, 3, H, W), without a copy; other tensors as they are."""
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor
