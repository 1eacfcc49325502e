"""Progress of a training run. The module is light: the command line subclasses it before torch is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionkit.grid.progress import Progress

if TYPE_CHECKING:
    from fusionkit.training.evaluation import EpochScore
    from fusionkit.training.finetune_config import FinetuneRecipe


class TrainingProgress(Progress):
    """Progress with hooks for steps and epochs; every hook does nothing by default."""

    def stepped(self, step: int, epoch: int, loss: float) -> None:
        """Called after each optimiser step; ``step`` and ``epoch`` count from 1."""

    def scored(self, score: EpochScore, best: EpochScore, recipe: FinetuneRecipe) -> None:
        """Called after each epoch of a fine-tuning, with its dev scores and those of the best epoch so far."""
