"""Training progress on the terminal: steps with epoch and loss, and one line per epoch of a fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from fusionkit.api import TrainingProgress
from fusionkit.cli.console import err, is_interactive
from fusionkit.cli.progress import BarProgress, LineProgress

if TYPE_CHECKING:
    from fusionkit.api import EpochScore, FinetuneRecipe


def training_progress() -> TrainingProgress:
    """Return bars on a terminal, else lines."""
    return TrainingBars(err) if is_interactive() else TrainingLines(err)


class TrainingBars(BarProgress, TrainingProgress):
    """A bar with epoch and loss beside it."""

    def stepped(self, step: int, epoch: int, loss: float) -> None:
        """Show epoch and loss of the last step."""
        if self.task is not None:
            self.bars.update(self.task, unit=_unit(epoch, loss))

    def scored(self, score: EpochScore, best: EpochScore, recipe: FinetuneRecipe) -> None:
        """Print the scores of an epoch above the bar."""
        _print_epoch(self.bars.console, score, best, recipe)


class TrainingLines(LineProgress, TrainingProgress):
    """One line a minute with epoch and loss."""

    EVERY = 60.0

    def stepped(self, step: int, epoch: int, loss: float) -> None:
        """Keep epoch and loss for the next line."""
        self.unit = _unit(epoch, loss)

    def scored(self, score: EpochScore, best: EpochScore, recipe: FinetuneRecipe) -> None:
        """Print the scores of an epoch."""
        _print_epoch(self.console, score, best, recipe)


def _unit(epoch: int, loss: float) -> str:
    return f"steps, epoch {epoch}, loss {loss:.4f}"


def _print_epoch(console: Console, score: EpochScore, best: EpochScore, recipe: FinetuneRecipe) -> None:
    note = "best so far" if best == score else f"best: epoch {best.epoch}"
    console.print(
        f"epoch {score.epoch}/{recipe.epochs}: loss {score.loss:.4f}, dev macro-F1 {score.macro_f1:.3f}, "
        f"accuracy {score.accuracy:.3f} ({note} by {recipe.select})",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
