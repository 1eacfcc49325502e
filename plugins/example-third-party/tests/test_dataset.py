"""Checks of every data set on a small folder, and tests of this one."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from example_third_party.dataset import ExampleFolder
from fusionkit.registry import DATASETS
from fusionkit.testing import check_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, person in (("train", "ann"), ("train", "bob"), ("val", "cy"), ("test", "dee")):
        for number, name in enumerate(("calm", "glad")):
            for frame in (2, 10):
                file = tmp_path / split / name / f"{person}_{frame}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), np.full((6, 5, 3), (0, 0, 10 * frame + number), np.uint8))
    return tmp_path


def test_contract(root: Path) -> None:
    results = check_dataset(ExampleFolder, examples=[{"root": str(root)}])
    assert not [result for result in results if result.outcome == "failed"]
    assert len([result for result in results if result.outcome == "passed"]) > 15


def test_it_is_registered() -> None:
    assert DATASETS.get("example-folder") is ExampleFolder


def test_frames_are_sorted_and_images_are_rgb(root: Path) -> None:
    data = ExampleFolder(str(root))
    assert data.classes == ("calm", "glad")
    assert data.frames.number.tolist() == [2, 10] * 8
    assert data.frames.subject[:2].tolist() == ["dee", "dee"]
    corners = [image[0, 0].tolist() for image in data.read(np.arange(4)) if image is not None]
    assert corners == [[20, 0, 0], [100, 0, 0], [21, 0, 0], [101, 0, 0]]
