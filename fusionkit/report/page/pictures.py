"""What the backbones see: a few frames of each class with their boxes and the views that are cut, as a small JPEG."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from fusionkit.config.views import FACE, View
from fusionkit.data.contact_sheet import draw_contact_sheet
from fusionkit.errors import DataError
from fusionkit.registry.spec import Spec
from fusionkit.report.tested_data import TestedData

_FRAMES, _COLUMNS, _QUALITY = 3, 2, 72


@dataclass(frozen=True)
class Picture:
    """A picture as a ``data:`` address, and what is to be seen."""

    address: str
    alt: str
    width: int
    height: int


def picture(grid: dict[str, Any], data: TestedData, dataset: str) -> Picture | None:
    """The views of a data set as its rows use them; None where it could not be opened.

    Raises:
        DataError: if the frames cannot be read.
        FusionKitError: if the extractor fails.
    """
    import cv2

    source = data.source(dataset)
    axes = [entry["axes"] for entry in grid["rows"] if entry["axes"]["dataset"] == dataset]
    views = list(dict.fromkeys(view for each in axes for view in _views(each["views"])))
    if source is None:
        return None
    sheet = draw_contact_sheet(source, Spec.parse(axes[0]["extractor"]), tuple(views), _FRAMES, columns=_COLUMNS)
    good, jpeg = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not good:
        raise DataError(f"{dataset}: the picture of its views could not be encoded")
    shown = ", ".join(map(str, views)) or "the face alone"
    return Picture(
        f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}",
        f"{_FRAMES} frames of each class of {dataset} with the boxes of their regions, and below them: {shown}.",
        sheet.shape[1],
        sheet.shape[0],
    )


def _views(text: str) -> list[View]:
    """The views that are cut out; ``face#2`` is the face once more."""
    found = (View.parse(name.partition("#")[0]) for name in text.split(","))
    return [view for view in found if view != FACE]
