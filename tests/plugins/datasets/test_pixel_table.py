"""Faces in a csv file: what is indexed, what is parsed, and when."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_stills import write

from fusionkit.errors import DataError
from fusionkit_datasets.pixel_table import PixelTable

RNG = np.random.default_rng(0)


def pixels(face: np.ndarray) -> str:
    return " ".join(str(value) for value in face.reshape(-1).tolist())


def faces(count: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, 48, 48), dtype=np.uint8)


def table(path: Path, text: str | bytes) -> PixelTable:
    write(path / "fer2013.csv", text)
    return PixelTable.open("toy", path / "fer2013.csv")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("emotion,pixels,Usage", "{e},{p},{u}"),
        ("emotion, Usage, pixels", "{e},{u}, {p}"),
        ('"Usage","pixels","emotion"', '"{u}","{p}","{e}"'),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_pixels_are_those_that_were_written_whatever_the_order_of_columns(tmp_path, header, row, end):
    written = faces(3)
    rows = [row.format(e=i, p=pixels(face), u="Training") for i, face in enumerate(written)]
    found = table(tmp_path, "\ufeff" + end.join([header, *rows]) + end + end)
    assert [(each.emotion, each.usage, each.line) for each in found.rows] == [
        (str(i), "Training", i + 2) for i in range(3)
    ]
    for index in (2, 0, 1):
        np.testing.assert_array_equal(found.read(index), np.repeat(written[index][..., None], 3, axis=2))
    assert found.read(0).dtype == np.uint8
    assert list(found.problems()) == []


def test_some_rows_are_taken_and_keep_their_lines(tmp_path):
    written = faces(3)
    found = table(tmp_path, "\n".join(["emotion,pixels", *(f"0,{pixels(face)}" for face in written)])).take([2, 0])
    np.testing.assert_array_equal(found.read(0)[..., 1], written[2])
    assert found.where(1).endswith("fer2013.csv:2")
    assert found.rows[0].usage == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "expected 48 x 48 pixels, found 3"),
        ("", "expected 48 x 48 pixels, found 0"),
        (" ".join(["7"] * 2305), "expected 48 x 48 pixels, found 2305"),
        (" ".join(["7"] * 2303 + ["256"]), "pixel 256 must be 0 to 255"),
        (" ".join(["7"] * 2303 + ["99999999999999999999"]), "must be 0 to 255"),
        (" ".join(["7"] * 2303 + ["-1"]), "pixels must be numbers separated by spaces"),
        (" ".join(["7"] * 2303 + ["0.5"]), "pixels must be numbers separated by spaces"),
    ],
)
def test_a_row_without_a_face_is_a_frame_without_an_image_and_a_problem(tmp_path, text, message):
    found = table(tmp_path, f"emotion,pixels,Usage\n0,{pixels(faces(1)[0])},Training\n0,{text},Training\n")
    assert found.read(0) is not None
    assert found.read(1) is None
    [(row, problem)] = found.problems()
    assert row == 1
    assert message in problem


def test_a_line_with_more_or_fewer_fields_is_a_fault(tmp_path):
    found = table(tmp_path, "emotion,pixels,Usage\n0,1 2\n0,1,2,3\n")
    assert [fault.removeprefix(f"{tmp_path}/fer2013.csv:") for fault in found.faults] == [
        "2: expected 3 fields, found 2",
        "3: expected 3 fields, found 4",
    ]


@pytest.mark.parametrize("content", ["", "emotion;pixels;Usage\n", "\x00", "Emotion,Pixels\n0,1"])
def test_a_file_without_the_columns_is_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"fer2013.csv:1: no column emotion"):
        table(tmp_path, content)


def test_the_content_changes_with_any_byte_and_with_the_rows_that_are_used(tmp_path):
    text = f"emotion,pixels\n0,{pixels(faces(1)[0])}\n1,{pixels(faces(1)[0])}\n"
    one, same = table(tmp_path / "a", text), table(tmp_path / "b", text)
    assert one.content() == same.content()
    assert one.content() != one.take([0]).content()
    assert one.content() != table(tmp_path / "c", text.replace("\n1,", "\n2,")).content()


def test_no_pixel_is_parsed_when_the_table_is_opened(tmp_path, monkeypatch):
    write(tmp_path / "fer2013.csv", f"emotion,pixels,Usage\n0,{pixels(faces(1)[0])},Training\n")
    monkeypatch.setattr("fusionkit_datasets.pixel_table._face", lambda *_: pytest.fail("was parsed"))
    assert len(PixelTable.open("toy", tmp_path / "fer2013.csv").rows) == 1


cells = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["0", "1 2 3", "Training", '"', ""])


@given(st.binary(max_size=100) | st.lists(st.lists(cells, max_size=4).map(",".join), max_size=5).map("\n".join))
def test_whatever_the_csv_holds_only_a_data_error_comes_out(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("fer")
    if isinstance(content, str):
        content = b"emotion,pixels,Usage\n" + content.encode()
    try:
        found = table(root, content)
    except DataError:
        return
    assert [found.read(index) for index in range(len(found.rows))] == [None] * len(found.rows)
    assert len(list(found.problems())) == len(found.rows)
