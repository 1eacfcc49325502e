"""Evaluation of a network: logits of every frame that has a view, and the dev scores of each epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.contracts.task import SingleLabel
from fusionkit.errors import CellError
from fusionkit.stats.intervals import accuracy
from fusionkit.training.views import ViewSamples, ViewTransform

if TYPE_CHECKING:
    from accelerate import Accelerator

    from fusionkit.training.joint import Classifier

BATCH = 64
_AHEAD = 2  # batches that are read ahead

_Views = tuple[tuple[Tensor, ...], bool] | None  # the views of a frame, and whether it has all; None without any


@dataclass(frozen=True, eq=False)
class FrameLogits:
    """Logits of n frames.

    Attributes:
        logits: (n, C) float32; rows of NaN for frames without any view.
        complete: (n,) bool: frames that have every view.
    """

    logits: np.ndarray
    complete: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """(n,) bool: frames that have a view."""
        there: np.ndarray = ~np.isnan(self.logits[:, 0])
        return there


def predict(
    classifier: Classifier, samples: ViewSamples, transform: ViewTransform, accelerator: Accelerator, workers: int
) -> FrameLogits:
    """Compute the logits of all samples. Processes share the frames, and each gets all logits.

    Raises:
        CellError: if a logit is not finite.
    """
    from accelerate.utils import broadcast, gather_object

    classifier.eval()
    for buffer in classifier.buffers():  # the running statistics of norms differ between processes
        broadcast(buffer)
    share = np.arange(accelerator.process_index, len(samples), accelerator.num_processes)
    classes = classifier.network.head.out_features
    found = np.full((len(samples), classes), np.nan, np.float32)
    complete = np.zeros(len(samples), dtype=bool)
    own = [
        (rows, *_predict_batch(classifier, views, accelerator, classes))
        for rows, views in _read(samples, transform, share, workers)
    ]
    for rows, logits, flags in gather_object(own):
        found[rows], complete[rows] = logits, flags
    return FrameLogits(found, complete)


def _read(
    samples: ViewSamples, transform: ViewTransform, rows: np.ndarray, workers: int
) -> Iterator[tuple[np.ndarray, list[_Views]]]:
    """Yield batches of rows with their views."""

    def read(row: int) -> _Views:
        sample = samples.read(row)
        return None if sample is None else (transform.plain(sample), sample.complete)

    waiting: deque[tuple[np.ndarray, list[Future[_Views]]]] = deque()
    with ThreadPoolExecutor(workers, "fusionkit-images") as pool:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            waiting.append((batch, [pool.submit(read, row) for row in batch.tolist()]))
            if len(waiting) > _AHEAD:
                first, futures = waiting.popleft()
                yield first, [future.result() for future in futures]
        for first, futures in waiting:
            yield first, [future.result() for future in futures]


def _predict_batch(
    classifier: Classifier, frames: list[_Views], accelerator: Accelerator, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits, and which frames are complete.

    The batch is padded to its full size: the logits of a row do not depend on the number of rows in its batch.
    """
    logits = np.full((len(frames), classes), np.nan, np.float32)
    there = [index for index, frame in enumerate(frames) if frame is not None]
    if there:
        views = list(zip(*(frame[0] for frame in frames if frame is not None), strict=True))
        padded = [torch.stack([*view, *[torch.zeros_like(view[0])] * (BATCH - len(view))]) for view in views]
        with torch.inference_mode(), accelerator.autocast():
            values = classifier.logits([view.to(accelerator.device) for view in padded])
        logits[there] = values[: len(there)].float().cpu().numpy()
        if not np.isfinite(logits[there]).all():
            raise CellError("a logit is not finite", hint="choose a lower learning rate, or more warm-up")
    return logits, np.array([frame is not None and frame[1] for frame in frames])


@dataclass(frozen=True)
class EpochScore:
    """The score of one epoch.

    Attributes:
        epoch: from 1.
        loss: mean over its steps.
        macro_f1: on the labelled dev frames that have a view, 0..1.
        accuracy: likewise.
    """

    epoch: int
    loss: float
    macro_f1: float
    accuracy: float

    @classmethod
    def of(cls, epoch: int, losses: Sequence[float], predicted: FrameLogits, labels: np.ndarray) -> EpochScore:
        """Score an epoch.

        Args:
            epoch: from 1.
            losses: of its steps.
            predicted: logits of the labelled dev frames.
            labels: of these frames.
        """
        task = SingleLabel(predicted.logits.shape[1])
        seen = predicted.seen
        counts = task.counts(labels[seen], predicted.logits[seen].argmax(1))
        return cls(epoch, float(np.mean(losses)), task.metric(counts), float(accuracy(counts)))

    def describe(self) -> dict[str, Any]:
        """Return the score as plain data."""
        return asdict(self)

    def by(self, select: str) -> float:
        """Return the metric that selects the epoch: ``macro-f1`` or ``accuracy``."""
        return self.accuracy if select == "accuracy" else self.macro_f1


def best_of(scores: Sequence[EpochScore], select: str) -> EpochScore:
    """Return the best epoch; of equal ones the first."""
    return max(scores, key=lambda score: score.by(select))


def epochs_csv(scores: Sequence[EpochScore]) -> bytes:
    """Return ``epochs.csv``: one line per epoch."""
    lines = [f"{one.epoch},{one.loss!r},{one.macro_f1!r},{one.accuracy!r}\n" for one in scores]
    return "".join(["epoch,loss,dev_macro_f1,dev_accuracy\n", *lines]).encode()
