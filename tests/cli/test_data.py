"""The data commands: what they print, the exit codes, and a benchmark on clips that they wrote."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import kept_frames
import numpy as np
import pytest
from command_line import call, output_of, refusal_of
from typer.testing import Result

from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit_synthetic.cast import Cast

TRAIN = "6th ABAW Annotations/EXPR_Recognition_Challenge/Train_Set"


def data(*words: str) -> Result:
    return call("data", *words)


pytestmark = pytest.mark.usefixtures("elsewhere", "no_page")


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "drawn"
    text = output_of("data", "synth", "--layout", "affwild2", "--out", out, "--clips", "48", "--frames", "8")
    assert "48 clips" in text
    return out


@pytest.fixture
def drawn(drawn_once: Path, elsewhere: Path) -> Path:
    shutil.copytree(drawn_once, "drawn")
    return Path("drawn")


@pytest.mark.slow
def test_synthetic_clips_pass_the_check_and_are_read_back(drawn: Path) -> None:
    options = {"train": 24, "val": 12, "test": 12, "clips": 1, "clip_length": 8, "missing": 0.017, "unlabelled": 0.08}
    faces = DATASETS.build(Spec("synthetic", options))
    table = faces.table()
    result = data("check", "affwild2:root=drawn,test=true", "--read")
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line.split() for line in result.output.splitlines() if line.strip()}
    assert lines["clips"] == ["clips", "24", "12", "12", "48"]
    assert lines["units"] == ["units", "21", "9", "9", "39"]
    crops = sum(image is not None for image in faces.images(np.arange(len(table))))
    assert len(list(drawn.rglob("*.jpg"))) == crops
    template = (
        (drawn / "test_set_examples/CVPR_6th_ABAW_Expr_test_set_example.txt").read_text(encoding="utf-8").splitlines()
    )
    assert len(template) == 1 + int((table.split == "test").sum())


@pytest.mark.slow
def test_the_same_seed_writes_the_same_bytes(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cast, "frame", kept_frames.drawn.__wrapped__)  # drawn again
    assert data("synth", "--out", "again", "--clips", "48", "--frames", "8").exit_code == 0
    files = sorted(path.relative_to(drawn) for path in drawn.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to("again") for path in Path("again").rglob("*") if path.is_file())
    assert all((drawn / name).read_bytes() == Path("again", name).read_bytes() for name in files)


def test_problems_are_listed_with_file_and_line_and_the_exit_code_is_1(drawn: Path) -> None:
    paths = sorted((drawn / TRAIN).iterdir())[:2]
    for path in paths:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        lines[2:5] = ["9", "happy", "8"]
        path.write_text("\n".join(lines), encoding="utf-8")
    result = data("check", "affwild2:root=drawn")
    assert result.exit_code == 1
    for path in paths:
        for line, value in ((3, "9"), (4, "happy"), (5, "8")):
            assert re.search(f"^problem: {path}:{line}: .*'{value}'", result.output, re.MULTILINE)
    assert "6 problem(s)" in result.output
    refused = call("bench", "--dataset", "affwild2:root=drawn", "--dry-run")
    assert refused.exit_code == 2
    assert "6 problem(s)" in refused.output
    assert "3 more" in refused.output


def test_reading_finds_the_image_that_cannot_be_decoded(drawn: Path) -> None:
    assert data("check", "affwild2:root=drawn").exit_code == 0
    name = "drawn/cropped_aligned/video003/00004.jpg"
    Path(name).write_bytes(b"\xff\xd8 no image")
    assert data("check", "affwild2:root=drawn").exit_code == 0
    result = data("check", "affwild2:root=drawn", "--read")
    assert result.exit_code == 1
    assert f"problem: {name}: " in result.output
    assert "1 problem(s)" in result.output


@pytest.mark.slow
def test_any_data_set_can_be_checked() -> None:
    result = data("check", "synthetic:train=4,val=3,test=3,clips=4,clip_length=8")
    assert result.exit_code == 0, result.output
    assert "Neutral" in result.output
    assert "?" in result.output  # only drawing them tells which frames have no image
    result = data("check", "synthetic:train=4,val=3,test=3,clips=4,clip_length=8", "--read")
    assert "?" not in result.output


def test_a_folder_with_an_empty_file_and_a_broken_one(drawn: Path) -> None:
    crops = sorted((drawn / "cropped_aligned/video003").glob("*.jpg"))[:6]
    for place, crop in enumerate(crops):
        folder = Path("faces", "ab"[place % 2])
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(crop, folder / f"{place}.jpg")
    Path("faces/a/0.jpg").write_bytes(b"")
    Path("faces/b/1.jpg").write_bytes(b"no image")
    empty, broken = "problem: faces/a/0.jpg: ", "problem: faces/b/1.jpg: "
    for words, lacking, found in (((), ["1", "16.7", "%"], False), (("--read",), ["2", "33.3", "%"], True)):
        result = data("check", "folder:root=faces", *words)
        assert result.exit_code == 1
        assert ["without", "image", *lacking] in [line.split() for line in result.output.splitlines()]
        assert empty in result.output
        assert (broken in result.output) == found


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (("check", "affwild2:root=nowhere"), ["nowhere", "not a folder"]),
        (("check", "affwild"), ["'affwild2'"]),
        (("check", "affwild2:root=.,frame=x"), ["'frame'", "'frames'"]),
        (("synth", "--out", "x", "--layout", "affwild"), ["'affwild'", "'affwild2'"]),
        (("synth", "--out", "x", "--clips", "12"), ["12", "32"]),
        (("synth", "--out", "."), ["error: . "]),
    ],
)
def test_a_wrong_request_is_one_line(words: tuple[str, ...], facts: list[str]) -> None:
    Path("something").touch()
    line = refusal_of("data", *words)
    assert all(fact in line for fact in facts)
    assert [path.name for path in Path().iterdir()] == ["something"]


def test_a_benchmark_runs_on_drawn_clips_with_a_window(drawn: Path) -> None:
    words = "--regions mouth --fusion plain-concat --smoother none,window:width=5 --recipe epochs=2 --seeds 1"
    output_of("bench", "--dataset", f"affwild2:root={drawn}", *words.split(), "--executor", "serial", "--out", "out")
    with Path("out/results.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["views"], row["smoother"]) for row in rows] == [
        ("face", "none"),
        ("face", "window:width=5"),
        ("face,mouth", "none"),
        ("face,mouth", "window:width=5"),
    ]
    table = DATASETS.build(Spec("affwild2", {"root": str(drawn)})).table()
    tested = (table.split == "val") & (table.label >= 0)
    for row in rows:
        assert 0 <= float(row["macro_f1"]) <= 1
        assert int(float(row["n_frames"])) == tested.sum()
        assert int(float(row["n_units"])) == len(set(table.unit[tested]))
        assert float(row["coverage"]) < 1
    assert rows[0]["macro_f1"] != rows[1]["macro_f1"]
