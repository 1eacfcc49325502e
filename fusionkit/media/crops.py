"""The crops of one input while it is read, beside their place; all of them are put there at once when it is done."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from fusionkit.contracts.extractor import Face
from fusionkit.errors import DataError
from fusionkit.media.align_record import FOLDER
from fusionkit.media.aligned import aligned
from fusionkit.media.video import MediaFrame
from fusionkit.storage.artifact import unwritable

CROPS = "cropped_aligned"
QUALITY = 95
_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
COLUMNS = (
    *("clip", "frame", "seconds", "score", "left", "top", "right", "bottom"),
    *(f"{point}_{axis}" for point in _POINTS for axis in "xy"),
)
_LINES, _STATE = "faces.csv", "state.json"


class CropFolder:
    """Collects the crops of one input, a folder a track, and a line a face with where it was.

    What an interrupted run has collected is found again, and goes on, if it was made of the same file in the same way.

    Args:
        out: the output folder.
        name: of the input.
        side: of a crop in px.
        state: of the file and of the settings, as JSON holds it.
    """

    def __init__(self, out: Path, name: str, side: int, state: Mapping[str, Any]) -> None:
        self._out, self._name, self._side = out, name, side
        self._state = json.dumps(state, sort_keys=True)
        self._aside = out / ".partial" / name
        self._lines: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            if not self._goes_on():
                shutil.rmtree(self._aside, ignore_errors=True)
                self._aside.mkdir(parents=True)
                (self._aside / _LINES).touch()
                (self._aside / _STATE).write_text(self._state)
            # A line is written when its crop is: what a killed process leaves is told by whole lines.
            self._lines = (self._aside / _LINES).open("a", newline="", buffering=1)
        except OSError as error:
            raise unwritable(self._out, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines:
            self._lines.close()
        if error is not None and not isinstance(error, Exception):
            return  # interrupted
        shutil.rmtree(self._aside, ignore_errors=True)
        with suppress(OSError):  # somebody else works there
            self._aside.parent.rmdir()

    def earlier(self) -> Iterator[tuple[int, float, list[np.ndarray]]]:
        """The frames with faces that an interrupted run has finished: number, seconds, boxes (4,) in their order."""
        with (self._aside / _LINES).open(newline="") as file:
            for number, rows in groupby(csv.reader(file), key=lambda row: row[1]):
                held = list(rows)
                seconds = float(held[0][2] or "nan")
                yield int(number), seconds, [np.array([float(value) for value in row[4:8]]) for row in held]

    def add(self, track: int, frame: MediaFrame, face: Face) -> None:
        """Write one crop and its line.

        Raises:
            StorageError: if that is not possible.
        """
        data = jpeg(aligned(frame.image, face, self._side))
        folder = self._aside / str(track)
        try:
            folder.mkdir(exist_ok=True)
            (folder / _file(frame.number)).write_bytes(data)
            csv.writer(self._open(), lineterminator="\n").writerow([track, *_line(frame, face)])
        except OSError as error:
            raise unwritable(self._out, error) from error

    def publish(self, names: Mapping[int, str], old: Iterable[str]) -> None:
        """Put the crops in their places.

        Args:
            names: the clip of each track that counts.
            old: clips of an earlier run of the same input, which go.

        Raises:
            StorageError: if that is not possible.
        """
        self._open().close()
        place = self._out / CROPS
        try:
            place.mkdir(parents=True, exist_ok=True)
            # From here on the earlier crops are no longer all there, and must not count as done.
            (self._out / FOLDER / f"{self._name}.json").unlink(missing_ok=True)
            for clip in {*old, *names.values()}:
                shutil.rmtree(place / clip, ignore_errors=True)
            for track, clip in names.items():
                self._move(self._aside / str(track), place / clip)
            self._name_lines(names)
            (self._aside / "named.csv").replace(self._out / FOLDER / f"{self._name}.csv")
        except OSError as error:
            raise unwritable(self._out, error) from error

    def _goes_on(self) -> bool:
        """Whether an interrupted run has left something of use; its last frame, which may lack faces, is forgotten."""
        try:
            if (self._aside / _STATE).read_text() != self._state:
                return False
            lines = (self._aside / _LINES).read_bytes().splitlines(keepends=True)
        except OSError:
            return False
        if lines:
            last = _number(lines[-1]) if lines[-1].endswith(b"\n") else None
            lines.pop()
            last = _number(lines[-1]) if last is None and lines else last
            while lines and _number(lines[-1]) == last:
                lines.pop()
        (self._aside / _LINES).write_bytes(b"".join(lines))
        return True

    def _move(self, folder: Path, clip: Path) -> None:
        if not clip.exists():
            clip.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(clip)
            return
        for crop in folder.iterdir():  # another stretch of the same person
            crop.rename(clip / crop.name)

    def _name_lines(self, names: Mapping[int, str]) -> None:
        """The lines with clips instead of tracks, rounded, without those of tracks that do not count."""
        (self._out / FOLDER).mkdir(parents=True, exist_ok=True)
        with (
            (self._aside / _LINES).open(newline="") as tracked,
            (self._aside / "named.csv").open("w", newline="") as named,
        ):
            writer = csv.writer(named, lineterminator="\n")
            writer.writerow(COLUMNS)
            for track, number, seconds, score, *places in csv.reader(tracked):
                if int(track) in names:
                    time = f"{float(seconds):.6f}" if seconds else ""
                    rounded = (f"{float(value):.2f}" for value in places)
                    writer.writerow([names[int(track)], number, time, f"{float(score):.4f}", *rounded])

    def _open(self) -> IO[str]:
        assert self._lines is not None, "a crop folder is used in a with statement"
        return self._lines


def jpeg(crop: np.ndarray) -> bytes:
    """The file of a crop, RGB uint8 (side, side, 3)."""
    import cv2

    good, data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not good:
        raise DataError("a crop could not be encoded as a JPEG")
    encoded: bytes = data.tobytes()
    return encoded


def _file(number: int) -> str:
    """As in Aff-Wild2: ``00001.jpg``, more digits from 100000 on."""
    return f"{number:05d}.jpg"


def _line(frame: MediaFrame, face: Face) -> list[Any]:
    """All digits, so that an interrupted run goes on as if it had not been."""
    time = "" if math.isnan(frame.seconds) else frame.seconds
    return [frame.number, time, float(face.score), *face.box.tolist(), *face.points.ravel().tolist()]


def _number(line: bytes) -> bytes:
    return line.split(b",", 2)[1]
