"""Frames of a video in the order they are shown, upright, one at a time, through PyAV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.contracts.image_file import MAX_PIXELS, is_image
from fusionkit.errors import DataError

ENDINGS = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)
_LATE = 0.5  # s by which what was read may end before what the file announces


@dataclass(frozen=True, eq=False)
class MediaFrame:
    """One frame.

    Attributes:
        number: from 1, in the order in which frames are shown.
        seconds: when it is shown; NaN where the file does not say, and in a photo.
        image: RGB uint8 (H, W, 3).
    """

    number: int
    seconds: float
    image: np.ndarray


@dataclass
class Video:
    """The frames of one video file.

    A frame's number is its place among the frames that could be decoded, whatever their rate, and ``seconds`` is the
    file's own time. Frames stand upright as the file's display matrix says, and pixels that are not square are made so.

    Attributes:
        path: the file.
        faults: what was wrong, known when all frames were read.
        expected: how many frames there should be, known from the first one on; None where the file does not say.
    """

    path: Path
    faults: list[str] = field(default_factory=list)
    expected: int | None = None

    def frames(self, after: int = 0) -> Iterator[MediaFrame]:
        """Decode all frames, holding a few at a time.

        Args:
            after: leave out the frames up to this number; they are decoded and not looked at.

        Raises:
            DataError: if the file is no video or none of it can be decoded.
        """
        import av

        _check(self.path)
        try:
            container = av.open(str(self.path))
        except (av.FFmpegError, OSError) as error:
            raise DataError(f"{self.path} cannot be read as a video: {_said(error)}") from error
        with container:
            yield from self._decoded(container, after)

    def _decoded(self, container: Any, after: int) -> Iterator[MediaFrame]:
        stream = _picture(container, self.path)
        stream.thread_type = "AUTO"
        self.faults, self.expected = [], expected_frames(container, stream)
        upright = Upright(stream.sample_aspect_ratio)
        count = damaged = 0
        end = 0.0
        for item in _items(container, stream):
            if isinstance(item, float):
                end = max(end, item)
            elif isinstance(item, str):
                damaged += 1
            else:
                count += 1
                if count <= after:
                    continue
                # A time of its own for each frame: the rate may vary.
                seconds = math.nan if item.time is None else float(item.time)
                yield MediaFrame(count, seconds, upright(item))
        if not count:
            raise DataError(f"{self.path} holds no frame that can be decoded: it is cut short or damaged")
        announced = stream.frames
        length = (container.duration or 0) / 1e6
        if damaged:
            self.faults.append(f"{damaged} part(s) could not be decoded; {count} frames were")
        elif announced and announced != count:
            self.faults.append(f"the file announces {announced} frames, {count} could be decoded")
        elif end < length - _LATE:
            self.faults.append(f"the file announces {length:.1f} s and ends after {end:.1f} s, {count} frames")


def _items(container: Any, stream: Any) -> Iterator[Any]:
    """Frames of the stream; for every packet of any stream its end in s; a text for what could not be decoded."""
    import av

    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError) as error:
            yield _said(error)
            return
        if packet.pts is not None and packet.time_base is not None:
            yield float((packet.pts + (packet.duration or 0)) * packet.time_base)
        if packet.stream.index != stream.index:
            continue
        try:
            yield from packet.decode()
        except (av.FFmpegError, OSError) as error:
            yield _said(error)


def expected_frames(container: Any, stream: Any) -> int | None:
    """How many there should be: by the count in the header, else by length and mean rate; None where nothing says."""
    if stream.frames:
        return int(stream.frames)
    rate = stream.average_rate or 0
    return round((container.duration or 0) / 1e6 * float(rate)) or None


def _check(path: Path) -> None:
    """Refuse what is no video before a decoder guesses.

    Raises:
        DataError: if the file cannot be read, is empty or holds an image.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not start:
        raise DataError(f"{path} is empty")
    if is_image(start):
        raise DataError(f"{path} is an image, not a video, whatever its name says")


def _picture(container: Any, path: Path) -> Any:
    """The first stream of moving pictures; the cover of a song is none.

    Raises:
        DataError: if there is none, or its frames are monstrous.
    """
    import av

    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        held = "only sound, no video" if container.streams.audio else "no pictures: it is cut short, or no video"
        raise DataError(f"{path} holds {held}")
    stream = streams[0]
    if stream.codec_context is None:
        raise DataError(f"{path} is in a format that PyAV has no decoder for")
    pixels = stream.codec_context.width * stream.codec_context.height
    if pixels > MAX_PIXELS:
        raise DataError(f"{path} claims frames of {pixels / 1e6:,.0f} megapixels")
    return stream


class Upright:
    """Stands the frames of one video as they are to be shown: turned as its display matrix says, pixels square.

    The first frame of each size is asked for the matrix, and no other one: PyAV's side data and the frame hold each
    other, so what was asked waits for the garbage collector, and with it hundreds of decoded frames.

    Args:
        aspect: width to height of a pixel; None where the file does not say.
    """

    def __init__(self, aspect: Fraction | None) -> None:
        self._aspect = aspect
        self._matrices: dict[tuple[int, int], np.ndarray | None] = {}

    def __call__(self, frame: Any) -> np.ndarray:
        """RGB uint8 (H, W, 3) of an ``av.VideoFrame``."""
        import cv2

        image: np.ndarray = frame.to_ndarray(format="rgb24")
        size = image.shape[:2]
        if size not in self._matrices:
            self._matrices[size] = _display_matrix(frame)
        if self._aspect and self._aspect > 0 and self._aspect != 1:
            width = max(round(size[1] * float(self._aspect)), 1)
            image = cv2.resize(image, (width, size[0]), interpolation=cv2.INTER_LINEAR)
        matrix = self._matrices[size]
        return image if matrix is None else turned(image, matrix)


def _display_matrix(frame: Any) -> np.ndarray | None:
    held = frame.side_data.get("DISPLAYMATRIX")
    return None if held is None else np.frombuffer(bytes(held), np.int32).reshape(3, 3)


def turned(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """An image as a display matrix shows it, to the nearest quarter turn, mirrored where the matrix mirrors.

    Args:
        image: (H, W, 3).
        matrix: (3, 3); pixel (x, y) is shown at (a x + c y, b x + d y), with a, b and c, d in its first two rows.

    Reference: ISO/IEC 14496-12, ``matrix`` of the track header.
    """
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.swapaxes(0, 1)
        right, down = c, b
    else:
        right, down = a, d
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _said(error: BaseException) -> str:
    """What FFmpeg said, without number and path."""
    return (getattr(error, "strerror", None) or str(error)).strip() or type(error).__name__
