"""Regions of an aligned face by fixed boxes, without detector, landmarks or training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np

from fusionkit.contracts import Extractor, Located
from fusionkit.errors import ConfigError

Layout = Literal["emotic", "arcface"]

# Boxes as x0, y0, x1, y1 in fractions of the width and height of an aligned face.
LAYOUTS: Final[dict[str, dict[str, tuple[float, float, float, float]]]] = {
    # Eye and mouth are the authors' (released code of arXiv 2403.13039). The paper's nose box is not known: ours fills
    # the height between the two. The paper has no brow box: ours is the position of brows in a face aligned to the
    # ArcFace template, which is partly in the authors' eye box, since that includes the brows.
    "emotic": {
        "eye": (0.20, 0.35, 0.80, 0.55),
        "brow": (0.20, 0.29, 0.80, 0.42),
        "nose": (0.30, 0.55, 0.70, 0.70),
        "mouth": (0.20, 0.70, 0.80, 0.90),
    },
    # For faces aligned to the 112 px ArcFace template: around the 2nd to 98th percentile of 68 landmarks on aligned
    # photos, with a margin where no other region is near. Eyes and nose overlap: the root of the nose lies between the
    # inner corners of the eyes.
    "arcface": {
        "eye": (0.23, 0.415, 0.77, 0.535),
        "brow": (0.14, 0.29, 0.86, 0.43),
        "nose": (0.375, 0.445, 0.625, 0.75),
        "mouth": (0.28, 0.745, 0.72, 0.98),
    },
}


class Template(Extractor):
    """Fixed boxes in fractions of a face that is already cropped and aligned, as in the paper.

    A box edge at fraction f of a side of n pixels is pixel ``int(f * n)``, truncated as in the authors' code. The score
    is always 1, since the boxes do not depend on the image.

    Args:
        layout: ``emotic``: the authors' eye and mouth boxes, with our nose and brow boxes (the paper's nose box is not
            known, and it has none for brows); ``arcface``: our boxes around the landmarks of faces aligned to the
            112 px ArcFace template, as ``fusionkit align`` aligns them.
        boxes: additional or replaced regions: region name to ``[x0, y0, x1, y1]`` in fractions of width and height,
            with ``0 <= x0 < x1 <= 1`` and the same for y. Default: those of the layout.

    Raises:
        ConfigError: if a box or its name is invalid.

    Reference: Nguyen et al. 2024 (https://arxiv.org/abs/2403.13039), eye and mouth boxes as in the authors' released
    code (https://github.com/hT-1893/ABAW_6th_EXPR). ArcFace template: Deng et al. 2019
    (https://arxiv.org/abs/1801.07698), landmarks as in insightface's ``face_align``.
    """

    revision: ClassVar[int] = 2  # boxes of arcface from measured landmarks
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"layout": "arcface"},
        {"boxes": {"chin": [0.3, 0.9, 0.7, 1.0]}},
    )

    def __init__(self, layout: Layout = "emotic", boxes: dict[str, list[float]] | None = None) -> None:
        own = boxes or {}
        _check(own)
        self._layout = layout
        named = {**LAYOUTS[layout], **own}
        self._regions = tuple(named)
        self._fractions = np.array(list(named.values()), dtype=np.float64)

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the boxes: those of the layout, then additional ones in the order given."""
        return self._regions

    @property
    def aligned_note(self) -> str:
        """Warning for ``emotic``, whose boxes do not fit the ArcFace template."""
        if self._layout == "arcface":
            return ""
        return (
            "the boxes of layout=emotic do not fit faces aligned to the ArcFace template: about half of the nose is "
            "outside its box, and partly in that of the mouth (layout=arcface fits; keep emotic to reproduce the paper)"
        )

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        """Return the same boxes in every frame, scaled to its size.

        Args:
            frames: N images (H, W, 3).

        Returns:
            boxes (N, R, 5) whose edges, ``centre -+ size / 2``, are exactly whole pixels; a side without a whole pixel
            has size 0. Scores (N, R) are 1.
        """
        sides = np.array([(frame.shape[1], frame.shape[0]) * 2 for frame in frames], dtype=np.float64).reshape(-1, 1, 4)
        edges = np.trunc(self._fractions * sides)
        low, high = edges[..., :2], edges[..., 2:]
        angle = np.zeros((*edges.shape[:2], 1))
        boxes = np.concatenate([(low + high) / 2, high - low, angle], axis=-1).astype(np.float32)
        return Located(boxes, np.ones(boxes.shape[:2], dtype=np.float32))


def _check(boxes: dict[str, list[float]]) -> None:
    """Check that a view can hold each name and that each box is inside the face.

    Raises:
        ConfigError: with one problem per box.
    """
    problems = []
    for name, box in boxes.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", str(name)) or name == "face":
            problems.append(
                f"template: boxes: invalid region name {name!r}: it must be a-z, then a-z, 0-9, _ or -, and not 'face'"
            )
        elif not _is_box(box):
            problems.append(
                f"template: boxes: {name}={box!r} must be [x0, y0, x1, y1] with 0 <= x0 < x1 <= 1, and the same for y"
            )
    if problems:
        raise ConfigError(problems)


def _is_box(box: object) -> bool:
    if not isinstance(box, (list, tuple)) or any(type(value) not in (int, float) for value in box):
        return False
    if len(box) != 4:
        return False
    x0, y0, x1, y1 = box
    return bool(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1)
