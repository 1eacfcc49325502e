"""The folder of a training run: its paths, its config, and the log of its losses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


@contextmanager
def loss_log(
    path: Path | None, schedule: Schedule, steps_per_epoch: int, losses: list[float]
) -> Iterator[Callable[[float], None]]:
    """Write ``losses.csv``: one line per step; steps and epochs count from 1.

    The file is rewritten with the losses of the checkpoint that the run resumes from, so that the file of an
    interrupted run equals that of an uninterrupted one, byte for byte.

    Args:
        path: the file; None if another process writes it.
        schedule: gives the learning rates.
        steps_per_epoch: optimiser steps per epoch.
        losses: of the steps done so far; it is extended.

    Yields:
        A function that adds the loss of the next step.

    Raises:
        StorageError: if the file cannot be written.
    """
    if path is None:
        yield losses.append
        return

    def line(step: int, loss: float) -> str:
        return f"{step + 1},{step // steps_per_epoch + 1},{schedule.at(step)!r},{loss!r}\n"

    def add(loss: float) -> None:
        try:
            stream.write(line(len(losses), loss))
            stream.flush()
        except OSError as error:
            raise unwritable(path, error) from error
        losses.append(loss)

    write_file(path, "".join([HEADER, *map(line, range(len(losses)), losses)]).encode())
    with path.open("a", encoding="utf-8", newline="") as stream:
        yield add
