"""The folder of a training run: its paths, its config, and the log of its losses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from fusionkit.errors import ConfigError
from fusionkit.storage.artifact import unwritable, write_file
from fusionkit.training.schedule import Schedule

SCHEMA = 1
HEADER = "step,epoch,lr,loss\n"


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

    def begin(self, run: Mapping[str, Any], start: Mapping[str, Any]) -> None:
        """Write ``config.json``, or add a start to it if the run is resumed.

        Args:
            run: what decides the results, with the fingerprint of the data.
            start: device, processes and versions of this start.

        Raises:
            ConfigError: if the folder holds another run.
            StorageError: if it cannot be written.
        """
        starts: list[Any] = []
        if self.config.is_file():
            before = self._read()
            if differing := _differences(before["run"], json.loads(json.dumps(dict(run)))):
                raise ConfigError(
                    f"{self.path} holds another run, with other values of: {', '.join(differing)}",
                    hint="choose another --out",
                )
            starts = before["starts"]
        elif self.path.is_dir() and any(child for child in self.path.iterdir() if child != self.lease):
            raise ConfigError(f"{self.path} is not empty and is no training run", hint="choose another --out")
        content = {"schema": SCHEMA, "run": dict(run), "starts": [*starts, dict(start)]}
        write_file(self.config, json.dumps(content, indent=2).encode())

    def _read(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self.config.read_bytes())
            if content["schema"] > SCHEMA:
                raise ConfigError(f"{self.config} was written by a later fusionkit", hint="upgrade fusionkit")
            content["run"].keys(), content["starts"].copy()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{self.config} cannot be read as the config of a training run: {error}") from error
        return content


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys in which two descriptions differ."""
    found = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}")
    return found


class LossLog:
    """Writes ``losses.csv``: one line per step; steps and epochs count from 1.

    The file is rewritten with the losses of the checkpoint that the run resumes from, so that the file of an
    interrupted run equals that of an uninterrupted one, byte for byte.

    Args:
        path: the file; None if another process writes it.
        schedule: gives the learning rates.
        steps_per_epoch: optimiser steps per epoch.
        losses: of the steps done so far.
    """

    def __init__(self, path: Path | None, schedule: Schedule, steps_per_epoch: int, losses: Sequence[float]) -> None:
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
        """Add the loss of the next step.

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
