"""Batches of features as tensors on the device where a head is trained: of what is held there, or of a stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fusionkit.contracts.fusion import Views
from fusionkit.engine.features import AnyPart
from fusionkit.engine.part import Part
from fusionkit.engine.streamed import StreamedPart
from fusionkit.engine.treated import TreatedPart

Tensors = tuple[Views, Views]  # views, present


def batches_of(part: AnyPart, device: str) -> HeldBatches | StreamedBatches:
    """The batches of a part; the same values in the same order, wherever the part is."""
    return HeldBatches(part, device) if isinstance(part, Part) else StreamedBatches(part, device)


class HeldBatches:
    """Batches of features that are on the device as a whole.

    Args:
        part: the features.
        device: where.
    """

    def __init__(self, part: Part, device: str) -> None:
        self.device = device
        self.rows = len(part.seen)
        self.views, self.present = _tensors(part, device)

    def drawn(self, order: Tensor, size: int) -> Iterator[Tensors]:
        """The rows that ``order`` (n,) names, ``size`` at a time."""
        for rows in torch.split(order.to(self.device), size):
            yield _at(self.views, rows), _at(self.present, rows)

    def all(self, size: int) -> Iterator[Tensors]:
        """Every row in order, ``size`` at a time."""
        for start in range(0, self.rows, size):
            rows = slice(start, start + size)
            yield _at(self.views, rows), _at(self.present, rows)


class StreamedBatches:
    """Batches of features that are read when their turn comes.

    Args:
        part: the features.
        device: where batches are wanted.
    """

    def __init__(self, part: StreamedPart | TreatedPart, device: str) -> None:
        self.part = part
        self.device = device

    def drawn(self, order: Tensor, size: int) -> Iterator[Tensors]:
        """As :meth:`HeldBatches.drawn`."""
        for part in self.part.batches(rows.numpy() for rows in torch.split(order, size)):
            yield _tensors(part, self.device)

    def all(self, size: int) -> Iterator[Tensors]:
        """As :meth:`HeldBatches.all`."""
        return self.drawn(torch.arange(len(self.part.seen)), size)


def _tensors(part: Part, device: str) -> Tensors:
    return _on(part.views, device), _on(part.present, device)


def _on(arrays: dict[str, np.ndarray], device: str) -> Views:
    return {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}


def _at(values: Views, rows: Tensor | slice) -> Views:
    return {name: value[rows] for name, value in values.items()}
