"""Pictures of the page: a few frames of each class with their boxes and views, as a small JPEG."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from fusionkit.config.views import FACE, View
from fusionkit.contracts.dataset import FaceDataset
from fusionkit.data.contact_sheet import draw_contact_sheet
from fusionkit.errors import DataError
from fusionkit.registry.spec import Spec
from fusionkit.report.run_data import RunData

_FRAMES, _COLUMNS, _QUALITY = 3, 2, 72


@dataclass(frozen=True)
class Picture:
    """A picture as a ``data:`` URL, with its description and its size in px."""

    url: str
    alt: str
    width: int
    height: int


def picture(grid: dict[str, Any], data: RunData, dataset: str) -> Picture | None:
    """Return a contact sheet of the views of a data set; None if it could not be opened or has no images.

    Args:
        grid: content of ``grid.json``.
        data: opened data sets.
        dataset: data set as named in the rows.

    Raises:
        DataError: if the frames cannot be read.
        FusionKitError: if the extractor fails.
    """
    import cv2

    source = data.source(dataset)
    if source is None or type(source.dataset).read is FaceDataset.read:  # features without images
        return None
    axes = [entry["axes"] for entry in grid["rows"] if entry["axes"]["dataset"] == dataset]
    views = list(dict.fromkeys(view for each in axes for view in _cut_views(each["views"])))
    sheet = draw_contact_sheet(source, Spec.parse(axes[0]["extractor"]), tuple(views), _FRAMES, columns=_COLUMNS)
    encoded, jpeg = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not encoded:
        raise DataError(f"{dataset}: the picture of its views could not be encoded")
    shown = ", ".join(map(str, views)) or "the face alone"
    return Picture(
        f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}",
        f"{_FRAMES} frames of each class of {dataset} with the boxes of their regions, and below them: {shown}.",
        sheet.shape[1],
        sheet.shape[0],
    )


def _cut_views(text: str) -> list[View]:
    """Return the views other than the face; ``face#2`` is the face a second time."""
    found = (View.parse(name.partition("#")[0]) for name in text.split(","))
    return [view for view in found if view != FACE]
