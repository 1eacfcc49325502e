"""Names of files and classes with control characters, other bytes than UTF-8, formulas and 240 letters."""

import csv
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text
from toy_tasks import expression

from fusionkit.cli import console
from fusionkit.errors import file_name, printable
from fusionkit.media.inputs import find_inputs
from fusionkit.predict.video.table import PredictionTable
from fusionkit.report.charts.drawing import draw_figures
from fusionkit.report.charts.figure import Figure, Tile, heat_map
from fusionkit.report.table import as_text, new_table
from fusionkit.storage.artifact import csv_bytes

NAMES = [b"a.jpg", b"IMG_\xd5\xc5.jpg", b"new\nline.jpg", b"esc\x1b[31m.jpg", b"w" * 240 + b".jpg", b"=x.jpg"]


def has_control(text: str) -> bool:
    return any(ord(sign) < 32 or 127 <= ord(sign) < 160 or 0xD800 <= ord(sign) < 0xE000 for sign in text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 张, =1", "plain, é, 张, =1"),
        ("sa\x1b[31md", r"sa\x1b[31md"),
        ("a\nb\t", r"a\nb\t"),
        (os.fsdecode(b"IMG_\xd5"), r"IMG_\xd5"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_unprintable_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(alphabet=st.characters()))
def test_printable_text_is_one_line_of_utf8(text: str) -> None:
    shown = printable(text)
    assert shown.encode().decode() == shown
    assert not has_control(shown)
    assert printable(shown) == shown


@given(st.text(min_size=1, max_size=400))
def test_file_names_fit_a_file_system(text: str) -> None:
    name = file_name(text)
    assert len(name.encode()) <= 160
    assert not has_control(name)
    assert file_name(name) == name


def test_long_names_with_the_same_start_differ() -> None:
    assert file_name("w" * 240 + "a") != file_name("w" * 240 + "b")


def test_inputs_have_valid_and_different_clip_names(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    found, _ = find_inputs([tmp_path])
    clips = {item.clip_name for item in found}
    assert clips >= {"a", "IMG__xd5_xc5", "new_nline", "esc_x1b[31m", "=x"}
    assert len(clips) == len(NAMES)


def test_csv_files_defuse_formulas_and_keep_numbers() -> None:
    lines = csv_bytes(
        ("clip", "delta"), [{"clip": "=cmd|'/c calc'!A0", "delta": -0.5}, {"clip": "@x\n", "delta": None}]
    )
    assert list(csv.reader(io.StringIO(lines.decode()))) == [
        ["clip", "delta"],
        ["'=cmd|'/c calc'!A0", "-0.5"],
        [r"'@x\n", ""],
    ]


def test_the_header_of_predictions_defuses_class_names(tmp_path: Path) -> None:
    with PredictionTable(tmp_path / "predictions.csv", expression(["=1+1", os.fsdecode(b"bad\xff")])) as table:
        table.rows = 1
    header = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == r"clip,frame,seconds,face,label,'=1+1,bad\xff"


def test_the_console_prints_no_control_character_of_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    name = "sa\x1b[31md\x07\x9b"
    table = Table(name)
    table.add_row(name)
    console.print_table(table)
    console.print_line(name)
    console.print_note(name)
    console.print_labelled("problem", [name])
    out, err = capsys.readouterr()
    assert out.count(r"sa\x1b[31md") == 3
    assert err.count(r"sa\x1b[31md") == 2
    assert not has_control(out.replace("\n", ""))
    assert not has_control(err.replace("\n", ""))


def test_names_are_no_markup_and_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    name = "labels.csv:100: csv:classes=[happy,sad]"
    table = new_table(name, f"added to {name}")
    table.add_column("")
    table.add_row(Text(name))
    console.print_table(table)
    console.print_line(name)
    console.print_labelled("problem", [name])
    out, err = capsys.readouterr()
    assert (out.count(name), err.count(name)) == (4, 1)
    assert as_text([table], [name]).count(name) == 4


def test_a_narrow_terminal_cuts_no_score(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.out, "_width", 20)
    table = Table("views", "score", box=None)
    table.columns[1].no_wrap = True
    table.add_row("face,eye,mouth", ".612 [.560, .664]")
    console.print_table(table)
    assert ".612 [.560, .664]" in capsys.readouterr().out
    assert console.out.width == 20


def test_a_chart_with_control_characters_in_a_class_name_is_drawn() -> None:
    names = ["sa\x1b[31md\x00", "\udcff", "fear"]
    tiles = [Tile(row, column, 0.5, f"{row}\n{column}") for row in names for column in names]
    svg = draw_figures([Figure("x", "x", "x", "x", heat_map(tiles, "truth", "prediction"))])[0]
    assert svg
    assert r"sa\x1b[31md\x00" in svg
    assert r"\xff" in svg
    assert not has_control(svg.replace("\n", ""))


@pytest.mark.slow
@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "| cat"])
def test_a_closed_or_ascii_output_is_no_error(redirection: str) -> None:
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m fusionkit list fusions {redirection}"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "0"}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("plain-concat" in done.stdout) == (redirection == "| cat")
