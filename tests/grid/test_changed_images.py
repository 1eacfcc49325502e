"""A run after images changed on disk gives the score of the new images."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_components import toy_house  # noqa: F401

from fusionkit import api

pytestmark = pytest.mark.usefixtures("toy_house")


def write(root: Path) -> None:
    """Dark and bright faces in a format whose files all have one size."""
    random = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 12), ("test", 12)):
        for name, grey in (("dark", 60), ("bright", 190)):
            for number in range(count):
                path = root / split / name / f"{number}.bmp"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), (grey + random.integers(-20, 20, (32, 32, 3))).astype(np.uint8))


def exchange(one: Path, two: Path) -> None:
    """Give each file the bytes of the other; names and sizes stay."""
    first, second = one.read_bytes(), two.read_bytes()
    assert len(first) == len(second)
    one.write_bytes(second)
    two.write_bytes(first)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 1000])
def test_exchanged_images_of_two_classes_turn_a_score_of_1_into_0(tmp_path: Path, limit: int | None) -> None:
    def score() -> float:
        results = api.bench(
            datasets=[f"folder:root={tmp_path / 'faces'}"],
            backbones=["toy-colours"],
            regions=["face"],
            main="none",
            fusions=["toy-sum"],
            smoothers=["none"],
            seeds=1,
            reference="none",
            recipe={"lr": 0.1},
            limit=limit,
            out=tmp_path / f"run-{len(list(tmp_path.iterdir()))}",  # a folder holds results of one data set
            executor="serial",
        )
        (row,) = results.rows
        assert row.score is not None
        return row.score.value

    write(tmp_path / "faces")
    assert score() == 1
    for number in range(12):
        exchange(*(tmp_path / f"faces/test/{name}/{number}.bmp" for name in ("dark", "bright")))
    assert score() == 0
