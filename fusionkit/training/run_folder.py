"""The folder of a training run: what it is of, and where its parts lie."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from fusionkit.errors import ConfigError
from fusionkit.storage.artifact import unwritable, write_file
from fusionkit.training.schedule import LearningRate

SCHEMA = 1


class TrainingFolder:
    """A folder that holds one run.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.checkpoints = path / "checkpoint"
        self.losses = path / "losses.csv"
        self.curve = path / "curve.png"
        self.lease = path / ".lease"

    def begin(self, run: Mapping[str, Any], how: Mapping[str, Any]) -> None:
        """Note what is run here, or that it goes on.

        Args:
            run: what decides the results, the data's fingerprint included.
            how: with what it is run this time.

        Raises:
            ConfigError: if the folder holds another run.
            StorageError: if it cannot be written.
        """
        sessions: list[Any] = []
        if self.config.is_file():
            before = self._read()
            if differing := _differences(before["run"], json.loads(json.dumps(dict(run)))):
                raise ConfigError(
                    f"{self.path} holds another run; it differs in {', '.join(differing)}", hint="choose another --out"
                )
            sessions = before["sessions"]
        elif self.path.is_dir() and any(child for child in self.path.iterdir() if child != self.lease):
            raise ConfigError(f"{self.path} holds something else than a training run", hint="choose another --out")
        content = {"schema": SCHEMA, "run": dict(run), "sessions": [*sessions, dict(how)]}
        write_file(self.config, json.dumps(content, indent=2).encode())

    def _read(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self.config.read_bytes())
            if content["schema"] > SCHEMA:
                raise ConfigError(f"{self.config} was written by a later fusionkit")
            content["run"].keys(), content["sessions"].copy()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self.config} cannot be read as the config of a training run: {error}") from error
        return content


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> list[str]:
    """The dotted keys in which two descriptions differ."""
    found = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, f"{above}{key}.")
        elif old != new:
            found.append(f"{above}{key}")
    return found


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
