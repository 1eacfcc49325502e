"""Training progress on the terminal: steps with epoch and loss, and a line per epoch of a fine-tuning."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from fusionkit.cli.progress import BarProgress, LineProgress
from fusionkit.training.evaluation import EpochScore, TrainingListener
from fusionkit.training.finetune_config import FinetuneRecipe


class LossBar(BarProgress):
    """A bar with the epoch and the loss beside it."""

    def losing(self, step: int, epoch: int, loss: float) -> None:
        """The loss of a step."""
        if self.task is not None:
            self.bars.update(self.task, unit=f"steps, epoch {epoch}, loss {loss:.4f}")


class LossLines(LineProgress):
    """A line once a minute, with the loss in it."""

    EVERY = 60.0

    def losing(self, step: int, epoch: int, loss: float) -> None:
        """The loss of a step."""
        self.unit = f"steps, epoch {epoch}, loss {loss:.4f}"


class EpochLines(TrainingListener):
    """A line an epoch, above the bar.

    Args:
        console: where to.
        progress: is told of the losses between.
        recipe: says how many epochs there are, and what one is kept for.
    """

    def __init__(self, console: Console, progress: Any, recipe: FinetuneRecipe) -> None:
        self.console = console
        self.progress = progress
        self.recipe = recipe

    def stepped(self, step: int, epoch: int, loss: float) -> None:
        """A step was taken."""
        self.progress.losing(step, epoch, loss)

    def judged(self, score: EpochScore, kept: EpochScore) -> None:
        """An epoch was judged on dev."""
        best = "best so far" if kept == score else f"best: epoch {kept.epoch}"
        self.console.print(
            f"epoch {score.epoch}/{self.recipe.epochs}: loss {score.loss:.4f}, dev macro-F1 {score.macro_f1:.3f}, "
            f"accuracy {score.accuracy:.3f} ({best} by {self.recipe.select})",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
