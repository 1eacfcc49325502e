"""Write ``predictions.csv``: one row per frame and clip."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from fusionkit.predict.video.result import VideoResult
from fusionkit.storage.artifact import csv_text, unwritable

COLUMNS = ("clip", "frame", "seconds", "face", "label")


class PredictionTable:
    """A CSV file that appears when the ``with`` block ends, also by an error, with the inputs added so far.

    Args:
        path: of the file.
        classes: the C class names, one column of probabilities each.

    Raises:
        StorageError: if it cannot be written.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path, self._classes = path, np.asarray([csv_text(name) for name in classes])
        self._partial = path.with_name(f".{path.name}.partial")
        self.rows = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = self._partial.open("w", newline="", encoding="utf-8")
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerow([*COLUMNS, *self._classes])
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
                self._partial.replace(self._path)
        except OSError as cause:
            raise unwritable(self._path, cause) from cause
        finally:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)

    def add(self, result: VideoResult) -> None:
        """Add the rows of an input, clip by clip.

        Raises:
            StorageError: if they cannot be written.
        """
        numbers, seconds = result.frames.values["number"], result.frames.values["seconds"]
        try:
            for clip in result.clips:
                labels = self._classes[np.nan_to_num(clip.probs).argmax(1)]
                for index, frame in enumerate(clip.frames.tolist()):
                    predicted = not np.isnan(clip.probs[index, 0])
                    time = "" if np.isnan(seconds[frame]) else f"{seconds[frame]:.6f}"
                    row: list[Any] = [csv_text(clip.clip), int(numbers[frame]), time, int(clip.seen[index])]
                    row.append(labels[index] if predicted else "")
                    row += [f"{value:.6f}" if predicted else "" for value in clip.probs[index]]
                    self._writer.writerow(row)
                self.rows += len(clip.frames)
        except OSError as error:
            raise unwritable(self._path, error) from error
