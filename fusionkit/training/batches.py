"""Batches in an order that the seed decides, read and transformed by threads ahead of their use.

What a step sees depends on the seed and the step alone: not on where a run was resumed, how many processes share the
batch, how often gradients are accumulated, or how many threads read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fusionkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

# A sample: what was read (an image, or several with a label) and a generator of its own to the tensors of the model.
Transform = Callable[[Any, np.random.Generator], tuple["Tensor", ...]]

_ORDER, _SAMPLE = 1, 2  # keep the streams of random numbers apart
_AHEAD = 2  # micro-batches that are read ahead
_TRIES = 100


class Readable(Protocol):
    """What can be trained on, by number; reading is safe from several threads."""

    def __len__(self) -> int:
        """How many there are."""

    def read(self, index: int) -> Any:
        """What the transform takes; None where it cannot be read."""

    def where(self, index: int) -> str:
        """How to name one to a person."""


@dataclass(frozen=True)
class Share:
    """The part of each batch that one process works on.

    Attributes:
        rank: number of the process.
        world: how many processes there are.
        accumulation: micro-batches a step, whose gradients are added up.
    """

    rank: int = 0
    world: int = 1
    accumulation: int = 1

    def positions(self, batch_size: int) -> list[np.ndarray]:
        """Places in the whole batch, for each micro-batch of this process.

        Raises:
            ConfigError: if the batch cannot be divided evenly.
        """
        parts = self.world * self.accumulation
        if batch_size % parts:
            raise ConfigError(
                f"recipe: batch_size = {batch_size} cannot be divided among {self.world} process(es) "
                f"with {self.accumulation} micro-batch(es) each",
                hint=f"a multiple of {parts}",
            )
        pieces = np.split(np.arange(batch_size), parts)
        return [pieces[index * self.world + self.rank] for index in range(self.accumulation)]


@dataclass(frozen=True, eq=False)
class Batch:
    """A micro-batch.

    Attributes:
        rows: (b,) int64: which images these are, after unreadable ones were replaced.
        tensors: each (b, ...): what the transform gave.
    """

    rows: np.ndarray
    tensors: tuple[Tensor, ...]


@dataclass(eq=False)
class Batches:
    """The batches of a run.

    An image that cannot be read is named in ``unreadable``, and another one, drawn by the sample's own generator, takes
    its place. What remains of an epoch after its last whole batch is left out of it.

    Attributes:
        images: what is trained on.
        transform: makes a sample.
        batch_size: images a step, over all processes.
        seed: draws order and samples.
        share: what this process works on.
        workers: threads that read and transform.
        unreadable: names of images that could not be read, as far as they were met.

    Raises:
        ConfigError: if the batch cannot be divided evenly.
        DataError: if there are fewer images than one batch takes.
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
                f"{len(self.images)} images are fewer than one batch takes ({self.batch_size})",
                hint="a smaller recipe.batch_size, or more data",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the images."""
        return len(self.images) // self.batch_size

    def rows(self, step: int) -> np.ndarray:
        """(batch_size,) int64: the images of a step, in the order of the whole batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._drawn[0] != epoch:  # kept for the epoch: there may be millions of images
            order = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(len(self.images))
            self._drawn = (epoch, order)
        return self._drawn[1][place * self.batch_size : (place + 1) * self.batch_size]

    def steps(self, first: int, last: int) -> Iterator[list[Batch]]:
        """The micro-batches of this process, step by step, from ``first`` up to and without ``last``.

        Raises:
            DataError: if image after image cannot be read.
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
        """Each micro-batch as pieces for the threads."""
        for step in range(first, last):
            rows = self.rows(step)
            for positions in self._positions:
                pieces = np.array_split(positions, min(self.workers, len(positions)))
                yield [pool.submit(self._samples, step, piece, rows[piece]) for piece in pieces]

    def _samples(self, step: int, positions: np.ndarray, rows: np.ndarray) -> Batch:
        import torch

        shown, samples = [], []
        for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
            rng = np.random.default_rng([self.seed, _SAMPLE, step, position])
            readable, image = self._readable(row, rng)
            shown.append(readable)
            samples.append(self.transform(image, rng))
        return Batch(np.array(shown), tuple(map(torch.stack, zip(*samples, strict=True))))

    def _readable(self, row: int, rng: np.random.Generator) -> tuple[int, Any]:
        """The image of a row, or of one drawn in its place."""
        first = row
        for _ in range(_TRIES):
            image = self.images.read(row)
            if image is not None:
                return row, image
            self.unreadable.add(self.images.where(row))
            row = int(rng.integers(len(self.images)))
        raise DataError(f"{self.images.where(first)} cannot be read, nor {_TRIES - 1} images drawn in its place")


def _joined(pieces: list[Future[Batch]]) -> Batch:
    import torch

    done = [piece.result() for piece in pieces]
    if len(done) == 1:
        return done[0]
    columns = zip(*(batch.tensors for batch in done), strict=True)
    return Batch(np.concatenate([batch.rows for batch in done]), tuple(map(torch.cat, columns)))
