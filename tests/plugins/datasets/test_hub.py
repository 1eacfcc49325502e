"""Parquet, Arrow, saved data sets and image folders by the library datasets, and names that are not fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit_datasets.hub import Hub

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


def png(grey: int) -> bytes:
    return cv2.imencode(".png", np.full((6, 5, 3), grey, np.uint8))[1].tobytes()


def table(count: int = 6, **columns: list[Any]) -> Any:
    """Images of grey 10, 20, ...; two named classes; two images per person; the last image is absent."""
    images = [{"bytes": png(10 * row + 10), "path": None} for row in range(count - 1)] + [None]
    values = {
        "image": images,
        "label": [row % 2 for row in range(count)],
        "who": [f"p{row // 2}" for row in range(count)],
    }
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["calm", "glad"]),
        "who": datasets.Value("string"),
    }
    features |= {
        name: datasets.Value("int64" if isinstance(found[0], int) else "string") for name, found in columns.items()
    }
    return datasets.Dataset.from_dict({**values, **columns}, features=datasets.Features(features))


def greys(data: Hub) -> list[int | None]:
    return [None if image is None else int(image[0, 0, 0]) for image in data.images(np.arange(len(data.frames)))]


@pytest.mark.parametrize("kind", ["parquet", "saved", "arrow"])
def test_local_tables_give_images_names_of_classes_and_subjects(tmp_path: Path, kind: str) -> None:
    table().save_to_disk(tmp_path / "saved")
    table().to_parquet(tmp_path / "d.parquet")
    arrow = next((tmp_path / "saved").glob("*.arrow"))
    path = {"parquet": tmp_path / "d.parquet", "saved": tmp_path / "saved", "arrow": arrow}[kind]
    data = Hub(str(path), subject="who")
    assert data.classes == ("calm", "glad")
    assert data.table().label.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.frames.subject.tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert set(data.frames.split.tolist()) == {""}
    assert greys(data) == [10, 20, 30, 40, 50, None]
    assert data.has_image() is not None
    assert data.has_image().tolist() == [True] * 5 + [False]
    assert all(Path(file).suffix == ".arrow" for file in data.image_files(np.arange(6)))
    assert data.where(3).startswith(f"{path}: ")


def test_splits_clips_and_numbers_come_from_columns_or_from_the_data_set(tmp_path: Path) -> None:
    table(
        6, video=["b", "a", "b", "a", "b", "a"], t=[3, 9, 1, 8, 2, 7], part=["train"] * 3 + ["validation"] * 3
    ).to_parquet(tmp_path / "d.parquet")
    data = Hub(str(tmp_path / "d.parquet"), clip="video", number="t", split="part")
    rows = data.table()
    assert list(zip(rows.clip.tolist(), rows.number.tolist(), strict=True)) == [
        *(("b", 1), ("b", 2), ("b", 3), ("a", 7), ("a", 8), ("a", 9))
    ]
    assert rows.split.tolist() == ["train", "val", "train", "val", "val", "train"]
    assert greys(data) == [30, 50, 10, None, 40, 20]
    datasets.DatasetDict({"train": table(), "validation": table(4)}).save_to_disk(tmp_path / "two")
    both = Hub(str(tmp_path / "two"))
    assert both.table().split.tolist() == ["train"] * 6 + ["val"] * 4
    assert greys(both) == [10, 20, 30, 40, 50, None, 10, 20, 30, None]
    datasets.DatasetDict({"train": table(), "extra": table()}).save_to_disk(tmp_path / "odd")
    with pytest.raises(DataError, match="split 'extra' is not train, val or test; splits: train, extra"):
        Hub(str(tmp_path / "odd"))


def test_an_image_folder_is_read_by_its_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for index, name in enumerate(("calm", "glad")):
            (tmp_path / "faces" / split / name).mkdir(parents=True)
            (tmp_path / "faces" / split / name / "1.png").write_bytes(png(50 + 50 * index))
    data = Hub(str(tmp_path / "faces"))
    assert data.classes == ("calm", "glad")
    assert data.table().split.tolist() == ["train", "train", "test", "test"]
    assert greys(data) == [50, 100, 50, 100]
    assert [Path(file).parent.name for file in data.image_files(np.array([0, 3]))] == ["calm", "glad"]


def test_nothing_is_fetched_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    asked: list[bool] = []
    load = datasets.load_dataset

    def watched(*args: Any, **options: Any) -> Any:
        asked.append(constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE)
        if not asked[-1]:
            raise ConnectionError("no network in a test")
        return load(*args, **options)

    monkeypatch.setattr(datasets, "load_dataset", watched)
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(DataError, match="owner/name is neither a local path nor in the local cache") as refused:
        Hub("owner/name")
    assert refused.value.hint == "download=true fetches it"
    assert asked == [True]
    assert before == constants.HF_HUB_OFFLINE
    with pytest.raises(DataError, match="owner/name cannot be opened: ConnectionError: no network in a test"):
        Hub("owner/name", download=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "imag"}, r"no column 'imag' with images \(did you mean 'image'\?\); columns: image, label, who"),
        ({"image": "who"}, "column 'who' holds no images"),
        ({"subject": "whom", "label": "x"}, r"no column for label=x, subject=whom \(did you mean 'who'\?\)"),
        ({"label": ""}, "option label is missing"),
        ({"classes": ["a", "a"]}, "must be at least two different names"),
    ],
)
def test_wrong_columns_are_refused_together(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    table().to_parquet(tmp_path / "d.parquet")
    with pytest.raises(ConfigError, match=message):
        Hub(str(tmp_path / "d.parquet"), **options)


def test_what_is_no_data_set_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder .*none\.parquet"):
        Hub(str(tmp_path / "none.parquet"))
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(DataError, match=r"is no \.parquet or \.arrow file"):
        Hub(str(tmp_path / "text.txt"))
    for name in ("bad.parquet", "bad.arrow"):
        (tmp_path / name).write_bytes(b"PAR1 and then nothing")
        with pytest.raises(DataError, match=f"{name} cannot be opened") as refused:
            Hub(str(tmp_path / name))
        assert "\n" not in str(refused.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty cannot be opened"):
        Hub(str(tmp_path / "empty"))
    plain = datasets.Dataset.from_dict({"image": [png(1), png(2)], "label": [0, 1]})
    plain.to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(ConfigError, match=r"numbers \(0, 1\), and their names are not known"):
        Hub(str(tmp_path / "plain.parquet"))
    spec = Spec("hub", {"path": str(tmp_path / "plain.parquet"), "classes": ["a", "b"]})
    assert greys(DATASETS.build(spec)) == [1, 2]
