"""The crops of one input while it is read, beside their place; all of them are put there at once when it is done."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from fusionkit.artifact import unwritable
from fusionkit.contracts.face import Face
from fusionkit.errors import DataError
from fusionkit.media.aligned import aligned
from fusionkit.media.record import FOLDER
from fusionkit.media.video import MediaFrame

CROPS = "cropped_aligned"
QUALITY = 95
_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
COLUMNS = (
    *("clip", "frame", "seconds", "score", "left", "top", "right", "bottom"),
    *(f"{point}_{axis}" for point in _POINTS for axis in "xy"),
)


class CropFolder:
    """Collects the crops of one input, a folder a track, and a line a face with where it was.

    Args:
        out: the output folder.
        name: of the input.
        side: of a crop in px.
    """

    def __init__(self, out: Path, name: str, side: int) -> None:
        self._out, self._name, self._side = out, name, side
        self._aside = out / ".partial" / name
        self._made: set[int] = set()
        self._lines: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            shutil.rmtree(self._aside, ignore_errors=True)
            self._aside.mkdir(parents=True)
            self._lines = (self._aside / "faces.csv").open("w", newline="")
        except OSError as error:
            raise unwritable(self._out, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines:
            self._lines.close()
        shutil.rmtree(self._aside, ignore_errors=True)
        with suppress(OSError):  # somebody else works there
            self._aside.parent.rmdir()

    def add(self, track: int, frame: MediaFrame, face: Face) -> None:
        """Write one crop and its line.

        Raises:
            StorageError: if that is not possible.
        """
        data = jpeg(aligned(frame.image, face, self._side))
        folder = self._aside / str(track)
        try:
            if track not in self._made:
                folder.mkdir()
                self._made.add(track)
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

    def _move(self, folder: Path, clip: Path) -> None:
        if not clip.exists():
            folder.rename(clip)
            return
        for crop in folder.iterdir():  # another stretch of the same person
            crop.rename(clip / crop.name)

    def _name_lines(self, names: Mapping[int, str]) -> None:
        """The lines with clips instead of tracks, without those of tracks that do not count."""
        (self._out / FOLDER).mkdir(parents=True, exist_ok=True)
        with (
            (self._aside / "faces.csv").open(newline="") as tracked,
            (self._aside / "named.csv").open("w", newline="") as named,
        ):
            writer = csv.writer(named, lineterminator="\n")
            writer.writerow(COLUMNS)
            for track, *rest in csv.reader(tracked):
                if int(track) in names:
                    writer.writerow([names[int(track)], *rest])

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
    time = "" if math.isnan(frame.seconds) else f"{frame.seconds:.6f}"
    return [frame.number, time, f"{face.score:.4f}", *(f"{x:.2f}" for x in (*face.box, *face.points.ravel()))]
