"""Frames of a video as images that are reached in any order, through PyAV."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.errors import DataError, cause_of
from fusionkit.identity import digest
from fusionkit.media.video import Upright
from fusionkit.training.images import Images


class VideoFrames(Images):
    """Every ``stride``-th frame of a video.

    A frame is reached from the key frame before it, so that random access costs the decoding of what lies between: for
    long training on long videos, frames in files are quicker.

    Args:
        path: the video.
        stride: 1 takes every frame.

    Raises:
        DataError: if the file is no video.
    """

    def __init__(self, path: Path, stride: int = 1) -> None:
        self.path = path
        self.stride = stride
        self._own = threading.local()  # a decoder has a position, so each thread has its own
        try:
            times, self._keys = self._indexed()
        except (OSError, ValueError) as error:  # PyAV's errors are of these kinds
            raise DataError(f"{path} cannot be read as a video: {cause_of(error)}") from error
        if not len(times) or not len(self._keys):
            raise DataError(f"{path} holds no frames")
        self._times = times[::stride]

    def __len__(self) -> int:
        return len(self._times)

    def read(self, index: int) -> np.ndarray | None:
        """Decode one frame."""
        target = int(self._times[index])
        before = max(int(np.searchsorted(self._keys[:, 0], target, side="right")) - 1, 0)
        try:
            for start in (before, 0):
                image = self._decoded(int(self._keys[start, 1]), target)
                if image is not None:
                    return image
        except (OSError, ValueError):
            self._own.container = None
        return None

    def _decoded(self, start: int, target: int) -> np.ndarray | None:
        """The frame shown at ``target``, decoded from a key frame; None where the seek came out behind it."""
        container = self._container()
        container.seek(start, stream=container.streams.video[0], backward=True)
        earlier = False
        for frame in container.decode(video=0):
            if frame.pts is not None and frame.pts >= target:
                image: np.ndarray = self._own.upright(frame)
                return image if earlier or frame.pts == target else None
            earlier = True
        return None

    def where(self, index: int) -> str:
        """The file and the frame's number, from 0."""
        return f"{self.path} frame {index * self.stride}"

    @cached_property
    def fingerprint(self) -> str:
        """Of the file's name and size, and of the stride."""
        return digest([self.path.name, self.path.stat().st_size, self.stride])

    def _indexed(self) -> tuple[np.ndarray, np.ndarray]:
        """Packets are read and not decoded.

        Returns:
            (N,) int64: when each frame is shown, rising; (K, 2) int64: of each key frame when it is shown, and when it
            is decoded, which is what containers are searched by.
        """
        import av

        times, keys = [], []
        with av.open(str(self.path)) as container:
            if not container.streams.video:
                raise ValueError("it has no video stream")
            for packet in container.demux(video=0):
                shown = packet.dts if packet.pts is None else packet.pts
                if shown is not None:
                    times.append(shown)
                    if packet.is_keyframe:
                        keys.append((shown, shown if packet.dts is None else packet.dts))
        return np.sort(np.array(times, np.int64)), np.array(sorted(keys), np.int64).reshape(-1, 2)

    def _container(self) -> Any:
        if getattr(self._own, "container", None) is None:
            import av

            self._own.container = av.open(str(self.path))
            self._own.upright = Upright(self._own.container.streams.video[0].sample_aspect_ratio)
        return self._own.container
