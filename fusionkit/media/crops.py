"""Crop aligned faces, and collect the crops of one input in a folder."""

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

from fusionkit.contracts.extractor import SIDE, Face
from fusionkit.errors import DataError
from fusionkit.media.video import MediaFrame
from fusionkit.storage.artifact import csv_text, unwritable

CROPS = "cropped_aligned"  # the folder of all crops, below the output
REPORTS = "align"  # the folder with one CSV and one JSON file per input, beside it
CHART = "coverage.png"  # of the share of frames with a face, beside them
_QUALITY = 95
_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_COLUMNS = (
    *("clip", "frame", "seconds", "score", "left", "top", "right", "bottom"),
    *(f"{point}_{axis}" for point in _POINTS for axis in "xy"),
)
_FACES, _STATE = "faces.csv", "state.json"


def align_face(image: np.ndarray, face: Face, side: int = SIDE) -> np.ndarray:
    """Crop a face with its five points on the ArcFace template.

    Where the crop is less than a third of the scale of the frame, the frame is first reduced by an integer factor,
    pixels averaged: bilinear sampling alone would skip most of them. Pixels outside the frame are black.

    Args:
        image: RGB uint8 (H, W, 3).
        face: a face of the image, with points that :meth:`Face.to_template` accepts.
        side: of the crop in px; the template is scaled with it.

    Returns:
        (side, side, 3) uint8.

    Raises:
        ValueError: if the points do not determine a similarity.

    Reference: insightface's ``face_align.norm_crop`` (Deng et al. 2019, arXiv:1801.07698).
    """
    import cv2

    matrix = to_crop(face, side)
    if matrix is None:
        raise ValueError("a face without five usable points cannot be aligned")
    shrink = int(1 / np.sqrt(np.linalg.det(matrix[:, :2])) / 1.5)
    if shrink > 1:
        height, width = (length // shrink * shrink for length in image.shape[:2])
        if height and width:
            size = (width // shrink, height // shrink)
            image = cv2.resize(image[:height, :width], size, interpolation=cv2.INTER_AREA)
            # The centre of pixel k of the smaller frame is that of (k + 0.5) * shrink - 0.5.
            matrix[:, 2] += matrix[:, :2] @ np.full(2, 0.5 * shrink - 0.5)
            matrix[:, :2] *= shrink
    crop: np.ndarray = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return crop


def to_crop(face: Face, side: int = SIDE) -> np.ndarray | None:
    """Return the similarity (2, 3) from the frame to the crop; None where the points do not determine one."""
    similarity = face.to_template()
    if similarity is None:
        return None
    scale = side / SIDE
    matrix = similarity * scale
    matrix[:, 2] += 0.5 * scale - 0.5  # edges are scaled, coordinates are those of pixel centres
    return matrix


def encode_jpeg(image: np.ndarray, name: str = "a crop", quality: int = _QUALITY) -> bytes:
    """Encode an image, RGB uint8 (H, W, 3), by default as crops are stored.

    Raises:
        DataError: if OpenCV cannot; ``name`` is for the message.
    """
    import cv2

    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise DataError(f"{name}: OpenCV cannot encode {image.shape[1]} x {image.shape[0]} px as JPEG")
    encoded: bytes = data.tobytes()
    return encoded


class CropFolder:
    """Collect the crops of one input, one folder per track, and one CSV line per face.

    Everything is written into a folder aside and published when the input is complete. An interrupted run is resumed
    if file and options are the same.

    Args:
        out: the output folder.
        name: of the input.
        side: of a crop in px.
        state: JSON value that identifies the file and the options.
    """

    def __init__(self, out: Path, name: str, side: int, state: Mapping[str, Any]) -> None:
        self._out, self._name, self._side = out, name, side
        self._state = json.dumps(state, sort_keys=True)
        self._partial = out / ".partial" / name
        self._lines: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            if not self._resume():
                shutil.rmtree(self._partial, ignore_errors=True)
                self._partial.mkdir(parents=True)
                (self._partial / _FACES).touch()
                (self._partial / _STATE).write_text(self._state, encoding="utf-8")
            # Line-buffered: the line of a face follows its crop, so after a kill each complete line has its crop.
            self._lines = (self._partial / _FACES).open("a", newline="", buffering=1, encoding="utf-8")
        except OSError as error:
            raise unwritable(self._out, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines:
            self._lines.close()
        if error is not None and not isinstance(error, Exception):
            return  # interrupted: kept for the next run
        shutil.rmtree(self._partial, ignore_errors=True)
        with suppress(OSError):  # not empty: another process uses it
            self._partial.parent.rmdir()

    def resumed_frames(self) -> Iterator[tuple[int, float, list[np.ndarray]]]:
        """Yield number, seconds and face boxes (4,) of each frame with faces that an interrupted run has finished."""
        with (self._partial / _FACES).open(newline="", encoding="utf-8") as file:
            for number, rows in groupby(csv.reader(file), key=lambda row: row[1]):
                faces = list(rows)
                boxes = [np.array([float(value) for value in row[4:8]]) for row in faces]
                yield int(number), float(faces[0][2] or "nan"), boxes

    def add(self, track: int, frame: MediaFrame, face: Face) -> None:
        """Write the crop and the line of one face.

        Raises:
            StorageError: if they cannot be written.
        """
        data = encode_jpeg(align_face(frame.image, face, self._side))
        folder = self._partial / str(track)
        # All digits, so that a resumed run equals one that was not interrupted.
        seconds = "" if math.isnan(frame.seconds) else frame.seconds
        line = [track, frame.number, seconds, float(face.score), *face.box.tolist(), *face.points.ravel().tolist()]
        try:
            folder.mkdir(exist_ok=True)
            (folder / f"{frame.number:05d}.jpg").write_bytes(data)  # as in Aff-Wild2
            csv.writer(self._open_lines(), lineterminator="\n").writerow(line)
        except OSError as error:
            raise unwritable(self._out, error) from error

    def publish(self, names: Mapping[int, str], old: Iterable[str]) -> None:
        """Move the crops to the folders of their clips.

        Args:
            names: clip name by track; other tracks are dropped.
            old: clips of an earlier run of the same input, which are removed.

        Raises:
            StorageError: if they cannot be written.
        """
        self._open_lines().close()
        crops, reports = self._out / CROPS, self._out / REPORTS
        try:
            crops.mkdir(parents=True, exist_ok=True)
            # The old crops are incomplete from here on, and must not count as done.
            (reports / f"{self._name}.json").unlink(missing_ok=True)
            for clip in {*old, *names.values()}:
                shutil.rmtree(crops / clip, ignore_errors=True)
            for track, clip in names.items():
                _move(self._partial / str(track), crops / clip)
            reports.mkdir(parents=True, exist_ok=True)
            self._write_clip_names(names).replace(reports / f"{self._name}.csv")
        except OSError as error:
            raise unwritable(self._out, error) from error

    def _resume(self) -> bool:
        """Whether an interrupted run can be resumed; its last frame is dropped, as it may lack faces."""
        try:
            if (self._partial / _STATE).read_text(encoding="utf-8") != self._state:
                return False
            lines = (self._partial / _FACES).read_bytes().splitlines(keepends=True)
        except (OSError, UnicodeError):
            return False
        if lines:
            last = _frame_number(lines[-1]) if lines[-1].endswith(b"\n") else None
            lines.pop()
            last = _frame_number(lines[-1]) if last is None and lines else last
            while lines and _frame_number(lines[-1]) == last:
                lines.pop()
        (self._partial / _FACES).write_bytes(b"".join(lines))
        return True

    def _write_clip_names(self, names: Mapping[int, str]) -> Path:
        """Write the lines with clip names instead of tracks, values rounded, without dropped tracks."""
        path = self._partial / "named.csv"
        with (
            (self._partial / _FACES).open(newline="", encoding="utf-8") as faces,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for track, number, seconds, score, *positions in csv.reader(faces):
                if int(track) in names:
                    time = f"{float(seconds):.6f}" if seconds else ""
                    rounded = (f"{float(value):.2f}" for value in positions)
                    writer.writerow([csv_text(names[int(track)]), number, time, f"{float(score):.4f}", *rounded])
        return path

    def _open_lines(self) -> IO[str]:
        assert self._lines is not None, "a crop folder is used in a with statement"
        return self._lines


def _move(folder: Path, clip: Path) -> None:
    if not clip.exists():
        clip.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(clip)
        return
    for crop in folder.iterdir():  # another track of the same clip
        crop.rename(clip / crop.name)


def _frame_number(line: bytes) -> bytes:
    return line.split(b",", 2)[1]
