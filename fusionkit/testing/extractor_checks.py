"""Checks of extractors: regions of frames of any size, independent of the batch."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.extractor import Extractor, Located
from fusionkit.errors import ConfigError
from fusionkit.testing.case import CheckFailed, Skipped, Subject, Suite, require, require_close, require_same

CHECKS = Suite()


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built, and locates its regions in a frame, with results of the right shape."""
    subject.build()([_noise(64, 64)])


@CHECKS.check
def region_names(subject: Subject) -> None:
    """Region names are unique and can be written as views."""
    from fusionkit.config.views import View

    names = subject.build().regions
    require(isinstance(names, tuple) and names, f"regions: expected a tuple of names, found {names!r}")
    require(len(set(names)) == len(names), f"regions: expected unique names, found {', '.join(names)}")
    for name in names:
        try:
            View.parse(f"keep:{name}")
        except ConfigError as error:
            raise CheckFailed(f"regions: expected names that a view can hold, found {name!r}: {error}") from error


@CHECKS.check
def frames_of_different_sizes(subject: Subject) -> None:
    """Frames of a batch may differ in size, and each has the same boxes as alone."""
    extractor, frames = subject.build(), [_noise(64, 64), _noise(48, 80), _noise(121, 37)]
    _require_independent(extractor, frames, "among frames of other sizes")


@CHECKS.check
def black_frame(subject: Subject) -> None:
    """A black frame is valid input; a region that is not found is a row of NaN."""
    subject.build()([np.zeros((64, 64, 3), np.uint8)])


@CHECKS.check
def frame_of_one_pixel(subject: Subject) -> None:
    """A frame of one pixel is valid input."""
    subject.build()([_noise(1, 1)])


@CHECKS.check
def missing_regions_are_nan(subject: Subject) -> None:
    """A box is finite with a score in 0..1, or a row of NaN with score 0; landmarks are finite or NaN."""
    found = subject.build().locate(_frames())
    boxes, score = np.asarray(found.boxes, np.float64), np.asarray(found.score, np.float64)
    missing = np.isnan(boxes).all(-1)
    require((np.isnan(boxes).any(-1) == missing).all(), "locate(): expected boxes without NaN or all NaN, found both")
    require(not np.isinf(boxes).any(), "locate(): expected finite boxes, found an infinite value")
    require(
        ((score >= 0) & (score <= 1)).all(),
        f"locate(): expected scores in 0..1, found {score.min():g}..{score.max():g}",
    )
    require((score[missing] == 0).all(), "locate(): expected score 0 for a box of NaN, found a higher one")
    sized = (boxes[..., 2:4][~missing] > 0).all()
    require(sized, "locate(): expected boxes with width and height above 0, or rows of NaN; found a box without area")
    finite = found.landmarks is None or not np.isinf(found.landmarks).any()
    require(finite, "locate(): expected finite landmarks or NaN, found an infinite value")


@CHECKS.check
def row_alone_is_row_in_batch(subject: Subject) -> None:
    """The regions of a frame do not depend on the other frames of its batch."""
    _require_independent(subject.build(), _frames(), "in a batch")


@CHECKS.check
def input_is_not_changed(subject: Subject) -> None:
    """The frames are unchanged after the call."""
    frames = _frames()
    subject.build()(frames)
    for frame, before in zip(frames, _frames(), strict=True):
        require_same(frame, before, "locate(): changes a frame that it gets")


@CHECKS.check
def same_input_same_result(subject: Subject) -> None:
    """A second call and a second instance give the same bits."""
    extractor = subject.build()
    first = extractor(_frames())
    extractor(_frames()[::-1])
    _require_alike(extractor(_frames()), first, "locate(): a second call with the same frames differs", exact=True)
    again = subject.build()(_frames())
    _require_alike(again, first, "locate(): a second instance with the same options differs", exact=True)


@CHECKS.check
def boxes_scale_with_the_frame(subject: Subject) -> None:
    """If only the size of the frame matters, boxes double with it, to within a pixel."""
    extractor = subject.build()
    small, other = extractor([_noise(64, 96)]), extractor([_noise(64, 96)[::-1]])
    if not np.array_equal(small.boxes, other.boxes, equal_nan=True):
        raise Skipped("it depends on the content of the frame")
    large = extractor([_noise(128, 192)])
    what = "locate(): expected boxes twice as large in a frame twice as large"
    require_close(large.boxes[..., :4], 2 * small.boxes[..., :4], what, atol=1.0)
    require_close(large.boxes[..., 4], small.boxes[..., 4], "locate(): the angle changes with the size of the frame")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Options written as a SPEC and parsed again build the same extractor; workers get it that way."""
    extractor: Extractor = subject.build()
    again: Extractor = subject.build_from_text()
    require(
        again.regions == extractor.regions,
        f"built from {subject.text}: expected regions {extractor.regions}, found {again.regions}",
    )
    _require_alike(again(_frames()), extractor(_frames()), f"built from {subject.text}: results differ", exact=True)


def _frames() -> list[np.ndarray]:
    """Return noise, a grey area and a ramp, of one size."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 3 + 20, (64, 64, 3)).copy()
    return [_noise(64, 64), np.full((64, 64, 3), 128, np.uint8), ramp]


def _noise(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng([height, width])
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _require_independent(extractor: Extractor, frames: list[np.ndarray], where: str) -> None:
    """Compare each frame alone with the same frame in a batch."""
    whole = extractor(frames)
    for row, frame in enumerate(frames):
        landmarks = None if whole.landmarks is None else whole.landmarks[row : row + 1]
        same_row = Located(whole.boxes[row : row + 1], whole.score[row : row + 1], landmarks)
        what = f"locate(): result of frame {row} alone differs from that {where}"
        _require_alike(extractor([frame]), same_row, what)


def _require_alike(found: Located, expected: Located, what: str, *, exact: bool = False) -> None:
    for part in ("boxes", "score", "landmarks"):
        one, other = getattr(found, part), getattr(expected, part)
        require((one is None) == (other is None), f"{what}: {part} are missing in one of the results")
        if one is not None and exact:
            require_same(one, other, f"{what}: {part}")
        elif one is not None:
            require_close(one, other, f"{what}: {part}", atol=1e-2)
