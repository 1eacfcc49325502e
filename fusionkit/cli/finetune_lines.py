"""What is said of each epoch of a fine-tuning on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from fusionkit.training.epoch_scores import EpochScore
from fusionkit.training.finetune_recipe import FinetuneRecipe
from fusionkit.training.finetune_run import Listener


class EpochLines(Listener):
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
