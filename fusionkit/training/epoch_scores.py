"""How a network did on dev after each epoch: the table, the choice, the curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fusionkit.contracts.task import SingleLabel
from fusionkit.stats import accuracy
from fusionkit.training.pictures import png
from fusionkit.training.predictions import Predictions


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
    def of(cls, epoch: int, losses: Sequence[float], predicted: Predictions, labels: np.ndarray) -> EpochScore:
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
