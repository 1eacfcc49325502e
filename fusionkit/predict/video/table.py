"""predictions.csv: a row a frame and person, written beside its place and put there when all of it is written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from fusionkit.predict.video.reading import VideoPrediction
from fusionkit.storage.artifact import unwritable

COLUMNS = ("clip", "frame", "seconds", "face", "label")


class PredictionTable:
    """Takes recordings one after the other; each is in the file as a whole or not at all.

    Leaving it by an error keeps the recordings that were taken before.

    Args:
        path: of the file.
        classes: the C class names, which follow the columns.

    Raises:
        StorageError: if it cannot be written.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path, self._classes = path, tuple(classes)
        self._aside = path.with_name(f".{path.name}.partial")
        self.rows = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = self._aside.open("w", newline="", encoding="utf-8")
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerow([*COLUMNS, *classes])
        except OSError as error:
            raise unwritable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if self.rows:
                self._aside.replace(self._path)
        except OSError as cause:
            raise unwritable(self._path, cause) from cause
        finally:
            with suppress(OSError):
                self._aside.unlink(missing_ok=True)

    def add(self, answered: VideoPrediction) -> None:
        """The rows of a recording, clip by clip.

        Raises:
            StorageError: if they cannot be written.
        """
        footage = answered.footage
        if footage is None:
            return
        numbers, seconds = footage.numbers.values, footage.seconds.values
        try:
            for clip in answered.clips:
                best = np.asarray(self._classes)[np.nan_to_num(clip.probs).argmax(1)]
                for place, frame in enumerate(clip.frames.tolist()):
                    known = not np.isnan(clip.probs[place, 0])
                    row: list[Any] = [clip.clip, int(numbers[frame]), _time(float(seconds[frame]))]
                    row += [int(clip.seen[place]), best[place] if known else ""]
                    row += [f"{value:.6f}" for value in clip.probs[place]] if known else [""] * len(self._classes)
                    self._writer.writerow(row)
                self.rows += len(clip.frames)
        except OSError as error:
            raise unwritable(self._path, error) from error


def _time(seconds: float) -> str:
    return "" if np.isnan(seconds) else f"{seconds:.6f}"
