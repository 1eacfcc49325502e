"""The contract of a region extractor: it says where the parts of a face are; the kernel cuts them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.contracts.face import Face
from fusionkit.errors import FusionKitError, PluginError, cause_of


@dataclass(frozen=True, eq=False)
class Located:
    """Where R regions are in N frames.

    Attributes:
        boxes: (N, R, 5) float32: centre x, centre y, width, height in pixels of the frame, and angle in degrees,
            by which the box is turned clockwise as seen on the screen. A row of NaN: not found.
        score: (N, R) float32 in 0..1: how sure the extractor is; 0 where not found.
        landmarks: (N, K, 2) float32 x, y in pixels, NaN where not found; None for an extractor without landmarks.
    """

    boxes: np.ndarray
    score: np.ndarray
    landmarks: np.ndarray | None = None


class Extractor(Component, ABC):
    """Locates the regions of faces."""

    kind: ClassVar[str] = "extractor"

    @property
    @abstractmethod
    def regions(self) -> tuple[str, ...]:
        """The R names of the regions it can locate, in the order of the boxes."""

    @abstractmethod
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        """Locate every region in every frame.

        Args:
            frames: N images, RGB uint8 (H, W, 3), of possibly different sizes.
        """

    def faces(self, frame: np.ndarray) -> list[Face]:
        """Every face of one frame, surest first. Optional: a detector has it, and ``fusionkit align`` needs it.

        Args:
            frame: RGB uint8 (H, W, 3).

        Raises:
            PluginError: if the extractor does not find faces.
        """
        raise PluginError(f"extractor {type(self).__name__} says where regions are, but finds no faces")

    @property
    def finds_faces(self) -> bool:
        """Whether it has :meth:`faces`."""
        return type(self).faces is not Extractor.faces

    def detect(self, frame: np.ndarray) -> list[Face]:
        """:meth:`faces`, checked: a face without a usable box or five points by which to align it is left out.

        Raises:
            PluginError: if the extractor fails, or the shapes are not those of the contract.
        """
        name = type(self).__name__
        usable = []
        try:
            found = self.faces(frame)
        except FusionKitError:
            raise
        except Exception as error:
            size = f"{frame.shape[1]} x {frame.shape[0]} px"
            raise PluginError(f"extractor {name} failed on a frame of {size}: {cause_of(error)}") from error
        for face in found:
            if not isinstance(face, Face):
                raise PluginError(f"extractor {name} gave {type(face).__name__} as a face, not Face")
            box, points = np.asarray(face.box, np.float64), np.asarray(face.points, np.float64)
            if box.shape != (4,) or points.shape != (5, 2):
                raise PluginError(
                    f"extractor {name} gave a face with box {box.shape} and points {points.shape}; "
                    "expected (4,) and (5, 2)"
                )
            if np.isfinite(box).all() and (box[2:] > box[:2]).all() and face.to_template() is not None:
                usable.append(Face(box, float(face.score), points, face.landmarks))
        return usable

    def __call__(self, frames: Sequence[np.ndarray]) -> Located:
        """:meth:`locate`, checked: an unusable box (not finite, or without area) becomes a row of NaN with score 0.

        Raises:
            PluginError: if the shapes are not those of the contract.
        """
        name = type(self).__name__
        found = self.locate(frames)
        if not isinstance(found, Located):
            raise PluginError(f"extractor {name} gave {type(found).__name__}, not Located")
        shape = (len(frames), len(self.regions))
        boxes, score = np.asarray(found.boxes), np.asarray(found.score)
        if boxes.shape != (*shape, 5) or score.shape != shape:
            raise PluginError(
                f"extractor {name} gave boxes {boxes.shape} and scores {score.shape}; "
                f"expected {(*shape, 5)} and {shape} for {shape[0]} frames and {shape[1]} regions"
            )
        marks = found.landmarks
        if marks is not None and (marks.ndim != 3 or marks.shape[::2] != (shape[0], 2)):
            raise PluginError(f"extractor {name} gave landmarks {marks.shape}; expected ({shape[0]}, K, 2)")
        boxes, score = boxes.astype(np.float32), score.astype(np.float32)
        usable = np.isfinite(boxes).all(-1) & (boxes[..., 2] > 0) & (boxes[..., 3] > 0)
        boxes[~usable] = np.nan
        score[~usable] = 0.0
        return Located(boxes, score, found.landmarks)
