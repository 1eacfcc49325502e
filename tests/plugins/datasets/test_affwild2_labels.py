"""Annotation text: whatever stands in it, no label is shifted, no row lost, and every wrong line is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.errors import DataError
from fusionkit_datasets.affwild2_labels import (
    CLASSES,
    find_annotations,
    find_test_list,
    listed_test_clips,
    parse_labels,
    read_annotations,
)

HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"


def by_hand(text: str) -> tuple[list[int], set[int]]:
    """Labels and the numbers of wrong lines, one character after the other, without a check of the header."""
    lines, line, i = [], "", 0
    while i < len(text):
        if text[i] in "\r\n":
            i += text[i : i + 2] == "\r\n"
            lines.append(line)
            line = ""
        else:
            line += text[i]
        i += 1
    lines.append(line)
    while lines and lines[-1].strip(" \t") == "":
        del lines[-1]
    names = [name.strip(" ") for name in lines[0].split(",")]
    labels, wrong = [], set()
    for number, line in enumerate(lines[1:], start=2):
        value = line.strip(" \t")
        if value == "-1":
            labels.append(-1)
        elif len(value) == 1 and value in "01234567":
            labels.append(CLASSES.index(names[int(value)]))
        else:
            labels.append(-1)
            wrong.add(number)
    return labels, wrong


VALUES = st.sampled_from(
    ["-1", *"01234567", " 3", "5\t", "", "8", "9", "-2", "x", "1.0", "1,2", "07", "+1", "--1", "NaN", "٣"]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(
    header=st.permutations(CLASSES),
    lines=st.lists(st.tuples(VALUES, ENDS), max_size=40),
    head_end=ENDS,
    mark=st.booleans(),
    blanks=st.integers(0, 3),
)
def test_labels_and_wrong_lines_are_those_of_a_reader_by_hand(header, lines, head_end, mark, blanks):
    text = ",".join(header) + head_end + "".join(value + end for value, end in lines) + "\n" * blanks
    labels, problems = parse_labels((b"\xef\xbb\xbf" if mark else b"") + text.encode())
    expected, wrong = by_hand(text)
    assert labels.tolist() == expected
    assert {line for line, _ in problems} == wrong
    assert labels.dtype == np.int64


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_crash_it_or_lose_a_row(junk, with_header):
    data = (HEADER.encode() + b"\n" if with_header else b"") + junk
    labels, problems = parse_labels(data)
    rows = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    while rows and not rows[-1].strip():
        rows.pop()
    assert len(labels) == max(len(rows) - 1, 0)
    assert set(labels.tolist()) <= set(range(-1, 8))
    for line, message in problems:
        assert 1 <= line <= max(len(rows), 1)
        assert "\n" not in message
        assert len(message) < 300


@pytest.mark.parametrize("values", [[], ["3"], ["-1", "0", "7"]])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("blanks", ["", "{end}", "{end}{end} {end}"])
def test_marks_line_ends_and_blank_lines_at_the_end_mean_nothing(values, end, mark, blanks):
    text = mark + end.join([HEADER, *values]) + blanks.format(end=end)
    labels, problems = parse_labels(text.encode())
    assert labels.tolist() == [int(value) for value in values]
    assert problems == []


def test_a_header_in_another_order_is_mapped_by_name():
    text = "Other, happiness,Neutral,Anger,Disgust,Fear,Sadness,Surprise\n0\n1\n2\n-1\n7\n"
    labels, problems = parse_labels(text.encode())
    assert [CLASSES[code] if code >= 0 else None for code in labels.tolist()] == [
        "Other",
        "Happiness",
        "Neutral",
        None,
        "Surprise",
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \n\n", "the file is empty"),
        (b"0\n1\n", "unknown class '0'"),
        (b"Neutral,Anger,Disgust,Fear,Happy,Sadness,Surprise,Other\n", "unknown class 'Happy'"),
        (b"valence,arousal\n0.1,0.2\n", "unknown class 'valence'"),
        (b"Neutral,Disgust,Fear,Happiness,Sadness,Surprise,Other\n", "the header lacks Anger"),
        (HEADER.replace("Anger", "Fear").encode(), "the header repeats Fear and lacks Anger"),
        (HEADER.encode("utf-16"), "unknown class "),
    ],
)
def test_a_header_that_is_not_the_eight_classes_is_named(data, message):
    _, problems = parse_labels(data)
    assert problems[0][0] == 1
    assert message in problems[0][1]


def test_a_blank_line_before_the_end_is_a_problem_since_labels_could_be_shifted():
    labels, problems = parse_labels(f"{HEADER}\n1\n\n2\n".encode())
    assert labels.tolist() == [1, -1, 2]
    assert problems == [(3, "a blank line")]


def test_problems_name_file_and_line(tmp_path):
    folder = tmp_path / "Train_Set"
    folder.mkdir()
    (folder / "v.txt").write_text(f"{HEADER}\n1\n9\nten\n", encoding="utf-8")
    (file,) = read_annotations(tmp_path)
    assert file.problems == (
        f"{folder}/v.txt:3: '9' must be a class number in -1..7",
        f"{folder}/v.txt:4: 'ten' must be a class number in -1..7",
    )


def test_a_clip_that_is_annotated_twice_is_a_problem(tmp_path):
    for name in ("Train_Set", "Validation_Set"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "v.txt").write_text(f"{HEADER}\n1\n", encoding="utf-8")
    problems = [problem for file in read_annotations(tmp_path) for problem in file.problems]
    assert problems == [f"{tmp_path}/Validation_Set/v.txt:1: clip 'v' is also annotated in {tmp_path}/Train_Set/v.txt"]


@pytest.mark.parametrize(
    "folder",
    [
        "6th ABAW Annotations/EXPR_Recognition_Challenge",
        "5th_ABAW_annotations/EXPR_Classification_Challenge",
        "Annotations/3rd ABAW Annotations/EXPR_Classification_Challenge",
        "EXPR_Recognition_Challenge",
        ".",
    ],
)
def test_the_annotation_is_found_by_itself(tmp_path, folder):
    (tmp_path / folder / "Train_Set").mkdir(parents=True)
    (tmp_path / "cropped_aligned/EXPR_Recognition_Challenge/Train_Set").mkdir(parents=True)  # never looked into
    assert find_annotations(tmp_path, "") == tmp_path / folder


def test_of_two_editions_one_must_be_chosen(tmp_path):
    old, new = (tmp_path / f"{n}th ABAW Annotations/EXPR_Recognition_Challenge" for n in (5, 6))
    for folder in (old, new):
        (folder / "Train_Set").mkdir(parents=True)
    with pytest.raises(DataError, match="several annotations") as caught:
        find_annotations(tmp_path, "")
    assert "annotations=" in caught.value.hint
    assert find_annotations(tmp_path, str(new)) == new
    assert find_annotations(tmp_path, str(old.parent)) == old


def test_where_there_is_no_annotation_the_layout_is_told(tmp_path):
    for root, message in ((tmp_path, "no folder EXPR_Recognition_Challenge"), (tmp_path / "x", "is not a folder")):
        with pytest.raises(DataError, match=message) as caught:
            find_annotations(root, "")
        assert "Train_Set" in caught.value.hint
    (tmp_path / "EXPR_Recognition_Challenge/Train_Set").mkdir(parents=True)
    with pytest.raises(DataError, match="no annotation file"):
        read_annotations(tmp_path / "EXPR_Recognition_Challenge")


@pytest.mark.parametrize("above", [".", "6th ABAW Annotations", "6th ABAW Annotations/EXPR_Recognition_Challenge"])
@pytest.mark.parametrize("kind", ["Recognition", "Classification"])
def test_the_list_of_the_test_set_is_found_beside_the_annotation_or_above(tmp_path, above, kind):
    annotations = tmp_path / "6th ABAW Annotations/EXPR_Recognition_Challenge"
    annotations.mkdir(parents=True)
    assert find_test_list(tmp_path, annotations) is None
    folder = tmp_path / above / "names_of_videos_in_each_test_set"
    folder.mkdir()
    (folder / "Action_Unit_Detection_Challenge_test_set_release.txt").write_text("other\n", encoding="utf-8")
    assert find_test_list(tmp_path, annotations) is None
    (folder / f"Expression_{kind}_Challenge_test_set_release.txt").write_bytes(b"\xef\xbb\xbfb_left\r\na\r\n\r\n")
    found = find_test_list(tmp_path, annotations)
    assert found is not None
    assert listed_test_clips(found) == ["a", "b_left"]


def test_a_list_of_seven_classes_without_other_is_read():
    labels, problems = parse_labels(b"Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n0\n6\n-1\n7\n")
    assert labels.tolist() == [0, 6, -1, -1]
    assert [line for line, _ in problems] == [5]
