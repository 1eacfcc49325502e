"""Composite sheet: source frames from the top, below them the composite."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_components import Blobs, registered, toy_house  # noqa: F401

from fusionkit.contracts import FrameTable
from fusionkit.data.composite_sheet import write_composite_sheet
from fusionkit.data.contact_sheet import GAP, TILE
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")


class Greys(Blobs):
    """Plain frames of grey ten times their row; rows 4 to 7 are composites, the last of one frame; 6 has no image."""

    def __init__(self, blank: bool = False) -> None:
        self.blank = blank

    @property
    def frames(self) -> FrameTable:
        return FrameTable.of([f"c{n}" for n in range(8)], [0] * 8, [0, 1] * 4)

    def composed_of(self) -> np.ndarray:
        return np.array([[-1, -1]] * 4 + [[0, 1], [1, 2], [2, 3], [3, -1]])

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        blank = [4, 5, 6, 7] if self.blank else [6]
        return [None if row in blank else np.full((20, 20, 3), 10 * row, np.uint8) for row in rows.tolist()]


def test_each_column_shows_source_frames_and_the_composite(tmp_path: Path) -> None:
    with registered(DATASETS, "toy-greys", Greys):
        assert write_composite_sheet(Spec("toy-greys"), 9, tmp_path / "sheet.png") == 3
        assert write_composite_sheet(Spec("toy-greys"), 2, tmp_path / "two.png") == 2
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * (TILE + GAP), 3 * (TILE + GAP), 3)
    middle = sheet[TILE // 2 :: TILE + GAP, TILE // 2 :: TILE + GAP, 0]
    assert middle.T.tolist() == [[0, 10, 40], [10, 20, 50], [30, 250, 70]]  # 250: there is no second frame


def test_invalid_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no composite frames"):
        write_composite_sheet(Spec("toy-blobs"), 3, tmp_path / "sheet.png")
    with pytest.raises(ConfigError, match=r"must end in \.png"):
        write_composite_sheet(Spec("toy-blobs"), 3, tmp_path / "sheet.jpg")
    with registered(DATASETS, "toy-greys", Greys), pytest.raises(DataError, match="none of 4 composites has an image"):
        write_composite_sheet(Spec.parse("toy-greys:blank=true"), 9, tmp_path / "sheet.png")
    assert not list(tmp_path.glob("*.*g"))
