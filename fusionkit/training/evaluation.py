"""Evaluation of a network: logits of every frame that has a view, and the dev scores of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fusionkit.contracts.task import Task
from fusionkit.errors import CellError
from fusionkit.training.batches import channels_first
from fusionkit.training.loader import Loader
from fusionkit.training.stepper import on_device
from fusionkit.training.views import ViewSample, ViewSamples, ViewTransform

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from fusionkit.training.joint import Classifier

BATCH = 64


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


class Evaluator:
    """Computes the logits of all samples, as often as it is asked to. Processes share the frames, each gets all logits.

    Args:
        samples: frames.
        transform: its plain form is used.
        accelerator: processes and device.
        workers: how many read.
    """

    def __init__(self, samples: ViewSamples, transform: ViewTransform, accelerator: Accelerator, workers: int) -> None:
        self.samples = samples
        self.transform = transform
        self.accelerator = accelerator
        self._share = np.arange(accelerator.process_index, len(samples), accelerator.num_processes)
        numbers = range(-(-len(self._share) // BATCH))
        blank = transform.plain(ViewSample((None,) * len(samples.cuts), 0))
        self._loader = Loader(self._make, numbers, blank, BATCH, workers, accelerator.device)

    def start(self) -> None:
        """Start the workers before the first call, see :meth:`Loader.start`."""
        self._loader.start()

    def close(self) -> None:
        """End the workers."""
        self._loader.close()

    def __call__(self, classifier: Classifier) -> FrameLogits:
        """Compute the logits.

        Raises:
            CellError: if a logit is not finite.
        """
        from accelerate.utils import broadcast, gather_object

        classifier.eval()
        for buffer in classifier.buffers():  # the running statistics of norms differ between processes
            broadcast(buffer)
        classes = classifier.network.head.out_features
        found = np.full((len(self.samples), classes), np.nan, np.float32)
        complete = np.zeros(len(self.samples), dtype=bool)
        own = [
            (rows, flags, self._logits(classifier, views, len(rows)))
            for (rows, flags), views in self._loader
            if len(rows)
        ]
        for rows, flags, logits in gather_object(own):
            found[rows], complete[rows] = logits, flags
        return FrameLogits(found, complete)

    def _make(self, number: int, arrays: list[np.ndarray]) -> tuple[list[int], list[bool]]:
        """Write the views of the frames that have any; return their rows, and whether each has all its views.

        The batch is padded with black to its full size: the logits of a row do not depend on the number of rows in its
        batch.
        """
        rows: list[int] = []
        complete: list[bool] = []
        for row in self._share[number * BATCH : (number + 1) * BATCH].tolist():
            sample = self.samples.read(row)
            if sample is not None:
                for array, view in zip(arrays, self.transform.plain(sample), strict=True):
                    array[len(rows)] = view
                rows.append(row)
                complete.append(sample.complete)
        for array in arrays:
            array[len(rows) :] = 0
        return rows, complete

    def _logits(self, classifier: Classifier, views: Sequence[Tensor], count: int) -> np.ndarray:
        device = self.accelerator.device
        with torch.inference_mode(), self.accelerator.autocast():
            values = classifier.logits([on_device(channels_first(view), device) for view in views])
        logits: np.ndarray = values[:count].float().cpu().numpy()
        if not np.isfinite(logits).all():
            raise CellError("a logit is not finite", hint="choose a lower learning rate, or more warm-up")
        return logits


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
    def of(
        cls, epoch: int, losses: Sequence[float], predicted: FrameLogits, task: Task, labels: np.ndarray
    ) -> EpochScore:
        """Score an epoch.

        Args:
            epoch: from 1.
            losses: of its steps.
            predicted: logits of the labelled dev frames.
            task: of one of C classes.
            labels: of these frames.
        """
        seen = predicted.seen
        counts = task.counts(labels[seen], predicted.logits[seen], np.zeros(int(seen.sum()), np.int64), 1)[0]
        accuracy = float(task.measures(counts)["accuracy"])
        return cls(epoch, float(np.mean(losses)), float(task.metric(counts)), accuracy)

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
