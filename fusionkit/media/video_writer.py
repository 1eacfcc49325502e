"""Write a video frame by frame; the file appears when it is complete."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from math import isnan
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from fusionkit.errors import StorageError, extra
from fusionkit.storage.artifact import unwritable

_TIME_BASE = Fraction(1, 90_000)  # s, fine enough for any rate
_RATE = 25  # frames/s for frames without a time


class VideoWriter:
    """Write an MP4 file, H.264 where PyAV has the encoder, else MPEG-4, with a time for each frame.

    Use it in a ``with`` statement. After an exception there is no new file.

    Args:
        path: of the file; an existing file is replaced.

    Raises:
        ConfigError: if PyAV is not installed.
        StorageError: if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        with extra("video", f"{path}"):
            import av  # noqa: F401
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def __enter__(self) -> Self:
        return self

    def add(self, image: np.ndarray, seconds: float) -> None:
        """Add the next frame.

        Args:
            image: RGB uint8 (H, W, 3), H and W even, of the same size in all frames.
            seconds: presentation time, later than that of the frame before; NaN: 1/25 s after it.

        Raises:
            StorageError: if it cannot be written.
        """
        import av

        try:
            if self._container is None:
                self._open(image)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            step = 1 / _RATE / _TIME_BASE
            at = self._last + (step if self._last >= 0 else 1) if isnan(seconds) else round(seconds / _TIME_BASE)
            self._last = max(int(at), self._last + 1)
            frame.pts, frame.time_base = self._last, _TIME_BASE
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise _storage_error(self._path, error) from error

    def _open(self, image: np.ndarray) -> None:
        import av

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "faststart"})
        codec, options = ("libx264", {"crf": "20", "preset": "veryfast"})
        if codec not in av.codecs_available:
            codec, options = "mpeg4", {"qscale": "3"}
        self._stream = self._container.add_stream(codec, rate=_RATE, options=options)
        self._stream.height, self._stream.width = image.shape[:2]
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = _TIME_BASE

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import av

        try:
            if self._container is not None:
                if kind is None:
                    self._container.mux(self._stream.encode(None))
                self._container.close()
                if kind is None:
                    self._partial.replace(self._path)
        except (av.FFmpegError, OSError) as cause:
            if kind is None:
                raise _storage_error(self._path, cause) from cause
        finally:
            with suppress(OSError):
                self._partial.unlink(missing_ok=True)


def _storage_error(path: Path, error: Exception) -> StorageError:
    if isinstance(error, OSError):
        return unwritable(path, error)
    return StorageError(f"{path} cannot be written: {error}")
