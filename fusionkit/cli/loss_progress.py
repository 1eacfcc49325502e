"""Progress of training on the terminal: the steps, with epoch and loss beside them."""

from __future__ import annotations

from fusionkit.cli.progress import BarProgress, LineProgress


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
