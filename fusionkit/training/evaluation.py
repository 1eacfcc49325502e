"""Logits of a network for every frame that has a view, with the frames shared out among processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionkit.contracts.task import SingleLabel
from fusionkit.errors import CellError
from fusionkit.stats.intervals import accuracy
from fusionkit.training.pictures import png
from fusionkit.training.views import ViewSamples, ViewTransform

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from fusionkit.training.joint import Classifier


BATCH = 64
_AHEAD = 2  # batches that are read ahead

_Shown = tuple[tuple["Tensor", ...], bool] | None  # the views of a frame, and whether all are there


@dataclass(frozen=True, eq=False)
class FrameLogits:
    """What a network says.

    Attributes:
        logits: (n, C) float32; rows of NaN for frames without any view.
        whole: (n,) bool: the frames that have every view.
    """

    logits: np.ndarray
    whole: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """(n,) bool: the frames that have a view."""
        there: np.ndarray = ~np.isnan(self.logits[:, 0])
        return there


def predict(
    classifier: Classifier, samples: ViewSamples, transform: ViewTransform, accelerator: Accelerator, workers: int
) -> FrameLogits:
    """Logits of all samples, the same in every process.

    Raises:
        CellError: if a logit is not finite.
    """
    from accelerate.utils import broadcast, gather_object

    classifier.eval()
    for buffer in classifier.buffers():  # each process has counted its own batches in the norms
        broadcast(buffer)
    share = np.arange(accelerator.process_index, len(samples), accelerator.num_processes)
    classes = classifier.network.head.out_features
    found = np.full((len(samples), classes), np.nan, np.float32)
    whole = np.zeros(len(samples), dtype=bool)
    own = [
        (rows, *_batch(classifier, shown, accelerator, classes))
        for rows, shown in _read(samples, transform, share, workers)
    ]
    for rows, logits, complete in gather_object(own):
        found[rows], whole[rows] = logits, complete
    return FrameLogits(found, whole)


def _read(
    samples: ViewSamples, transform: ViewTransform, rows: np.ndarray, workers: int
) -> Iterator[tuple[np.ndarray, list[_Shown]]]:
    """Batches of rows with what is shown of each."""

    def shown(row: int) -> _Shown:
        sample = samples.read(row)
        return None if sample is None else (transform.plain(sample), sample.whole)

    waiting: deque[tuple[np.ndarray, list[Future[_Shown]]]] = deque()
    with ThreadPoolExecutor(workers, "fusionkit-images") as pool:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            waiting.append((batch, [pool.submit(shown, row) for row in batch.tolist()]))
            if len(waiting) > _AHEAD:
                first, futures = waiting.popleft()
                yield first, [future.result() for future in futures]
        for first, futures in waiting:
            yield first, [future.result() for future in futures]


def _batch(
    classifier: Classifier, shown: list[_Shown], accelerator: Accelerator, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and which frames are whole. Always a whole batch: no row depends on how many came with it."""
    import torch

    logits = np.full((len(shown), classes), np.nan, np.float32)
    there = [place for place, item in enumerate(shown) if item is not None]
    if there:
        views = list(zip(*(item[0] for item in shown if item is not None), strict=True))
        padded = [torch.stack([*view, *[torch.zeros_like(view[0])] * (BATCH - len(view))]) for view in views]
        with torch.inference_mode(), accelerator.autocast():
            values = classifier.logits([view.to(accelerator.device) for view in padded])
        logits[there] = values[: len(there)].float().cpu().numpy()
        if not np.isfinite(logits[there]).all():
            raise CellError("a logit is not finite", hint="a lower learning rate, or more warm-up")
    return logits, np.array([item is not None and item[1] for item in shown])


@dataclass(frozen=True)
class EpochScore:
    """One epoch.

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
        """Judge an epoch.

        Args:
            epoch: from 1.
            losses: of its steps.
            predicted: for the labelled dev frames.
            labels: of these.
        """
        task = SingleLabel(predicted.logits.shape[1])
        seen = predicted.seen
        counts = task.counts(labels[seen], predicted.logits[seen].argmax(1))
        return cls(epoch, float(np.mean(losses)), task.metric(counts), float(accuracy(counts)))

    def describe(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def by(self, select: str) -> float:
        """What an epoch is chosen by: ``macro-f1`` or ``accuracy``."""
        return self.accuracy if select == "accuracy" else self.macro_f1


def best_of(scores: Sequence[EpochScore], select: str) -> EpochScore:
    """The best epoch; of equal ones the first."""
    return max(scores, key=lambda score: score.by(select))


def epochs_csv(scores: Sequence[EpochScore]) -> bytes:
    """A line an epoch."""
    lines = [f"{one.epoch},{one.loss!r},{one.macro_f1!r},{one.accuracy!r}\n" for one in scores]
    return "".join(["epoch,loss,dev_macro_f1,dev_accuracy\n", *lines]).encode()


def training_curve(losses: Sequence[float], scores: Sequence[EpochScore], select: str) -> bytes:
    """The loss of each step above, macro-F1 and accuracy on dev of each epoch below; as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    per_epoch = max(len(losses) // max(len(scores), 1), 1)
    above.plot(np.arange(1, len(losses) + 1) / per_epoch, losses, color="0.75", linewidth=0.8, label="step")
    epochs = [score.epoch for score in scores]
    above.plot(epochs, [score.loss for score in scores], color="C0", marker=".", label="mean of an epoch")
    above.set_ylabel("training loss")
    above.legend(frameon=False)
    below.plot(epochs, [score.macro_f1 for score in scores], color="C1", marker=".", label="macro-F1")
    below.plot(epochs, [score.accuracy for score in scores], color="C2", marker=".", label="accuracy")
    if scores:
        kept = best_of(scores, select)
        below.axvline(kept.epoch, color="0.5", linewidth=0.8, linestyle="--", label=f"kept: epoch {kept.epoch}")
    below.set_ylabel("dev")
    below.set_xlabel("epoch")
    below.legend(frameon=False)
    return png(figure)


class TrainingListener:
    """Told how training goes; does nothing by itself."""

    def stepped(self, step: int, epoch: int, loss: float) -> None:
        """A step was taken; both numbers count from 1."""

    def judged(self, score: EpochScore, kept: EpochScore) -> None:
        """An epoch was judged on dev; ``kept`` is the best so far."""
