"""Batches in an order drawn from the seed, read and transformed ahead by threads.

The samples of a step depend on the seed and the step alone, not on the number of processes, micro-batches or threads,
nor on where a run was resumed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from fusionkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

# Turns what was read (an image, or views with a label) into tensors for the model; the generator is the sample's own.
Transform = Callable[[Any, np.random.Generator], tuple["Tensor", ...]]

_ORDER, _SAMPLE = 1, 2  # separate streams of random numbers
_AHEAD = 2  # micro-batches that are read ahead
_TRIES = 100


class Readable(Protocol):
    """Training data by index. Reading is safe from several threads."""

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
        tensors: each (b, ...): output of the transform.
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
        workers: threads that read and transform.
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
        """Yield this process's micro-batches of each step from ``first`` to ``last - 1``.

        Raises:
            DataError: if an image and many drawn in its place cannot be read.
        """
        waiting: deque[list[Future[Batch]]] = deque()
        with ThreadPoolExecutor(self.workers, "fusionkit-images") as pool:
            try:
                submitted = self._submitted(pool, first, last)
                for _ in range(first, last):
                    ready: list[Batch] = []
                    for _ in self._positions:
                        waiting += islice(submitted, 1 + _AHEAD - len(waiting))
                        ready.append(_joined(waiting.popleft()))
                    yield ready
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _submitted(self, pool: ThreadPoolExecutor, first: int, last: int) -> Iterator[list[Future[Batch]]]:
        """Submit each micro-batch in pieces, one per thread."""
        for step in range(first, last):
            rows = self.rows(step)
            for positions in self._positions:
                pieces = np.array_split(positions, min(self.workers, len(positions)))
                yield [pool.submit(self._samples, step, piece, rows[piece]) for piece in pieces]

    def _samples(self, step: int, positions: np.ndarray, rows: np.ndarray) -> Batch:
        found, samples = [], []
        for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
            rng = np.random.default_rng([self.seed, _SAMPLE, step, position])
            readable, image = self._readable(row, rng)
            found.append(readable)
            samples.append(self.transform(image, rng))
        return Batch(np.array(found), tuple(map(torch.stack, zip(*samples, strict=True))))

    def _readable(self, row: int, rng: np.random.Generator) -> tuple[int, Any]:
        """Return a row and its image; if it is unreadable, those of a row drawn in its place."""
        first = row
        for _ in range(_TRIES):
            image = self.images.read(row)
            if image is not None:
                return row, image
            self.unreadable.add(self.images.where(row))
            row = int(rng.integers(len(self.images)))
        raise DataError(f"{self.images.where(first)} and {_TRIES - 1} images drawn in its place cannot be read")


def _joined(pieces: list[Future[Batch]]) -> Batch:
    done = [piece.result() for piece in pieces]
    if len(done) == 1:
        return done[0]
    columns = zip(*(batch.tensors for batch in done), strict=True)
    return Batch(np.concatenate([batch.rows for batch in done]), tuple(map(torch.cat, columns)))
