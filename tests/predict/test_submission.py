"""Submission files: templates, both output formats, and every fault with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_counts import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusionkit.errors import ConfigError, DataError, StorageError
from fusionkit.predict.submission import (
    Template,
    check_output,
    class_order,
    read_template,
    submission_faults,
    write_per_video,
    write_rows,
)
from fusionkit.storage import artifact

HEADER = "image_location,Neutral,Anger,Happiness"
ROWS = [
    "14-30-1920x1080/00001.jpg",
    "14-30-1920x1080/00002.jpg",
    "b_left/00007.jpg",
    "b_left/100000.jpg",
    "b/00001.jpg",
]


def template_of(folder: Path, rows: list[str], header: str = HEADER, value: str = ",0", end: str = "\n") -> Template:
    path = folder / "template.txt"
    path.write_bytes((header + end + "".join(f"{row}{value}{end}" for row in rows)).encode())
    return read_template(path)


def test_a_template_is_read_in_order(tmp_path: Path) -> None:
    found = template_of(tmp_path, ROWS)
    assert found.header == HEADER
    assert found.classes == ("Neutral", "Anger", "Happiness")
    assert found.clips == ("14-30-1920x1080", "b_left", "b")
    assert found.clip.tolist() == [0, 0, 1, 1, 2]
    assert found.number.tolist() == [1, 2, 7, 100000, 1]
    assert found.line.tolist() == [2, 3, 4, 5, 6]
    assert list(found.locations()) == ROWS
    assert {name: rows.tolist() for name, rows in found.rows_of.items()} == {
        "14-30-1920x1080": [0, 1],
        "b_left": [2, 3],
        "b": [4],
    }


@pytest.mark.parametrize("how", [{"value": ""}, {"end": "\r\n"}, {"header": "\ufeff" + HEADER}, {"value": ",7,8"}])
def test_byte_order_marks_line_ends_and_values_do_not_matter(tmp_path: Path, how: dict[str, str]) -> None:
    found = template_of(tmp_path, ROWS, **how)
    assert (found.header, list(found.locations())) == (HEADER, ROWS)
    assert found.number.tolist() == [1, 2, 7, 100000, 1]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "template.txt:1: '' is not a header"),
        (["image_location", "a/1.jpg,0"], "template.txt:1: 'image_location' is not a header"),
        (["x,A,a", "a/1.jpg,0"], "template.txt:1: 'x,A,a' is not a header"),
        ([HEADER], "template.txt has no rows"),
        ([HEADER, "a/1.jpg,0", "1.jpg,0"], "template.txt:3: '1.jpg' has no clip name and frame number"),
        ([HEADER, "a/one.jpg,0"], "template.txt:2: 'a/one.jpg' has no clip name and frame number"),
        ([HEADER, "a/,0"], "template.txt:2: 'a/' has no clip name and frame number"),
        ([HEADER, "../a/1.jpg,0"], "template.txt:2: '../a/1.jpg' has no clip name and frame number"),
        ([HEADER, "/a/1.jpg,0"], "template.txt:2: '/a/1.jpg' has no clip name and frame number"),
        ([HEADER, f"a/{10**20}.jpg,0"], f"template.txt:2: 'a/{10**20}.jpg' has no clip name and frame number"),
        ([HEADER, "a/2.jpg,0", "b/1.jpg,0", "", "a/02.jpg,0"], "template.txt:5: duplicate of the frame in line 2"),
    ],
)
def test_a_malformed_template_raises_with_the_line(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "template.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        read_template(tmp_path / "template.txt")


def test_an_unreadable_template_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none cannot be read: No such file"):
        read_template(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="bytes cannot be read: 'utf-8'"):
        read_template(tmp_path / "bytes")


def test_classes_are_matched_by_name() -> None:
    assert class_order(["Anger", "happiness", "neutral"], ["Neutral", "Anger", "Happiness"]).tolist() == [1, 2, 0]
    with pytest.raises(ConfigError, match=r"template differ; only in the template: Other; only in the cell: Contempt$"):
        class_order(["Anger", "Contempt"], ["Anger", "Other"])
    with pytest.raises(ConfigError, match=r"only in the template: Other \(--missing-classes writes"):
        class_order(["Anger"], ["Anger", "Other"])
    assert class_order(["Anger", "Fear"], ["Other", "Fear", "Anger"], missing_classes=True).tolist() == [2, 1]
    with pytest.raises(ConfigError, match=r"only in the cell: Contempt$"):
        class_order(["Contempt"], ["Other"], missing_classes=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(25))
@given(data=st.data())
def test_every_row_is_written_once_in_order_with_the_value_of_its_frame(tmp_path: Path, data: Any) -> None:
    frames = data.draw(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 200_000)), min_size=1, max_size=30, unique=True)
    )
    value = {frame: data.draw(st.integers(0, 2)) for frame in frames}
    template = template_of(tmp_path, [f"clip {clip}/{number:05d}.jpg" for clip, number in frames])
    frames_by_clip = template.frames()
    predicted = {
        name: np.array([value[name[-1], n] for n in numbers.tolist()]) for name, numbers in frames_by_clip.items()
    }
    write_rows(template, predicted, tmp_path / "out.txt")
    expected = [HEADER, *(f"clip {clip}/{number:05d}.jpg,{value[clip, number]}" for clip, number in frames)]
    assert (tmp_path / "out.txt").read_bytes().decode() == "".join(f"{line}\n" for line in expected)
    assert list(submission_faults(tmp_path / "out.txt", template)) == []
    whole = template.whole_clips()
    assert {name: numbers.tolist() for name, numbers in whole.items()} == {
        f"clip {clip}": list(range(1, max(n for c, n in frames if c == clip) + 1)) for clip, _ in frames
    }


def test_a_file_a_video_holds_the_classes_and_a_line_a_frame(tmp_path: Path) -> None:
    write_per_video(["Neutral", "Anger"], {"a": np.array([1, 0, 1]), "b_left": np.array([0])}, tmp_path / "out")
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()} == {
        "a.txt": "Neutral,Anger\n1\n0\n1\n",
        "b_left.txt": "Neutral,Anger\n0\n",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_output_that_exists_raises(tmp_path: Path) -> None:
    template = template_of(tmp_path, ROWS)
    check_output(tmp_path / "new", template, per_video=False)
    check_output(tmp_path / "new", None, per_video=True)
    with pytest.raises(ConfigError, match=r"template\.txt is the template"):
        check_output(tmp_path / "template.txt", template, per_video=False)
    with pytest.raises(ConfigError, match="is a folder"):
        check_output(tmp_path, template, per_video=False)
    with pytest.raises(ConfigError, match="already exists"):
        check_output(tmp_path, template, per_video=True)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = template_of(tmp_path, ROWS)
    (tmp_path / "out.txt").write_text("before", encoding="utf-8")

    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "_write_synced", full)
    with pytest.raises(StorageError, match=r"out\.txt cannot be written: the disk is full"):
        write_rows(
            template, {name: np.zeros(len(rows), int) for name, rows in template.rows_of.items()}, tmp_path / "out.txt"
        )
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.txt", "template.txt"]


def edited(change: Callable[[list[str]], None]) -> list[str]:
    lines = [HEADER, *(f"{row},1" for row in ROWS)]
    change(lines)
    return lines


def replaced(line: int, text: str) -> Callable[[list[str]], None]:
    return lambda lines: lines.__setitem__(line - 1, text)


FAULTS: list[tuple[Callable[[list[str]], None], list[str]]] = [
    (lambda _: None, []),
    (lambda lines: lines.append(""), []),
    (
        replaced(1, "image_location,Anger,Neutral,Happiness"),
        ["out:1: the header is 'image_location,Anger,Neutral,Happiness'; expected '{h}'"],
    ),
    (
        lambda lines: lines.pop(0),
        ["out:1: the header is '{0},1'; expected '{h}'", "template:2: '{0}' is missing from out"],
    ),
    (lambda lines: lines.pop(3), ["template:4: '{2}' is missing from out"]),
    (lambda lines: lines.insert(2, "x/00001.jpg,0"), ["out:3: 'x/00001.jpg' is not in the template"]),
    (lambda lines: lines.insert(4, "{1},2"), ["out:5: '{1}' is a duplicate of line 3"]),
    (replaced(4, "{2},3"), ["out:4: '3' is not a class number from 0 to 2"]),
    (replaced(4, "{2},-1"), ["out:4: '-1' is not a class number from 0 to 2"]),
    (replaced(4, "{2},1.0"), ["out:4: '1.0' is not a class number from 0 to 2"]),
    (replaced(4, "{2},"), ["out:4: '' is not a class number from 0 to 2"]),
    (replaced(4, "{2},1,1"), ["out:4: '1,1' is not a class number from 0 to 2"]),
    (replaced(4, "{2}"), ["out:4: comma and class number are missing"]),
    (lambda lines: lines.append(lines.pop(1)), ["out:6: '{0}' is out of order: it is line 2 of the template"]),
    (lambda lines: lines.insert(1, lines.pop()), ["out:3: '{0}' is out of order: it is line 2 of the template"]),
    (
        lambda lines: lines.__setitem__(slice(1, None), ["{4},9", "{4},1", "y/1.jpg,0", "{0},1"]),
        [
            "out:2: '9' is not a class number from 0 to 2",
            "out:3: '{4}' is a duplicate of line 2",
            "out:4: 'y/1.jpg' is not in the template",
            "out:5: '{0}' is out of order: it is line 2 of the template",
            "template:3: '{1}' is missing from out",
            "template:4: '{2}' is missing from out",
            "template:5: '{3}' is missing from out",
        ],
    ),
]


WHOLE = [f"{row},1" for row in ROWS]
ODD = st.sampled_from(
    ["", ",", "x", "/1.jpg,0", f"{ROWS[0]},", f"{ROWS[1]},{'9' * 5000}", f"{ROWS[2]},٣", "a\0/1.jpg,0"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.permutations(WHOLE) | st.lists(st.sampled_from(WHOLE) | ODD | st.text(max_size=20), max_size=8),
    header=st.just(HEADER) | st.text(max_size=20),
)
def test_a_text_has_no_fault_only_if_it_equals_the_expected_file(tmp_path: Path, lines: list[str], header: str) -> None:
    template = template_of(tmp_path, ROWS)
    (tmp_path / "out.txt").write_text("\n".join([header, *lines]), newline="", encoding="utf-8")
    found = list(submission_faults(tmp_path / "out.txt", template))
    rows = [line for line in (tmp_path / "out.txt").read_text(encoding="utf-8").split("\n")[1:] if line]
    assert (not found) == (header == HEADER and rows == WHOLE)
    assert all("\n" not in fault and len(fault) < len(str(tmp_path)) + 400 for fault in found)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=60), whole=st.booleans())
def test_any_bytes_are_a_template_with_every_row_or_raise(tmp_path: Path, junk: bytes, whole: bool) -> None:
    path = tmp_path / "template.txt"
    path.write_bytes((f"{HEADER}\n{ROWS[0]},0\n".encode() if whole else b"") + junk)
    try:
        found = read_template(path)
    except DataError:
        return
    rows = [line for line in path.read_text(encoding="utf-8-sig").split("\n")[1:] if line]
    assert list(found.locations()) == [line.partition(",")[0] for line in rows]
    write_rows(found, {name: np.zeros(len(own), int) for name, own in found.rows_of.items()}, tmp_path / "out.txt")
    assert list(submission_faults(tmp_path / "out.txt", found)) == []


@pytest.mark.parametrize(("change", "expected"), FAULTS)
def test_each_fault_is_reported_with_its_line(
    tmp_path: Path, change: Callable[[list[str]], None], expected: list[str]
) -> None:
    template = template_of(tmp_path, ROWS)
    out = tmp_path / "out.txt"
    out.write_text("".join(line.format(*ROWS) + "\n" for line in edited(change)), encoding="utf-8")
    found = [
        fault.replace(str(out), "out").replace(str(template.path), "template")
        for fault in submission_faults(out, template)
    ]
    assert found == [text.format(*ROWS, h=HEADER) for text in expected]


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        (np.array([[1, 0], [0, 1]]), ["v/00001.jpg,1,0", "v/00002.jpg,0,1"]),
        (np.array([[0.25, -1.0], [0.0, 0.5]]), ["v/00001.jpg,0.250000,-1.000000", "v/00002.jpg,0.000000,0.500000"]),
    ],
)
def test_several_values_a_frame_are_columns_and_pass_the_check(
    tmp_path: Path, values: np.ndarray, rows: list[str]
) -> None:
    (tmp_path / "template.txt").write_text("image_location,a,b\nv/00001.jpg,0,0\nv/00002.jpg,0,0\n", encoding="utf-8")
    template = read_template(tmp_path / "template.txt")
    assert template.wide
    write_rows(template, {"v": values}, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines() == ["image_location,a,b", *rows]
    assert list(submission_faults(tmp_path / "out.txt", template)) == []
    (tmp_path / "out.txt").write_text("image_location,a,b\nv/00001.jpg,2,0\nv/00002.jpg,0\n", encoding="utf-8")
    faults = list(submission_faults(tmp_path / "out.txt", template))
    assert [fault.partition(": ")[2] for fault in faults] == [
        "'2,0' is not 2 numbers from -1 to 1",
        "'0' is not 2 numbers from -1 to 1",
    ]
