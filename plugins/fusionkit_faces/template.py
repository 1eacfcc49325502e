"""Regions of an aligned face by fixed boxes: no detector, no landmarks, no training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Extractor, Located
from fusionkit.errors import ConfigError
from fusionkit_faces.layouts import LAYOUTS


class Template(Extractor):
    """Fixed boxes in fractions of a face that is already cropped and aligned, as in the paper.

    A box edge at fraction f of a side of n pixels is pixel ``int(f * n)``, cut off as in the authors' code.
    The score is always 1: the boxes know nothing of the image.

    Args:
        layout: ``emotic``, the authors' eye and mouth boxes, with a nose and a brow box of ours (the paper's nose box
            is not known, and it has none for brows); or ``arcface``, boxes of ours around the landmarks of the 112 px
            ArcFace template, for faces aligned to that.
        boxes: more regions, or other boxes for known ones: region name to ``[x0, y0, x1, y1]`` in fractions of width
            and height, with ``0 <= x0 < x1 <= 1`` and the same for y.

    Reference: Nguyen et al. 2024 (https://arxiv.org/abs/2403.13039), eye and mouth boxes as in the authors' released
    code (https://github.com/hT-1893/ABAW_6th_EXPR). ArcFace template: Deng et al. 2019
    (https://arxiv.org/abs/1801.07698), landmarks as in insightface's ``face_align``.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"layout": "arcface"},
        {"boxes": {"chin": [0.3, 0.9, 0.7, 1.0]}},
    )

    def __init__(
        self, layout: Literal["emotic", "arcface"] = "emotic", boxes: dict[str, list[float]] | None = None
    ) -> None:
        if layout not in tuple(LAYOUTS):
            raise ConfigError(f"template: layout={layout!r} is not known; there are {', '.join(LAYOUTS)}")
        own = {} if boxes is None else boxes
        _check(own)
        named = {**LAYOUTS[layout], **own}
        self._regions = tuple(named)
        self._fractions = np.array(list(named.values()), dtype=np.float64)

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the boxes: those of the layout, then added ones in the order given."""
        return self._regions

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        """The same boxes in every frame, scaled to its size.

        Args:
            frames: N images (H, W, 3).

        Returns:
            boxes (N, R, 5) whose edges, ``centre -+ size / 2``, are whole pixels exactly; a side without a whole pixel
            has size 0. Scores (N, R) are 1.
        """
        sides = np.array([(frame.shape[1], frame.shape[0]) * 2 for frame in frames], dtype=np.float64).reshape(-1, 1, 4)
        edges = np.trunc(self._fractions * sides)
        low, high = edges[..., :2], edges[..., 2:]
        angle = np.zeros((*edges.shape[:2], 1))
        boxes = np.concatenate([(low + high) / 2, high - low, angle], axis=-1).astype(np.float32)
        return Located(boxes, np.ones(boxes.shape[:2], dtype=np.float32))


def _check(boxes: object) -> None:
    """Refuse names that the view language cannot say and boxes outside the face, all at once.

    Raises:
        ConfigError: one problem a box.
    """
    if not isinstance(boxes, dict):
        raise ConfigError(f"template: boxes={boxes!r} is not a dict of region to [x0, y0, x1, y1]")
    problems = []
    for name, box in boxes.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", str(name)) or name == "face":
            problems.append(f"template: boxes: {name!r} is no region name: a-z, then a-z, 0-9, _ or -; and not 'face'")
        elif not _is_box(box):
            problems.append(f"template: boxes: {name}={box!r} is not [x0, y0, x1, y1] with 0 <= x0 < x1 <= 1, y alike")
    if problems:
        raise ConfigError(problems)


def _is_box(box: object) -> bool:
    if not isinstance(box, (list, tuple)) or any(type(value) not in (int, float) for value in box):
        return False
    if len(box) != 4:
        return False
    x0, y0, x1, y1 = box
    return bool(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1)
