"""Decode a video frame by frame with PyAV: in display order, upright, with the time of each frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.contracts.image_file import MAX_PIXELS, is_image
from fusionkit.contracts.regular_file import open_file
from fusionkit.errors import DataError, extra

ENDINGS = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)
_TOLERANCE = 0.5  # s by which the decoded frames may end before the declared duration


@dataclass(frozen=True, eq=False)
class MediaFrame:
    """One frame.

    Attributes:
        number: position in display order, from 1.
        seconds: presentation time; NaN where the file has none, and for images.
        image: RGB uint8 (H, W, 3).
    """

    number: int
    seconds: float
    image: np.ndarray


@dataclass
class Video:
    """A video file.

    Frames are numbered over the frames that can be decoded, whatever their rate; ``seconds`` is the time in the file.
    Frames are rotated as the display matrix of the file says, and resized where pixels are not square.

    Attributes:
        path: the file.
        turn: degrees by which frames are turned clockwise, a multiple of 90, on top of the display matrix.
        faults: problems found while reading, one line each; complete after the last frame.
        expected: declared number of frames; set with the first frame, None where the file has no such number.
    """

    path: Path
    turn: int = 0
    faults: list[str] = field(default_factory=list)
    expected: int | None = None

    def frames(self, after: int = 0) -> Iterator[MediaFrame]:
        """Yield the frames; only a few are in memory at a time.

        Args:
            after: skip the frames up to this number. They are decoded, but not converted.

        Raises:
            ConfigError: if PyAV is not installed.
            DataError: if the file is not a video, or no frame can be decoded.
        """
        with extra("video", f"{self.path}"):
            import av

        _check(self.path)
        try:
            container = av.open(str(self.path))
        except (av.FFmpegError, OSError) as error:
            raise DataError(
                f"{self.path} cannot be read as a video: {_ffmpeg_message(error)}",
                hint="the file is damaged or not a video",
            ) from error
        with container:
            yield from self._decoded(container, after)

    def _decoded(self, container: Any, after: int) -> Iterator[MediaFrame]:
        stream = _video_stream(container, self.path)
        stream.thread_type = "AUTO"
        self.faults, self.expected = [], expected_frames(container, stream)
        convert = FrameConverter(stream.sample_aspect_ratio)
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
                # The time of each frame, not number / rate: the rate may vary.
                seconds = math.nan if item.time is None else float(item.time)
                yield MediaFrame(count, seconds, turned(convert(item), self.turn))
        if not count:
            raise DataError(f"{self.path}: no frame can be decoded", hint="the file is truncated or damaged")
        declared, duration = stream.frames, (container.duration or 0) / 1e6
        if damaged:
            self.faults.append(f"{self.path}: {damaged} packet(s) cannot be decoded; {count} frames were read")
        elif declared and declared != count:
            self.faults.append(f"{self.path}: the header declares {declared} frames; {count} were read")
        elif end < duration - _TOLERANCE:
            lengths = f"the header declares {duration:.1f} s; the frames end at {end:.1f} s"
            self.faults.append(f"{self.path} is truncated: {lengths}; {count} frames were read")


def _items(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames of a stream, the end of every packet of any stream in s, and the messages of decoding errors."""
    import av

    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError) as error:
            yield _ffmpeg_message(error)
            return
        if packet.pts is not None and packet.time_base is not None:
            yield float((packet.pts + (packet.duration or 0)) * packet.time_base)
        if packet.stream.index != stream.index:
            continue
        try:
            yield from packet.decode()
        except (av.FFmpegError, OSError) as error:
            yield _ffmpeg_message(error)


def expected_frames(container: Any, stream: Any) -> int | None:
    """Return the number of frames in the header, else duration times mean rate; None where the file has neither."""
    if stream.frames:
        return int(stream.frames)
    rate = stream.average_rate or 0
    return round((container.duration or 0) / 1e6 * float(rate)) or None


def _check(path: Path) -> None:
    """Raise :class:`DataError` for a file that is unreadable, empty or an image: FFmpeg would decode the last."""
    try:
        with open_file(path) as file:
            start = file.read(16)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not start:
        raise DataError(f"{path} is empty")
    if is_image(start) and not start.startswith(b"GIF8"):  # which may be animated
        raise DataError(f"{path} is an image, not a video", hint="give it the ending of an image, such as .jpg")


def _video_stream(container: Any, path: Path) -> Any:
    """Return the first video stream; cover art of an audio file does not count.

    Raises:
        DataError: if there is none that can be decoded, or its frames are larger than ``MAX_PIXELS``.
    """
    import av

    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        if container.streams.audio:
            raise DataError(f"{path} contains audio but no video")
        raise DataError(f"{path} contains no video stream", hint="the file is truncated or not a video")
    stream = streams[0]
    if stream.codec_context is None:
        raise DataError(f"{path}: PyAV has no decoder for its codec", hint="convert it, for example to H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: frames of {width} x {height} px exceed {MAX_PIXELS / 1e6:g} megapixels")
    return stream


class FrameConverter:
    """Convert the frames of one video to upright RGB images with square pixels.

    The display matrix is read from the first frame of each size only: PyAV's side data and the frame refer to each
    other, so each frame that is asked for its side data stays in memory until the garbage collector runs.

    Args:
        aspect: width to height of a pixel; None where the file does not say.
    """

    def __init__(self, aspect: Fraction | None) -> None:
        self._aspect = aspect
        self._matrices: dict[tuple[int, int], np.ndarray | None] = {}

    def __call__(self, frame: Any) -> np.ndarray:
        """Return an ``av.VideoFrame`` as RGB uint8 (H, W, 3)."""
        import cv2

        image: np.ndarray = frame.to_ndarray(format="rgb24")
        size = image.shape[:2]
        if size not in self._matrices:
            self._matrices[size] = _display_matrix(frame)
        if self._aspect and self._aspect > 0 and self._aspect != 1:
            width = max(round(size[1] * float(self._aspect)), 1)
            image = cv2.resize(image, (width, size[0]), interpolation=cv2.INTER_LINEAR)
        matrix = self._matrices[size]
        return image if matrix is None else rotate(image, matrix)


def turned(image: np.ndarray, degrees: int) -> np.ndarray:
    """Turn an image (H, W, 3) clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, -degrees // 90)) if degrees % 360 else image


def _display_matrix(frame: Any) -> np.ndarray | None:
    data = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)


def rotate(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a display matrix to an image, rounded to the nearest quarter turn, with its mirroring.

    Args:
        image: (H, W, 3).
        matrix: (3, 3) with a, b and c, d in its first two rows; pixel (x, y) is shown at (a x + c y, b x + d y).

    Reference: ISO/IEC 14496-12, ``matrix`` of the track header.
    """
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.swapaxes(0, 1)
        right, down = c, b
    else:
        right, down = a, d
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _ffmpeg_message(error: BaseException) -> str:
    """Return the message of an FFmpeg error without its number and path."""
    return (getattr(error, "strerror", None) or str(error)).strip() or type(error).__name__
