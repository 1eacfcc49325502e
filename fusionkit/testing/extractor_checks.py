"""Checks of extractors: regions of frames of any size, independent of the batch."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.extractor import Extractor, Located
from fusionkit.errors import ConfigError
from fusionkit.testing.case import CheckFailed, Skipped, Subject, Suite, require, require_close, require_same
from fusionkit.testing.drawn_face import frame_with_a_face
from fusionkit.testing.random_state import require_no_global_seed

CHECKS = Suite()
_INSIDE = 0.9  # of the area of a box is inside the frame
_SMALLEST = 0.02  # of the frame's shorter side
_WIDE = {"eye", "eyes", "brow", "brows", "mouth", "lips"}  # regions of both sides of a face are wider than high


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built, and locates its regions in a frame, with results of the right shape."""
    subject.build()([_noise(64, 64)])


@CHECKS.root
def input_is_not_changed(subject: Subject) -> None:
    """The frames are unchanged after the call."""
    frames = _frames()
    subject.build()(frames)
    for frame, before in zip(frames, _frames(), strict=True):
        require_same(frame, before, "locate(): changes a frame that it gets")


@CHECKS.root
def same_input_same_result(subject: Subject) -> None:
    """A second call and a second instance give the same bits."""
    extractor = subject.build()
    first = extractor(_frames())
    extractor(_frames()[::-1])
    _require_alike(extractor(_frames()), first, "locate(): a second call with the same frames differs", exact=True)
    again = subject.build()(_frames())
    _require_alike(again, first, "locate(): a second instance with the same options differs", exact=True)


@CHECKS.check
def global_seed_is_not_set(subject: Subject) -> None:
    """It does not set the seed of a global random generator."""
    require_no_global_seed(lambda: subject.build()(_frames()), "__init__() or locate()")


@CHECKS.root
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


@CHECKS.root
def row_alone_is_row_in_batch(subject: Subject) -> None:
    """The regions of a frame do not depend on the other frames of its batch."""
    _require_independent(subject.build(), _frames(), "in a batch")


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


@CHECKS.root
def boxes_lie_in_the_frame(subject: Subject) -> None:
    """Boxes are (centre x, centre y, width, height) in pixels: inside the frame, and not of a few pixels only."""
    extractor = subject.build()
    frame = frame_with_a_face(scale=3) if _depends_on_content(subject, extractor) else _noise(480, 640)
    height, width = frame.shape[:2]
    for name, box in _found(extractor, frame).items():
        x, y, w, h = box[:4]
        where = f"box of {name} in a frame of {width} x {height} px"
        what = f"{where}: centre ({x:.4g}, {y:.4g}), width {w:.4g}, height {h:.4g}"
        least = _SMALLEST * min(height, width)
        require(
            min(w, h) >= least,
            f"locate(): expected pixels and sides of {least:.2g} px or more, found a {what}; are they fractions?",
        )
        inside = _overlap(x, w, width) * _overlap(y, h, height) / (w * h)
        require(
            0 < x < width and 0 < y < height and (inside > _INSIDE or box[4] != 0),
            f"locate(): expected centre and size of a box inside the frame, found a {what}; are they two corners?",
        )


@CHECKS.root
def boxes_move_with_the_face(subject: Subject) -> None:
    """If grey columns and rows are added at the left and at the top, centres move and sizes stay."""
    extractor = _detector(subject)
    before = _in_upright_face(subject, extractor)
    after = _found(extractor, frame_with_a_face(right=64, down=40))
    for name in before.keys() & after.keys():
        moved = after[name][:2] - before[name][:2]
        right = np.abs(moved - (64, 40)).max() < 12
        require(
            right,
            f"locate(): expected the centre of {name} to move by (64, 40) px with the face, found "
            f"({moved[0]:.3g}, {moved[1]:.3g})",
        )
        grown = after[name][2:4] / before[name][2:4]
        require(
            (np.abs(grown - 1) < 0.25).all(),
            f"locate(): expected width and height of {name} to stay when the face moves, found factors "
            f"{grown[0]:.2f} and {grown[1]:.2f}; are they a corner?",
        )


