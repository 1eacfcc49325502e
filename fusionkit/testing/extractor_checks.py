"""Checks of extractors: boxes of whatever frames come, each frame by itself."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.extractor import Extractor, Located
from fusionkit.errors import ConfigError
from fusionkit.registry.spec import Spec
from fusionkit.testing.case import CheckFailed, Skipped, Subject, Suite, require, require_close, require_same

CHECKS = Suite()
_PARTS = ("boxes", "score", "landmarks")


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built, and locates its regions in a frame, with results of the right shape."""
    subject.build()([_noise(64, 64)])


@CHECKS.check
def region_names(subject: Subject) -> None:
    """Regions have names of their own that can be written as views."""
    from fusionkit.config.views import View

    names = subject.build().regions
    require(isinstance(names, tuple) and names, f"regions = {names!r} is not a tuple of names")
    require(len(set(names)) == len(names), f"a region's name is there twice: {', '.join(names)}")
    for name in names:
        try:
            View.parse(f"keep:{name}")
        except ConfigError as error:
            raise CheckFailed(f"region {name!r} cannot be written as a view: {error}") from error


@CHECKS.check
def frames_of_different_sizes(subject: Subject) -> None:
    """Frames of a batch may differ in size and shape, and each has the boxes that it has alone."""
    extractor, frames = subject.build(), [_noise(64, 64), _noise(48, 80), _noise(121, 37)]
    whole = extractor(frames)
    for row, frame in enumerate(frames):
        what = f"frame {row}, among others of other sizes, is not what it is alone"
        _require_alike(_row(whole, row), extractor([frame]), what)


@CHECKS.check
def black_frame(subject: Subject) -> None:
    """A frame with nothing to see is no error: what is not found is a row of NaN."""
    subject.build()([np.zeros((64, 64, 3), np.uint8)])


@CHECKS.check
def frame_of_one_pixel(subject: Subject) -> None:
    """A frame of one pixel is no error."""
    subject.build()([_noise(1, 1)])


@CHECKS.check
def what_is_not_found(subject: Subject) -> None:
    """A box is whole, with a score in 0..1, or a row of NaN with score 0; landmarks are finite or NaN."""
    found = subject.build().locate(_frames())
    boxes, score = np.asarray(found.boxes, np.float64), np.asarray(found.score, np.float64)
    holes = np.isnan(boxes)
    require((holes.any(-1) == holes.all(-1)).all(), "a box is partly NaN")
    require(not np.isinf(boxes).any(), "a box is infinite")
    require(((score >= 0) & (score <= 1)).all(), "a score is not in 0..1")
    require((score[holes.all(-1)] == 0).all(), "a region that was not found has a score above 0")
    scored_rows = boxes[..., 2:4][~holes.all(-1)]
    require((scored_rows > 0).all(), "a box has no area; what is not found is a row of NaN")
    require(found.landmarks is None or not np.isinf(found.landmarks).any(), "a landmark is infinite")


@CHECKS.check
def row_alone_is_row_in_batch(subject: Subject) -> None:
    """Where the regions of a frame are does not depend on the other frames of its batch."""
    extractor, frames = subject.build(), _frames()
    whole = extractor(frames)
    for row, frame in enumerate(frames):
        _require_alike(extractor([frame]), _row(whole, row), f"frame {row} alone is not what it is in a batch")


@CHECKS.check
def input_is_not_changed(subject: Subject) -> None:
    """Frames are as they were before the call."""
    frames = _frames()
    subject.build()(frames)
    for frame, before in zip(frames, _frames(), strict=True):
        require_same(frame, before, "a frame was written to")


@CHECKS.check
def same_input_same_result(subject: Subject) -> None:
    """Asked twice, and asked of another instance, the boxes are the same bits."""
    extractor = subject.build()
    first = extractor(_frames())
    extractor(_frames()[::-1])
    _require_alike(extractor(_frames()), first, "asked twice, the result differs", exact=True)
    _require_alike(subject.build()(_frames()), first, "two of the same options differ", exact=True)


@CHECKS.check
def boxes_scale_with_the_frame(subject: Subject) -> None:
    """Where only the frame's size decides, it gives boxes twice as large, to a pixel, in a frame twice as large."""
    extractor = subject.build()
    small, other = extractor([_noise(64, 96)]), extractor([_noise(64, 96)[::-1]])
    if not np.array_equal(small.boxes, other.boxes, equal_nan=True):
        raise Skipped("it goes by what is to be seen")
    large = extractor([_noise(128, 192)])
    require_close(large.boxes[..., :4], 2 * small.boxes[..., :4], "boxes do not grow with the frame", atol=1.0)
    require_close(large.boxes[..., 4], small.boxes[..., 4], "the boxes' angle changes with the size of the frame")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Written as a SPEC and read again, the options build the same extractor: that is how workers get it."""
    spec = Spec.parse(subject.text)
    require(str(spec) == subject.text, f"{subject.text!r} is read as {str(spec)!r}")
    extractor: Extractor = subject.build()
    again = subject.cls(**spec.options)
    require(again.regions == extractor.regions, f"built from {subject.text} it has other regions")
    _require_alike(again(_frames()), extractor(_frames()), f"built from {subject.text} it differs", exact=True)


def _frames() -> list[np.ndarray]:
    """Noise, a grey area, and a ramp, of one size."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 3 + 20, (64, 64, 3)).copy()
    return [_noise(64, 64), np.full((64, 64, 3), 128, np.uint8), ramp]


def _noise(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng([height, width])
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _row(found: Located, row: int) -> Located:
    parts = [None if value is None else value[row : row + 1] for value in (getattr(found, p) for p in _PARTS)]
    boxes, score, landmarks = parts
    assert boxes is not None
    assert score is not None
    return Located(boxes, score, landmarks)


def _require_alike(found: Located, wanted: Located, what: str, *, exact: bool = False) -> None:
    for part in _PARTS:
        one, other = getattr(found, part), getattr(wanted, part)
        require((one is None) == (other is None), f"{what}: landmarks are there once only")
        if one is not None and exact:
            require_same(one, other, f"{what}: {part}")
        elif one is not None:
            require_close(one, other, f"{what}: {part}", atol=1e-2)
