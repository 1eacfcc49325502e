"""Contact sheet: frames of every class with boxes, and each view."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_components import Blobs, registered, toy_house  # noqa: F401

from fusionkit.config.views import parse_region_set
from fusionkit.contracts import FrameTable
from fusionkit.data.contact_sheet import _frames, draw_contact_sheet, write_contact_sheet
from fusionkit.data.drawing import BACKGROUND, COLOURS, GAP, LEGEND_HEIGHT, MARGIN, TILE
from fusionkit.engine.source import open_source
from fusionkit.errors import ConfigError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")


class Flat(Blobs):
    """Frames of 112 px in one colour per class; the third class has no frame."""

    colours = ((200, 10, 20), (30, 190, 40))

    @property
    def frames(self) -> FrameTable:
        return FrameTable.of(
            [f"c{n:02d}" for n in range(12)], [0] * 12, [0] * 6 + [1] * 6, split=["train"] * 8 + ["test"] * 4
        )

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        labels = self.frames.label[rows]
        return [
            None if row == 0 else np.full((112, 112, 3), self.colours[label], np.uint8)
            for row, label in zip(rows, labels, strict=True)
        ]


def sheet(path: Path, views: str = "top", count: int = 3, dataset: str = "toy-flat") -> np.ndarray:
    with registered(DATASETS, "toy-flat", Flat):
        write_contact_sheet(Spec.parse(dataset), Spec("toy-halves"), parse_region_set(views), count, path)
    return cv2.imread(str(path))[..., ::-1]


def test_each_class_has_a_row_of_frames_and_a_row_of_each_view(tmp_path: Path) -> None:
    image = sheet(tmp_path / "sheet.png")
    assert image.shape[1] == MARGIN + 4 * (TILE + GAP) + 2 * GAP
    frame_row = LEGEND_HEIGHT + TILE // 4
    for index in range(3):
        left = MARGIN + index * (TILE + GAP)
        assert image[frame_row, left + TILE // 2].tolist() == list(Flat.colours[0])
    view_row = LEGEND_HEIGHT + TILE + GAP + TILE // 4  # below: the top half, 112 x 56, fitted to the same width
    assert image[view_row, MARGIN + TILE // 2].tolist() == list(Flat.colours[0])
    second = LEGEND_HEIGHT + (TILE + GAP) + (TILE // 2 + GAP) + GAP
    assert image[second + TILE // 4, MARGIN + TILE // 2].tolist() == list(Flat.colours[1])


def test_means_of_faces_and_views_are_at_the_end_of_each_row(tmp_path: Path) -> None:
    class Noise(Flat):
        """Random frames of one size."""

        def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
            return [np.random.default_rng(row).integers(0, 256, (112, 112, 3), np.uint8) for row in rows]

    with registered(DATASETS, "toy-noise", Noise):
        views = parse_region_set("top")
        write_contact_sheet(Spec("toy-noise"), Spec("toy-halves"), views, 2, tmp_path / "sheet.png")
    image = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    expected = np.rint(np.mean(Noise().read(np.arange(6)), axis=0))  # the six frames of the first class
    left = image.shape[1] - TILE - GAP
    np.testing.assert_array_equal(image[LEGEND_HEIGHT : LEGEND_HEIGHT + TILE, left : left + TILE], expected)
    np.testing.assert_array_equal(
        image[LEGEND_HEIGHT + TILE + GAP :][: TILE // 2, left : left + TILE], expected[: TILE // 2]
    )


def test_boxes_are_drawn_at_the_extracted_regions(tmp_path: Path) -> None:
    image = sheet(tmp_path / "sheet.png")
    border = image[LEGEND_HEIGHT + TILE // 4, MARGIN].tolist()
    assert border == list(COLOURS[0])  # left edge of the top half
    assert image[LEGEND_HEIGHT + 3 * TILE // 4, MARGIN].tolist() == list(COLOURS[1])


def test_missing_frames_leave_empty_tiles(tmp_path: Path) -> None:
    image = sheet(tmp_path / "sheet.png", count=6)  # row 0 has no image: five are left of the first class
    sixth = MARGIN + 5 * (TILE + GAP) + TILE // 2
    assert image[LEGEND_HEIGHT + TILE // 4, sixth].tolist() == [250, 250, 250]


@pytest.mark.slow
def test_a_view_that_was_not_found_is_hatched(tmp_path: Path) -> None:
    write_contact_sheet(
        Spec.parse("toy-blobs"), Spec("toy-halves"), parse_region_set("bottom"), 12, tmp_path / "sheet.png"
    )
    image = cv2.imread(str(tmp_path / "sheet.png"))
    assert {tuple(colour) for colour in image.reshape(-1, 3).tolist()} >= {(225, 225, 225), (180, 180, 180)}


def test_frames_come_from_different_units_first() -> None:
    source = open_source(Spec("toy-blobs"), None)
    frames = list(islice(_frames(source, 1, 8), 8))
    rows = [
        row
        for row in np.flatnonzero(source.table.label == 1)
        if any(np.array_equal(source.images(np.array([row]))[0], frame) for frame in frames)
    ]
    assert len(set(source.table.unit[rows].tolist())) == 8


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        write_contact_sheet(Spec("toy-blob"), Spec("toy-halfs"), parse_region_set("top"), 3, tmp_path / "sheet.jpg")
    text = str(caught.value)
    assert "toy-blob" in text
    assert "toy-halves" in text
    assert "must end in .png" in text
    assert list(tmp_path.glob("*.jpg")) == []


def test_an_unknown_region_is_named_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no region 'botom'.*did you mean 'bottom'"):
        write_contact_sheet(Spec("toy-blobs"), Spec("toy-halves"), parse_region_set("botom"), 3, tmp_path / "sheet.png")


def test_classes_can_be_shown_side_by_side() -> None:
    with registered(DATASETS, "toy-flat", Flat):
        source = open_source(Spec("toy-flat"), None)
        tall = draw_contact_sheet(source, Spec("toy-halves"), parse_region_set("top"), 2)
        wide = draw_contact_sheet(source, Spec("toy-halves"), parse_region_set("top"), 2, columns=2)
    width = MARGIN + 2 * (TILE + GAP)
    assert wide.shape[1] == 2 * width
    block = (TILE + GAP) + (TILE // 2 + GAP) + GAP
    for index in (0, 1):
        beside = wide[LEGEND_HEIGHT : LEGEND_HEIGHT + block, index * width : (index + 1) * width]
        assert np.array_equal(beside, tall[LEGEND_HEIGHT + index * block : LEGEND_HEIGHT + (index + 1) * block])
    assert (wide[-1, width:] == BACKGROUND).all()
