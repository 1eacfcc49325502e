"""Lines, words and rows of annotation files, however they were saved."""

import contextlib
import csv
import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_stills import write

from fusionkit.errors import DataError
from fusionkit_datasets.annotation_file import AnnotationFile


def test_line_ends_a_byte_order_mark_and_a_missing_last_end_do_not_matter(tmp_path):
    write(tmp_path / "list.txt", b"\xef\xbb\xbfa 1\r\nb\xc3\xbc 2\n\n c d 3")
    assert list(AnnotationFile("toy", tmp_path / "list.txt").lines()) == [
        (1, "a 1"),
        (2, "bü 2"),
        (3, ""),
        (4, " c d 3"),
    ]


def test_words_pass_over_blank_lines_and_a_short_line_is_a_fault(tmp_path):
    write(tmp_path / "list.txt", "a 1\n \nb\nc 2\n")
    file = AnnotationFile("toy", tmp_path / "list.txt")
    assert list(file.words(least=2)) == [(1, ["a", "1"]), (4, ["c", "2"])]
    assert file.faults == [f"{tmp_path / 'list.txt'}:3: expected 2 fields, found 1: 'b'"]


def test_the_digest_is_that_of_the_bytes(tmp_path):
    data = b"a 1\r\nb 2"
    write(tmp_path / "list.txt", data)
    file = AnnotationFile("toy", tmp_path / "list.txt")
    list(file.lines())
    list(file.words())
    assert file.digest() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("content", [b"a 1\n\xff\xfe 2\n", b"a\n\xe4"])
def test_a_line_that_is_not_utf8_is_named(tmp_path, content):
    write(tmp_path / "list.txt", content)
    with pytest.raises(DataError, match=r"list.txt:2: this is not UTF-8 text"):
        list(AnnotationFile("toy", tmp_path / "list.txt").lines())


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*gone.txt: No such file"):
        list(AnnotationFile("toy", tmp_path / "gone.txt").lines())


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=1)))
def test_rows_are_those_of_the_csv_module(tmp_path_factory, table):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([[cell.replace("\n", " ").replace("\r", " ") for cell in row] for row in table])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    write(path, text.getvalue())
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text.getvalue().removeprefix("\ufeff")))]
    assert [row for _, row in AnnotationFile("toy", path).rows()] == [row for row in rows if any(row)]


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_only_a_data_error_comes_out(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    write(path, data)
    with contextlib.suppress(DataError):
        for line, row in AnnotationFile("toy", path).rows():
            assert any(row)
            assert 1 <= line <= data.count(b"\n") + 1
