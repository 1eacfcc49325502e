"""Write ``predictions.csv``: one row per frame and clip."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from fusionkit.contracts.task import Task
from fusionkit.predict.video.result import VideoResult
from fusionkit.storage.artifact import csv_text, unwritable

COLUMNS = ("clip", "frame", "seconds", "face", "label")


class PredictionTable:
    """A CSV file that appears when the ``with`` block ends, also by an error, with the inputs added so far.

    Args:
        path: of the file.
        task: the prediction task: a column for each class, and the label in words.

    Raises:
        StorageError: if it cannot be written.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self._path, self._task = path, task
        self._partial = path.with_name(f".{path.name}.partial")
        self.rows = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = self._partial.open("w", newline="", encoding="utf-8")
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerow([*COLUMNS, *map(csv_text, task.names)])
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
                labels = self._task.words(np.nan_to_num(clip.probs))
                for index, frame in enumerate(clip.frames.tolist()):
                    predicted = not np.isnan(clip.probs[index, 0])
                    time = "" if np.isnan(seconds[frame]) else f"{seconds[frame]:.6f}"
                    row: list[Any] = [csv_text(clip.clip), int(numbers[frame]), time, int(clip.seen[index])]
                    row.append(csv_text(str(labels[index])) if predicted else "")
                    row += [f"{value:.6f}" if predicted else "" for value in clip.probs[index]]
                    self._writer.writerow(row)
                self.rows += len(clip.frames)
        except OSError as error:
            raise unwritable(self._path, error) from error
