"""ExpW: faces cut out of photos."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_stills import labels, write

from fusionkit.data.check import check_data
from fusionkit.errors import DataError
from fusionkit.grid.progress import Progress
from fusionkit_datasets.expw import ExpW

PHOTO = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)


def written(root: Path, *lines: str) -> str:
    write(root / "label/label.lst", "\r\n".join(lines) + "\r\n")
    for name in {line.rsplit(" ", 7)[0] for line in lines}:
        write(root / "image/origin" / name, cv2.imencode(".png", PHOTO[..., ::-1])[1].tobytes())
    return str(root)


def test_each_line_is_a_face_of_its_photo(tmp_path):
    data = ExpW(
        written(tmp_path, "a b.jpg 0 5 10 30 45 60.5 3", "a b.jpg 1 0 40 80 20 9.5 0", "c.jpg 0 -3 70 99 8 50 6")
    )
    assert labels(data) == ["happy", "angry", "neutral"]
    assert data.frames.unit.tolist() == ["a b.jpg", "a b.jpg", "c.jpg"]
    expected = [PHOTO[5:45, 10:30], PHOTO[0:20, 40:80], PHOTO[0:8, 70:]]
    for found, part in zip(data.images(np.arange(3)), expected, strict=True):
        np.testing.assert_array_equal(found, part)


def test_each_face_of_a_photo_is_named_by_its_line(tmp_path):
    data = ExpW(written(tmp_path, "a.jpg 0 5 10 30 45 60.5 3", "a.jpg 1 0 40 80 20 9.5 0"))
    photo, lines = tmp_path / "image/origin/a.jpg", tmp_path / "label/label.lst"
    assert [data.where(row) for row in range(2)] == [f"{photo} ({lines}:1)", f"{photo} ({lines}:2)"]


def test_a_face_with_an_unusable_box_has_no_image_and_is_named(tmp_path):
    boxes = ["5 10 30 45", "5 30 10 45", "45 10 30 5", "60 10 30 90", "-9 10 20 30"]  # top, left, right, bottom
    data = ExpW(written(tmp_path, *(f"a.jpg {i} {box} 60 3" for i, box in enumerate(boxes))))
    found = data.images(np.arange(5))
    np.testing.assert_array_equal(found[0], PHOTO[5:45, 10:30])
    assert found[1] is found[2] is found[3] is None
    assert found[4] is not None  # top -9, bottom 30
    assert data.has_image().tolist()[:4] == [True, False, False, True]  # the last is known when the photo is read
    problems = list(data.problems())
    assert [line.split(": ")[0].rpartition(":")[2] for line in problems[:2]] == ["2", "3"]
    assert all("no usable face box" in line for line in problems)
    checked = check_data(data, read=True, progress=Progress())
    assert any("label.lst:4" in problem for problem in checked.problems)


def test_a_root_one_folder_too_high_is_named(tmp_path):
    written(tmp_path / "ExpW", "a.jpg 0 0 0 9 9 10 1")
    with pytest.raises(DataError, match=f"found: ExpW .*use expw:root={tmp_path / 'ExpW'}"):
        ExpW(str(tmp_path))


def test_faces_that_the_detector_doubts_are_counted(tmp_path):
    root = written(tmp_path, "a.jpg 0 5 10 30 45 60.5 3", "a.jpg 1 0 40 80 20 9.5 0", "c.jpg 0 0 0 9 9 10 6")
    data = ExpW(root, min_confidence=10)
    assert labels(data) == ["happy", "neutral"]
    assert data.dropped == {"face below confidence 10": 1}


def test_the_numbers_are_the_names_of_the_readme(tmp_path):
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert labels(ExpW(written(tmp_path, *(f"{i}.jpg 0 0 0 9 9 10 {i}" for i in range(7))))) == names


@pytest.mark.parametrize("line", ["b.jpg 0 0 0 9 9 10 7", "b.jpg 0 0 0 x 9 10 1", "b.jpg 0 0 0 9 9 10", "b.jpg 3"])
def test_a_bad_line_is_named(tmp_path, line):
    data = ExpW(written(tmp_path, "a.jpg 0 0 0 9 9 10 1", line))
    with pytest.raises(DataError, match=r"label.lst:2: "):
        data.table()


def test_a_face_that_is_listed_twice_is_named(tmp_path):
    data = ExpW(written(tmp_path, "a.jpg 0 0 0 9 9 10 1", "a.jpg 0 0 0 9 9 10 2"))
    with pytest.raises(DataError, match=r"label.lst:2: 'a.jpg#0' is also annotated at .*label.lst:1"):
        data.table()


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"has no label/label.lst"):
        ExpW(str(tmp_path))


@given(st.binary(max_size=80))
def test_whatever_the_list_holds_only_a_data_error_comes_out(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("expw")
    write(root / "label/label.lst", content)
    try:
        ExpW(str(root)).table()
    except DataError:
        return
