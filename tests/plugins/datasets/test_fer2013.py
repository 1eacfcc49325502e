"""FER2013 from its csv file and from class folders."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_stills import greys, image, labels, write
from toy_tasks import divided

from fusionkit.errors import DataError
from fusionkit.registry.spec import Spec
from fusionkit_datasets.fer2013 import Fer2013

REAL = Path(__file__).parents[4] / "shared/data/fer2013"
# As in the Kaggle challenge's description, written here once more.
NAMES = {0: "angry", 1: "disgust", 2: "fear", 3: "happy", 4: "sad", 5: "surprise", 6: "neutral"}


def row(emotion: object, grey: int, usage: str = "Training") -> str:
    return f"{emotion},{' '.join([str(grey)] * 2304)},{usage}"


def csv(root: Path, *rows: str, name: str = "fer2013.csv") -> str:
    write(root / name, "\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    return str(root)


def test_without_its_csv_what_is_there_and_the_spec_that_reads_it_are_named(tmp_path):
    csv(tmp_path, row(0, 1), name="train.csv")
    with pytest.raises(DataError) as refused:
        Fer2013(str(tmp_path))
    assert refused.value.hint == f"use fer2013:root={tmp_path / 'train.csv'}"
    assert "fer2013.csv" in str(refused.value)
    assert "found: train.csv" in str(refused.value)
    csv(tmp_path / "deeper/archive", row(0, 1))
    with pytest.raises(DataError, match=f"use fer2013:root={tmp_path / 'deeper/archive'}"):
        Fer2013(str(tmp_path / "deeper"))


def test_numbers_are_names_and_usages_are_splits(tmp_path):
    rows = [row(number, 10 * number) for number in NAMES]
    data = Fer2013(csv(tmp_path, *rows, row(4, 99, "PublicTest"), row(6, 100, "PrivateTest")))
    assert data.classes == tuple(NAMES.values())
    assert labels(data) == [*NAMES.values(), "sad", "neutral"]
    assert greys(data) == [0, 10, 20, 30, 40, 50, 60, 99, 100]
    assert data.frames.split.tolist() == ["train"] * 7 + ["val", "test"]
    assert data.frames.clip[8] == "fer0000008"
    assert data.where(8) == f"{tmp_path / 'fer2013.csv'}:10"
    assert data.has_image() is None


@pytest.mark.parametrize("name", ["fer2013/fer2013.csv", "icml_face_data.csv"])
def test_the_file_may_have_its_other_names(tmp_path, name):
    assert labels(Fer2013(csv(tmp_path, row(0, 1), row(3, 2), name=name))) == ["angry", "happy"]


def test_the_root_may_be_the_file(tmp_path):
    csv(tmp_path, row(0, 1), row(3, 2), name="my fer ü.csv")
    assert greys(Fer2013(str(tmp_path / "my fer ü.csv"))) == [1, 2]


def test_folders_give_the_same_classes_whatever_their_alphabetical_order(tmp_path):
    for number, name in NAMES.items():
        image(tmp_path / "train" / name.title() / "a.png", number)
        image(tmp_path / "test" / name.title() / "a.png", number)
    data = Fer2013(str(tmp_path))
    assert data.classes == tuple(NAMES.values())
    assert labels(data) == [NAMES[grey] for grey in greys(data)]
    assert sorted(set(data.frames.split)) == ["test", "train"]


def test_numbered_folders_are_refused(tmp_path):
    image(tmp_path / "train/0/a.png", 0)
    image(tmp_path / "train/1/a.png", 0)
    with pytest.raises(DataError, match=r"unknown class folder '0' .* \(known folders: angry, disgust"):
        Fer2013(str(tmp_path))


def test_public_is_dev_and_private_is_test(tmp_path):
    rows = [row(i % 7, 1, usage) for usage in ("Training", "PublicTest", "PrivateTest") for i in range(14)]
    data = Fer2013(csv(tmp_path, *rows))
    folds, _ = divided(Spec("official"), data.table(), data.classes)
    parts = {part: folds[0].rows(part).tolist() for part in ("train", "dev", "test")}
    assert parts == {"train": list(range(14)), "dev": list(range(14, 28)), "test": list(range(28, 42))}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row(7, 1), "emotion '7' must be 0 to 6"),
        (row("", 1), "emotion '' must be 0 to 6"),
        (row("happy", 1), "emotion 'happy' must be 0 to 6"),
        (row(1, 1, "Test"), "Usage 'Test' must be one of Training, PublicTest, PrivateTest"),
        ("1", "expected 3 fields, found 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    data = Fer2013(csv(tmp_path, row(0, 1), line, row(1, 2)))
    with pytest.raises(DataError) as caught:
        data.table()
    assert str(caught.value) == f"fer2013: {tmp_path / 'fer2013.csv'}:3: {message}"
    assert f"{tmp_path / 'fer2013.csv'}:3: {message}" in list(data.problems())


def test_a_face_that_cannot_be_parsed_stays_a_row(tmp_path):
    data = Fer2013(csv(tmp_path, row(0, 1), "3,1 2 3,Training"))
    assert labels(data) == ["angry", "happy"]
    assert greys(data) == [1, None]
    assert list(data.problems()) == [f"{tmp_path / 'fer2013.csv'}:3: expected 48 x 48 pixels, found 3"]


def test_a_header_alone_and_an_empty_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="no annotated image"):
        Fer2013(csv(tmp_path)).table()
    write(tmp_path / "fer2013.csv", "")
    with pytest.raises(DataError, match="no column emotion"):
        Fer2013(str(tmp_path))


def test_the_fingerprint_is_of_the_file_and_not_of_its_place(tmp_path):
    one = Fer2013(csv(tmp_path / "a", row(0, 1), row(3, 2)))
    assert one.fingerprint() == Fer2013(csv(tmp_path / "b", row(0, 1), row(3, 2))).fingerprint()
    assert one.fingerprint() != Fer2013(csv(tmp_path / "c", row(0, 1), row(3, 3))).fingerprint()
    mapped = Fer2013(str(tmp_path / "a"), class_map={"angry": "bad", "*": "other"})
    assert mapped.classes == ("bad", "other")
    assert mapped.fingerprint() != one.fingerprint()


@given(st.binary(max_size=100) | st.text(max_size=60).map(lambda text: f"emotion,pixels,Usage\n{text}".encode()))
def test_whatever_the_csv_holds_only_a_data_error_comes_out(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("fer")
    write(root / "fer2013.csv", content)
    try:
        data = Fer2013(str(root))
        list(data.problems())
        table = data.table()
    except DataError:
        return
    assert np.isin(table.label, range(7)).all()


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not there")
def test_the_real_folders_hold_what_they_should():
    data = Fer2013(str(REAL))
    table = data.table()
    assert {split: int((table.split == split).sum()) for split in ("train", "val")} == {"train": 6000, "val": 3520}
    assert list(data.problems()) == []
    for index in range(0, len(table), 700):
        assert Path(data.where(index)).parts[-2] == data.classes[table.label[index]]
    counted = {name: sum(1 for _ in (REAL / "train" / name).iterdir()) for name in data.classes}
    assert {
        name: int(((table.split == "train") & (table.label == i)).sum()) for i, name in enumerate(data.classes)
    } == (counted)
