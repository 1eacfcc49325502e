"""The folder of a training run: what it is of, and where its parts lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusionkit.artifact import write_file
from fusionkit.errors import ConfigError

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