@CHECKS.check
def boxes_scale_with_the_frame(subject: Subject) -> None:
    """Boxes double with the frame; in a frame that is wider, boxes are wider, not higher."""
    extractor = subject.build()
    if _depends_on_content(subject, extractor):
        _require_scaled_faces(subject, extractor)
        return
    small, large, wide = (extractor([_noise(*size)]) for size in ((64, 96), (128, 192), (64, 192)))
    what = "locate(): expected boxes twice as large in a frame twice as large"
    require_close(large.boxes[..., :4], 2 * small.boxes[..., :4], what, atol=1.0)
    require_close(large.boxes[..., 4], small.boxes[..., 4], "locate(): the angle changes with the size of the frame")
    ratio = wide.boxes[..., 2:4] / small.boxes[..., 2:4]
    right = ((ratio[..., 0] > 0.9 * ratio[..., 1]) | np.isnan(ratio).any(-1)).all()
    require(
        right,
        "locate(): expected boxes that are wider in a frame that is wider, found higher ones; is width after height?",
    )


@CHECKS.check
def angle_is_in_degrees(subject: Subject) -> None:
    """If the face is turned by 20 degrees clockwise, boxes turn by as much, or not at all."""
    extractor = _detector(subject)
    upright = _in_upright_face(subject, extractor)
    turned = _found(extractor, frame_with_a_face(turn=20))
    for name in upright.keys() & turned.keys():
        by = float((turned[name][4] - upright[name][4] + 90) % 180 - 90)
        require(
            abs(by) < 0.05 or abs(by - 20) < 10,
            f"locate(): expected the box of {name} to turn by 20 degrees clockwise with the face, found {by:.3g}; "
            "is the angle in radians, or counter-clockwise?",
        )


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


def _depends_on_content(subject: Subject, extractor: Extractor) -> bool:
    if "depends" not in subject.found:
        noise, face = _noise(64, 96), frame_with_a_face()
        subject.found["face"] = extractor([face]).boxes
        pairs = (
            (extractor([noise]).boxes, extractor([noise[::-1]]).boxes),
            (subject.found["face"], extractor([np.full_like(face, 128)]).boxes),
        )
        subject.found["depends"] = any(not np.array_equal(one, other, equal_nan=True) for one, other in pairs)
    depends: bool = subject.found["depends"]
    return depends


def _detector(subject: Subject) -> Extractor:
    """Return an extractor that depends on the content of the frame."""
    extractor: Extractor = subject.build()
    if not _depends_on_content(subject, extractor):
        raise Skipped("its boxes do not depend on the content of the frame")
    return extractor


def _found(extractor: Extractor, frame: np.ndarray) -> dict[str, np.ndarray]:
    """Return the boxes that are found in one frame, by region.

    Raises:
        Skipped: if there are none.
    """
    return _by_region(extractor, extractor([frame]).boxes)


def _in_upright_face(subject: Subject, extractor: Extractor) -> dict[str, np.ndarray]:
    """Return the boxes in the drawn face, which several checks compare with; as :func:`_found`."""
    _depends_on_content(subject, extractor)
    return _by_region(extractor, subject.found["face"])


def _by_region(extractor: Extractor, located: np.ndarray) -> dict[str, np.ndarray]:
    boxes = located[0].astype(np.float64)
    found = {name: box for name, box in zip(extractor.regions, boxes, strict=True) if np.isfinite(box).all()}
    if not found:
        raise Skipped("it finds no region in a drawn face")
    return found


def _require_scaled_faces(subject: Subject, extractor: Extractor) -> None:
    before = _in_upright_face(subject, extractor)
    double = _found(extractor, frame_with_a_face(scale=2))
    for name in before.keys() & double.keys():
        ratio = double[name][:4] / before[name][:4]
        require(
            (np.abs(ratio - 2) < 0.5).all(),
            f"locate(): expected the box of {name} to double with the frame, found factors "
            f"{', '.join(f'{value:.2f}' for value in ratio)} of x, y, width and height",
        )
    wide = _found(extractor, frame_with_a_face(stretch=1.25))
    for name in before.keys() & wide.keys():
        ratio = wide[name][2:4] / before[name][2:4]
        w, h = before[name][2:4]
        require(
            ratio[0] > 0.9 * ratio[1] and (name not in _WIDE or w > h),
            f"locate(): expected the box of {name} to be wider than high, and wider if the face is; found {w:.3g} x "
            f"{h:.3g} px and factors {ratio[0]:.2f} and {ratio[1]:.2f}; is width after height?",
        )


def _overlap(centre: float, size: float, side: float) -> float:
    """Return the length of an interval inside 0..side."""
    return max(min(centre + size / 2, side) - max(centre - size / 2, 0), 0)


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
