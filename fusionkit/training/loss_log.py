"""The losses of a run, step by step, in ``losses.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from fusionkit.artifact import unwritable, write_file
from fusionkit.training.schedule import LearningRate

HEADER = "step,epoch,lr,loss\n"


class LossLog:
    """Appends a line a step; steps and epochs count from 1.

    What it held before is replaced by the losses of the checkpoint that the run goes on from, so that the file of an
    interrupted run is that of an uninterrupted one, byte for byte.

    Args:
        path: the file; None where another process writes it.
        schedule: gives the learning rates.
        steps_per_epoch: tells epochs apart.
        losses: of the steps so far.
    """

    def __init__(
        self, path: Path | None, schedule: LearningRate, steps_per_epoch: int, losses: Sequence[float]
    ) -> None:
        self.schedule = schedule
        self.steps_per_epoch = steps_per_epoch
        self.losses: list[float] = []
        self._path = path
        self._stream: IO[str] | None = None
        lines = [self._line(loss) for loss in losses]
        if path is not None:
            write_file(path, "".join([HEADER, *lines]).encode())

    def __enter__(self) -> Self:
        if self._path is not None:
            self._stream = self._path.open("a", encoding="utf-8", newline="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()

    def add(self, loss: float) -> None:
        """The loss of the next step.

        Raises:
            StorageError: if it cannot be written.
        """
        line = self._line(loss)
        if self._stream is not None:
            assert self._path is not None
            try:
                self._stream.write(line)
                self._stream.flush()
            except OSError as error:
                raise unwritable(self._path, error) from error

    def _line(self, loss: float) -> str:
        step = len(self.losses)
        self.losses.append(loss)
        return f"{step + 1},{step // self.steps_per_epoch + 1},{self.schedule.at(step)!r},{loss!r}\n"
