"""Video files that tests write: any codec, times of their own, sound, a rotation, a wrong count of frames."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    rate: int = 25,
    times: Sequence[float] | None = None,
    codec: str = "mpeg4",
    aspect: Fraction | None = None,
    sound: float = 0.0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write frames, all of one size.

    Args:
        path: its ending says which container.
        frames: RGB uint8 (H, W, 3), sides even.
        rate: frames/s where no times are given.
        times: when each frame is shown, in s.
        codec: of the pictures.
        aspect: width to height of a pixel.
        sound: s of a tone.
        options: of the codec.
        container_options: of the container.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream, tone = None, container.add_stream("aac", rate=16000) if sound else None
        for number, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options={"qscale": "2", **(options or {})})
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
                if times is not None:
                    stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        if tone:
            _play(container, tone, sound)
        if stream is not None:
            container.mux(stream.encode())
    return path


def write_sound(path: Path, seconds: float = 0.5) -> Path:
    """A file with nothing to see."""
    with av.open(str(path), "w") as container:
        _play(container, container.add_stream("aac", rate=16000), seconds)
    return path


def _play(container: Any, stream: Any, seconds: float) -> None:
    for start in range(0, int(seconds * 16000), 1024):
        wave = np.sin(np.arange(start, start + 1024) * 2 * math.pi * 440 / 16000).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def turn(path: Path, degrees: int) -> Path:
    """Write into an MP4 file's track header that it is to be shown turned clockwise, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    at += 40 if data[at] == 0 else 52  # flags and times of version 0 or 1, then layer, group, volume
    cos, sin = round(math.cos(math.radians(degrees))), round(math.sin(math.radians(degrees)))
    one = 1 << 16
    struct.pack_into(">9i", data, at, cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def trim(path: Path, start: int, count: int, rate: int = 25) -> Path:
    """Write into an MP4 file's edit list that only ``count`` frames are shown, from frame ``start``, counted from 0."""
    with av.open(str(path)) as container:
        second = container.streams.video[0].time_base.denominator
    data = bytearray(path.read_bytes())
    (scale,) = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)
    at = data.index(b"elst") + 12  # version 0: flags and number of edits, then duration and start of the first
    _, before = struct.unpack_from(">Ii", data, at)
    struct.pack_into(">Ii", data, at, count * scale // rate, before + start * second // rate)
    path.write_bytes(data)
    return path


def announce(path: Path, frames: int) -> Path:
    """Write another number of frames into an AVI file's header."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, frames)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, frames)
    path.write_bytes(data)
    return path
