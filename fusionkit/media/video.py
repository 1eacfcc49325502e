"""Decode a video with PyAV, frame by frame or by number: in display order, upright, with the time of each frame."""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
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
_UNKNOWN = np.iinfo(np.int64).min
_STEADY = 0.9  # share of the steps between frames that are equal where the rate is constant


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

    Frames are numbered over the frames that are shown and can be decoded, whatever their rate; ``seconds`` is the time
    in the file. What a trim (edit list) hides is not shown.
    Frames are rotated as the display matrix of the file says, and resized where pixels are not square.

    Attributes:
        path: the file.
        turn: degrees by which frames are turned clockwise, a multiple of 90, on top of the display matrix.
        faults: problems found while reading, one line each; complete after the last frame.
        expected: declared number of shown frames; set with the first frame, None where the file has no such number.
        count: number of frames read so far, skipped ones included.
        rate: frames per second, known after the last frame; None where times are unknown or the rate varies.
    """

    path: Path
    turn: int = 0
    faults: list[str] = field(default_factory=list)
    expected: int | None = None
    count: int = 0
    rate: float | None = None

    @property
    def span(self) -> tuple[int, int]:
        """Return the number of the first and of the last frame read so far."""
        return 1, self.count

    def frames(self, after: int = 0) -> Iterator[MediaFrame]:
        """Yield the frames; only a few are in memory at a time.

        Args:
            after: skip the frames up to this number. They are decoded, but not converted.

        Raises:
            ConfigError: if PyAV is not installed.
            DataError: if the file is not a video, or no frame can be decoded.
        """
        with _opened(self.path) as (container, stream):
            yield from self._decoded(container, stream, after)

    def _decoded(self, container: Any, stream: Any, after: int) -> Iterator[MediaFrame]:
        self.faults, self.expected, self.count = [], expected_frames(container, stream), 0
        convert = FrameConverter(stream.sample_aspect_ratio)
        reading = _Reading()
        for frame in reading.frames(container, stream):
            self.count += 1
            if self.count > after:
                # The time of each frame, not number / rate: the rate may vary.
                yield MediaFrame(self.count, reading.times[-1], turned(convert(frame), self.turn))
        if not reading.times:
            raise DataError(f"{self.path}: no frame can be decoded", hint="the file is truncated or damaged")
        self.faults = [f"{self.path}{fault}" for fault in reading.faults(container, stream)]
        self.rate = steady_rate(np.array(reading.times))


@dataclass
class _Reading:
    """What is seen while a stream is decoded from its start.

    Attributes:
        times: s of each frame; NaN where unknown.
        end: of the last packet of any stream, in s.
        undecoded: packets that raise an error.
        corrupt: packets that the container calls damaged.
        before_key: packets before the first key frame, if it is not the first.
        has_key: whether a key frame was met.
        skip: whether packets before the first key frame are not decoded.
    """

    times: array[float] = field(default_factory=lambda: array("d"))
    end: float = 0.0
    undecoded: int = 0
    corrupt: int = 0
    before_key: int = 0
    has_key: bool = False
    skip: bool = False

    def frames(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield the frames, as ``av.VideoFrame``."""
        import av

        packets = container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                self.undecoded += 1
                return
            if packet.pts is not None and packet.time_base is not None:
                self.end = max(self.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == stream.index:
                self._note(packet)
                if self.skip and not self.has_key:
                    continue
                for frame in self._frames_of(packet):
                    self.times.append(math.nan if frame.time is None else float(frame.time))
                    yield frame

    def _note(self, packet: Any) -> None:
        self.corrupt += bool(packet.is_corrupt)
        self.has_key |= bool(packet.is_keyframe)
        if packet.size and not self.has_key and not packet.is_discard:
            self.before_key += 1

    def _frames_of(self, packet: Any) -> list[Any]:
        import av

        try:
            decoded: list[Any] = packet.decode()
        except (av.FFmpegError, OSError):
            self.undecoded += 1
            return []
        return decoded

    def faults(self, container: Any, stream: Any) -> list[str]:
        """Return what is wrong with the stream, after its last frame: how each line goes on after the path."""
        faults, count = [], len(self.times)
        declared, duration = _shown(container, stream), (container.duration or 0) / 1e6
        gap = self._longest_gap() if not declared or count < declared else None
        shift = f"; a gap of {gap[1] - gap[0]:.2f} s at {gap[0]:.2f} s lowers later frame numbers" if gap else ""
        if self.before_key and self.has_key:
            first = next((time for time in self.times if not math.isnan(time)), 0.0)
            cut = f"{self.before_key} packet(s) before the first key frame cannot be decoded, or only in part"
            faults.append(f" starts between key frames: {cut}; frame 1 is that at {first:.2f} s")
        if self.undecoded:
            faults.append(f": {self.undecoded} packet(s) cannot be decoded; {count} frames were read{shift}")
        elif declared and declared != count:
            shift = shift or ("; a missing frame lowers the numbers of later ones" if count < declared else "")
            faults.append(f": the header declares {declared} frames; {count} were read{shift}")
        elif self.corrupt:
            faults.append(f": {self.corrupt} packet(s) are damaged; {count} frames were read{shift}")
        elif self.end < duration - _TOLERANCE:
            lengths = f"the header declares {duration:.1f} s; the frames end at {self.end:.1f} s"
            faults.append(f" is truncated: {lengths}; {count} frames were read")
        elif gap and gap[1] - gap[0] > _TOLERANCE:
            faults.append(f": {count} frames were read{shift}")
        return faults

    def _longest_gap(self) -> tuple[float, float] | None:
        """Return the times around the longest gap between frames; None where the rate varies or no frame is missing."""
        times = np.array(self.times)
        times = np.sort(times[~np.isnan(times)])
        steps = np.diff(times)
        if len(steps) < 2:
            return None
        longest = int(steps.argmax())
        if steps[longest] < 1.5 * np.median(steps) or steady_rate(times) is None:
            return None
        return float(times[longest]), float(times[longest + 1])


def steady_rate(times: np.ndarray) -> float | None:
    """Return the frames per second of a video, from the times of its frames; None where the rate varies.

    Times may be rounded, as to milliseconds: the mean of all equal steps is taken.

    Args:
        times: (n,) s, in any order; NaN where unknown.
    """
    steps = np.diff(np.sort(times[~np.isnan(times)]))
    if len(steps) < 2:
        return None
    usual = float(np.median(steps))
    even = steps[np.abs(steps - usual) <= 0.1 * usual]
    return float(len(even) / even.sum()) if usual > 0 and len(even) >= _STEADY * len(steps) else None


class FrameIndex:
    """The frames of :class:`Video`, by number: the file is decoded once, and no image is kept.

    Only decoding tells which frames there are: trims, damage and streams that start between key frames hide some, and
    some codecs have packets without a picture.

    Attributes:
        pts: (N,) int64 presentation time of each frame; the lowest int64 where it is unknown or that of several frames.
        sums: (N,) uint64 checksum of each frame, as decoded.
        keys: (K,) int64 indices of the key frames to which the file can be searched, ascending.

    Args:
        path: the video.

    Raises:
        ConfigError: if PyAV is not installed.
        DataError: if the file is not a video, or no frame can be decoded.
    """

    def __init__(self, path: Path) -> None:
        pts, keys, sums = array("q"), array("B"), array("L")
        with _opened(path) as (container, stream):
            for frame in _Reading().frames(container, stream):
                pts.append(_UNKNOWN if frame.pts is None else frame.pts)
                keys.append(frame.key_frame)
                sums.append(_checksum(frame))
        if not pts:
            raise DataError(f"{path}: no frame can be decoded", hint="the file is truncated or damaged")
        self.pts, self.sums = np.array(pts, np.int64), np.array(sums, np.uint64)
        values, counts = np.unique(self.pts, return_counts=True)
        self.pts[np.isin(self.pts, values[counts > 1])] = _UNKNOWN
        self.keys = np.flatnonzero(np.array(keys, bool) & (self.pts != _UNKNOWN))

    def __len__(self) -> int:
        return len(self.pts)


class FrameReader:
    """Read single frames of a video; a frame is decoded from a key frame before it.

    Where a search of the file does not lead to the same image, as in an MPEG program stream or after damage, the frame
    is decoded from the start.

    Args:
        path: the video.
        index: of the same file.

    Raises:
        DataError: if the file cannot be opened any more.
    """

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self._path, self._index = path, index
        self._container, self._stream = _open(path)
        self._convert = FrameConverter(self._stream.sample_aspect_ratio)

    def read(self, number: int) -> np.ndarray | None:
        """Return the image of frame ``number``, from 1, as :class:`Video` does; None if the file has changed.

        Raises:
            DataError: if the file cannot be read any more.
        """
        pts = int(self._index.pts[number - 1])
        before = self._index.keys[self._index.keys < number]
        if pts != _UNKNOWN:
            for key in before[-2:][::-1].tolist():
                self._container.seek(int(self._index.pts[key]), stream=self._stream, backward=True)
                for frame in _Reading(skip=True).frames(self._container, self._stream):
                    if frame.pts == pts and _checksum(frame) == self._index.sums[number - 1]:
                        return self._convert(frame)
                    if frame.pts is None or frame.pts >= pts:
                        break  # the search ended behind the key frame, or gives other times or images
        with _opened(self._path) as (container, stream):
            frames = _Reading().frames(container, stream)
            frame = next(islice(frames, number - 1, None), None)
            return None if frame is None else self._convert(frame)


def _checksum(frame: Any) -> int:
    """Return a checksum of all planes of an ``av.VideoFrame``: after damage, colours can differ where luma does not.

    Above 8 bits a sample, part of each line is left out.
    """
    checksum = 0
    for plane in frame.planes:
        lines = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width]  # the rest is padding
        checksum = zlib.crc32(lines.tobytes(), checksum)
    return checksum


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a video for reading from its start."""
    container, stream = _open(path)
    with container:
        yield container, stream


def _open(path: Path) -> tuple[Any, Any]:
    """Return the container of a video and its stream of pictures.

    Raises:
        ConfigError: if PyAV is not installed.
        DataError: if the file is not a video that can be decoded.
    """
    with extra("video", f"{path}"):
        import av

    _check(path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as a video: {_ffmpeg_message(error)}", hint="the file is damaged or not a video"
        ) from error
    try:
        stream = _video_stream(container, path)
    except DataError:
        container.close()
        raise
    # Threads for frames show a frame of a damaged stream before its repair is over: one file, several images.
    stream.thread_type = "SLICE"
    return container, stream


def expected_frames(container: Any, stream: Any) -> int | None:
    """Return the number of shown frames in the header, else duration times mean rate; None where there is neither."""
    if declared := _shown(container, stream):
        return declared
    rate = stream.average_rate or 0
    return round((container.duration or 0) / 1e6 * float(rate)) or None


def _shown(container: Any, stream: Any) -> int:
    """Return the number of frames in the header that an edit list does not hide; 0 where there is no number.

    Reference: ISO/IEC 14496-12, ``elst``. FFmpeg marks in its index what the list hides.
    """
    if stream.frames and "mp4" in container.format.name.split(","):
        return sum(not entry.is_discard for entry in stream.index_entries)
    return int(stream.frames)


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
