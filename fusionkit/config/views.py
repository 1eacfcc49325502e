"""Views as text (``face``, ``eye``, ``eye+mouth``, ``keep:eye``, ``drop:eye``), and cutting views from frames."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from fusionkit.errors import ConfigError
from fusionkit.registry.spec import split_outside

_REGION = re.compile(r"[a-z][a-z0-9_-]*")
_FORMS = "use face, a region, region+region, keep:region+region or drop:region+region, in lower case"


@dataclass(frozen=True, order=True)
class View:
    """One image stream.

    ``face`` is the whole frame; ``crop`` one region, or several stacked top to bottom in the given order; ``keep`` the
    face with everything but the regions blacked out; ``drop`` the face with the regions blacked out.
    """

    form: Literal["face", "crop", "keep", "drop"]
    regions: tuple[str, ...] = ()

    def __str__(self) -> str:
        regions = "+".join(self.regions)
        return {"face": "face", "crop": regions}.get(self.form, f"{self.form}:{regions}")

    @classmethod
    def parse(cls, text: object) -> View:
        """Parse a view.

        Raises:
            ConfigError: if it is malformed.
        """
        if not isinstance(text, str):
            raise ConfigError(f"{text!r} is not a view", hint=_FORMS)
        text = text.strip()
        if text == "face":
            return cls("face")
        form, colon, rest = text.partition(":")
        regions = (rest if colon else text).split("+")
        if (colon and form not in ("keep", "drop")) or not all(map(_REGION.fullmatch, regions)):
            raise ConfigError(f"{text!r} is not a view", hint=_FORMS)
        if "face" in regions:
            raise ConfigError(f"{text!r}: 'face' is a view, not a region", hint=_FORMS)
        if len(set(regions)) != len(regions):
            raise ConfigError(f"{text!r} contains a region twice")
        if not colon:
            return cls("crop", tuple(regions))
        return cls("keep" if form == "keep" else "drop", tuple(sorted(regions)))


RegionSet = tuple[View, ...]
FACE = View("face")


def parse_region_set(value: object) -> RegionSet:
    """Parse a region set: ``'eye,mouth'`` or ``['eye', 'mouth']``.

    Raises:
        ConfigError: if a view is malformed or given twice, or there is none.
    """
    if not isinstance(value, (str, list, tuple)):
        raise ConfigError(f"{value!r} is not a region set", hint="for example 'eye,mouth'")
    views = tuple(View.parse(text) for text in (split_outside(value) if isinstance(value, str) else value))
    if not views:
        raise ConfigError("a region set is empty", hint="for example 'eye,mouth'")
    if len(set(views)) != len(views):
        raise ConfigError(f"region set {','.join(map(str, views))!r} contains a view twice")
    return views


def arrange(main: View | None, regions: RegionSet) -> dict[str, View]:
    """Return the views of a cell by their names in a fusion: main first, auxiliary ones in canonical (sorted) order.

    Without a main view the first view of the region set is the main one. The second of two equal views is named
    ``face#2`` (``face`` next to the main view ``face`` is the equal-parameter control).
    """
    first, rest = (main, regions) if main else (regions[0], regions[1:])
    named = {str(first): first}
    for view in sorted(rest, key=str):
        named[f"{view}#2" if str(view) in named else str(view)] = view
    return named


def subsets(views: RegionSet) -> list[RegionSet]:
    """Return all non-empty subsets, small ones first, views in the given order."""
    return [subset for size in range(1, len(views) + 1) for subset in combinations(views, size)]


def regions_of(views: Iterable[View]) -> set[str]:
    """Return every region that a view needs."""
    return {region for view in views for region in view.regions}


def cut(frame: np.ndarray, boxes: Mapping[str, np.ndarray], view: View) -> np.ndarray | None:
    """Cut one view from one frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        boxes: region name to (5,) centre x, centre y, width, height in px and angle in degrees; NaN: not found.
        view: the view.

    Returns:
        (h, w, 3) uint8, upright; None if a region of the view was not found.
    """
    if view.form == "face":
        return frame
    needed = [boxes[region] for region in view.regions]
    if any(math.isnan(box[0]) for box in needed):
        return None
    if view.form == "crop":
        return _stack([_crop(frame, box) for box in needed])
    inside = np.zeros(frame.shape[:2], np.uint8)
    for box in needed:
        _fill(inside, box)
    kept = inside == (1 if view.form == "keep" else 0)
    return np.where(kept[..., None], frame, np.uint8(0))


def _edges(box: np.ndarray) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of an upright box in whole pixels, at least one wide and high."""
    x, y, width, height = (float(value) for value in box[:4])
    x0, y0 = _nearest(x - width / 2), _nearest(y - height / 2)
    return x0, y0, max(_nearest(x + width / 2), x0 + 1), max(_nearest(y + height / 2), y0 + 1)


def _nearest(value: float) -> int:
    """Round to the nearest int, halves up. ``round`` rounds halves to even, so sizes would depend on the position."""
    return math.floor(value + 0.5)


def _crop(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    import cv2

    if box[4] == 0:
        x0, y0, x1, y1 = _edges(box)
        height, width = frame.shape[:2]
        if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
            return frame[y0:y1, x0:x1]
        inside = frame[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        out = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        top, left = max(-y0, 0), max(-x0, 0)
        out[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return out
    x, y, w, h, angle = (float(value) for value in box)
    width, height = max(_nearest(w), 1), max(_nearest(h), 1)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u, v = (width - 1) / 2, (height - 1) / 2
    # A pixel of the view maps to the box's centre plus its rotated offset from the view's centre.
    x, y = x - 0.5, y - 0.5
    to_frame = np.array([[cos, -sin, x - cos * u + sin * v], [sin, cos, y - sin * u - cos * v]])
    upright: np.ndarray = cv2.warpAffine(
        frame, to_frame, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return upright


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    import cv2

    if len(parts) == 1:
        return parts[0]
    width = max(part.shape[1] for part in parts)
    fitted = [
        part
        if part.shape[1] == width
        else cv2.resize(part, (width, max(round(part.shape[0] * width / part.shape[1]), 1)))
        for part in parts
    ]
    return np.concatenate(fitted)


def _fill(mask: np.ndarray, box: np.ndarray) -> None:
    if box[4] == 0:
        x0, y0, x1, y1 = _edges(box)
        mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = 1
        return
    x, y, w, h, angle = (float(value) for value in box)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    half_wide, half_high = (abs(w * cos) + abs(h * sin)) / 2, (abs(w * sin) + abs(h * cos)) / 2
    left, top = max(math.floor(x - half_wide), 0), max(math.floor(y - half_high), 0)
    near = mask[top : max(math.ceil(y + half_high), 0), left : max(math.ceil(x + half_wide), 0)]
    # A pixel is in the box if its centre is, in the coordinates of the box's axes.
    down, right = np.ogrid[: near.shape[0], : near.shape[1]]
    right, down = right + (left + 0.5 - x), down + (top + 0.5 - y)
    near[(np.abs(right * cos + down * sin) <= w / 2) & (np.abs(down * cos - right * sin) <= h / 2)] = 1
