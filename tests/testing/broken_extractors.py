"""Extractors with one fault each, by the only check that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from testing.good_plugins import GoodDetector, GoodExtractor

from fusionkit.contracts import Located


class CannotLocate(GoodExtractor):
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        raise RuntimeError("no model today")


class OneNameForTwo(GoodExtractor):
    @property
    def regions(self) -> tuple[str, ...]:
        return ("half", "half")


class OneSizeOnly(GoodExtractor):
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        return super().locate(list(np.stack(frames)))


class NeedsLight(GoodExtractor):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        return super().boxes(frame) * (1.0 if frame.max() // frame.max() else 0.0)

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        if any(not frame.any() for frame in frames):
            raise ZeroDivisionError
        return super().locate(frames)


class NeedsTwoPixels(GoodExtractor):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        frame[1, 1]
        return super().boxes(frame)


class SureOfNothing(GoodExtractor):
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        found = super().locate(frames)
        found.boxes[:, 1] = np.nan
        return found


class MeanOfTheBatch(GoodExtractor):
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        found = super().locate(frames)
        if len({frame.shape for frame in frames}) == 1:
            found.boxes[..., 2] *= ((1 + np.mean(frames)) / (1 + np.mean(frames, axis=(1, 2, 3))))[:, None]
        return found


class BlanksTheFrame(GoodExtractor):
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        found = super().locate(frames)
        for frame in frames:
            frame[0, 0] = 7
        return found


class DriftsAway(GoodExtractor):
    calls = 0

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        self.calls += len(frames) > 1
        found = super().locate(frames)
        return Located(found.boxes + (self.calls > 2), found.score)


class TenPixels(GoodExtractor):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        return np.tile(np.float32([5, 5, 10, 10, 0]), (2, 1))


class TupleOrList(GoodExtractor):
    """The upper and the lower part, unequal where it is given a tuple.

    Args:
        kinds: some.

    Reference: a toy.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"kinds": (1, 2)},)

    def __init__(self, kinds: Sequence[int] = (1,)) -> None:
        super().__init__(0.3 if isinstance(kinds, tuple) else 0.5)


class SeedsNumPy(GoodExtractor):
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        np.random.seed(0)  # noqa: NPY002
        return super().locate(frames)


class Corners(GoodDetector):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        x, y, width, height, turn = super().boxes(frame).T
        return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2, turn], 1)


class CornersOfParts(GoodExtractor):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        x, y, width, height, turn = super().boxes(frame).T
        return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2, turn], 1)


class Fractions(GoodDetector):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        return super().boxes(frame) / (width, height, width, height, 1)


class FractionsOfParts(GoodExtractor):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        return super().boxes(frame) / np.float32([width, height, width, height, 1])


class HeightFirst(GoodDetector):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        return super().boxes(frame)[:, [0, 1, 3, 2, 4]]


class HeightFirstOfParts(GoodExtractor):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        return super().boxes(frame)[:, [0, 1, 3, 2, 4]] * np.float32([1, 1, 0.7, 0.4, 1])


class Radians(GoodDetector):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        return super().boxes(frame) * (1, 1, 1, 1, np.pi / 180)


class CounterClockwise(GoodDetector):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        return super().boxes(frame) * (1, 1, 1, 1, -1)


class OutsideTheFrame(GoodDetector):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        return super().boxes(frame) + np.array([frame.shape[1], 0, 0, 0, 0])


class FewPixels(GoodDetector):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        boxes = super().boxes(frame)
        boxes[:, 2:4] = np.where(np.isnan(boxes[:, 2:4]), np.nan, 3)
        return boxes


class FromTheCorner(GoodDetector):
    def boxes(self, frame: np.ndarray) -> np.ndarray:
        boxes = super().boxes(frame)
        boxes[:, 2:4] = boxes[:, :2] * 0.8
        return boxes


BROKEN: dict[str, type] = {
    "builds_and_runs": CannotLocate,
    "region_names": OneNameForTwo,
    "frames_of_different_sizes": OneSizeOnly,
    "black_frame": NeedsLight,
    "frame_of_one_pixel": NeedsTwoPixels,
    "missing_regions_are_nan": SureOfNothing,
    "row_alone_is_row_in_batch": MeanOfTheBatch,
    "input_is_not_changed": BlanksTheFrame,
    "same_input_same_result": DriftsAway,
    "boxes_scale_with_the_frame": TenPixels,
    "spec_round_trip": TupleOrList,
    "global_seed_is_not_set": SeedsNumPy,
    "boxes_lie_in_the_frame": Fractions,
    "boxes_move_with_the_face": FromTheCorner,
    "angle_is_in_degrees": Radians,
}
MORE: list[tuple[str, type]] = [
    ("boxes_lie_in_the_frame", CornersOfParts),
    ("boxes_lie_in_the_frame", FractionsOfParts),
    ("boxes_lie_in_the_frame", OutsideTheFrame),
    ("boxes_lie_in_the_frame", FewPixels),
    ("boxes_move_with_the_face", Corners),
    ("boxes_scale_with_the_frame", HeightFirst),
    ("boxes_scale_with_the_frame", HeightFirstOfParts),
    ("angle_is_in_degrees", CounterClockwise),
]
