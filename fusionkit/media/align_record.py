"""What is kept about one input that was aligned: enough to skip it next time and to report on it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fusionkit.storage.artifact import write_file

FOLDER = "align"  # below the output, beside the crops


@dataclass(frozen=True)
class ClipRecord:
    """One person's clip.

    Attributes:
        clip: its name, also that of its folder.
        frames: how many frames have a crop.
        runs: first and last frame number of each stretch that has crops.
    """

    clip: str
    frames: int
    runs: list[list[int]]


@dataclass(frozen=True)
class AlignRecord:
    """One input.

    Attributes:
        source: the file, as it was named.
        state: of the file and of the settings; where it differs the input is aligned anew.
        frames: how many were read.
        seconds: time of the last frame; 0 for a photo.
        faces: how many were found in all frames.
        dropped: how many of them were in tracks too short to count.
        clips: the people.
        faults: what was wrong, a line each.
    """

    source: str
    state: dict[str, Any]
    frames: int
    seconds: float
    faces: int
    dropped: int
    clips: list[ClipRecord] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def write(self, out: Path, name: str) -> None:
        """Store it: from now on the input counts as done.

        Raises:
            StorageError: if it cannot be written.
        """
        write_file(out / FOLDER / f"{name}.json", json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, path: Path) -> AlignRecord | None:
        """The record in a file, None where there is none that can be read."""
        try:
            held = json.loads(path.read_bytes())
            return cls(**{**held, "clips": [ClipRecord(**clip) for clip in held["clips"]]})
        except (OSError, ValueError, KeyError, TypeError):
            return None


def records(out: Path) -> dict[str, AlignRecord]:
    """All records of an output folder, by the input's name."""
    found = {path.stem: AlignRecord.read(path) for path in sorted((out / FOLDER).glob("*.json"))}
    return {name: record for name, record in found.items() if record is not None}
