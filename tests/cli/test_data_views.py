"""``data views`` and ``data composites`` from the command line, and benchmarks on what they are about."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fusionkit.cli import app
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec

SMALL = "synthetic:train=6,val=4,test=4,clips=4,clip_length=8"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_views_are_written_and_the_line_that_reads_them_can_be_pasted() -> None:
    result = run(
        "data", "views", SMALL, "--view", "eye+mouth", "--out", "cuts", "--split", "train,test", "--size", "32"
    )
    assert result.exit_code == 0, result.output
    assert "no layout of its own" in result.output
    told = re.search(r"^read it as  (.*)$", result.output, re.MULTILINE)
    assert told is not None
    (spec,) = shlex.split(told.group(1))
    assert run("data", "check", spec).exit_code in (0, 1)  # 1: empty files are told of
    faces, cuts = DATASETS.build(SMALL), DATASETS.build(spec)
    assert set(cuts.table().split.tolist()) == {"train", "test"}
    assert len(cuts.table()) == int((faces.table().split != "val").sum())
    again = run("data", "views", SMALL, "--view", "eye", "--out", "cuts")
    assert again.exit_code == 2
    assert "cuts is there already" in again.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("views synthetic --view chin --out x", "has no region 'chin'"),
        ("views synthetic --view Eye --out x", "'Eye' is not a view"),
        ("views synthetic --view eye --out x --split val", "--split lacks train"),
        ("composites synthetic", "makes no frames up"),
        ("composites swapped:source=syntetic,classes=Fear", "did you mean 'synthetic'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(words: str, said: str) -> None:
    result = run("data", *words.split())
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.count("\n") == 1
    assert not [path for path in Path().iterdir() if path.name != "cache"]


def test_a_picture_of_swaps() -> None:
    result = run(
        "data", "composites", f'swapped:source="{SMALL}",classes=Neutral', "--out", "swaps.png", "--count", "3"
    )
    assert result.exit_code == 0, result.output
    assert "swaps.png, which shows 3 composites" in result.output
    assert Path("swaps.png").stat().st_size > 1000


def test_a_benchmark_with_and_without_swaps_is_tested_on_the_same_frames_and_can_be_compared() -> None:
    specs = [f'swapped:source="{SMALL}",classes="Neutral,Anger",copies={copies}' for copies in (0, 1)]
    words = "--main none --regions mouth --fusion linear --smoother none --reference none --seeds 2 --recipe epochs=2"
    data = [word for spec in specs for word in ("--dataset", spec)]
    result = run("bench", *data, *words.split(), "--executor", "serial", "--out", "out")
    assert result.exit_code == 0, result.output
    with Path("out/results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["dataset"] for row in rows] == [str(Spec.parse(spec)) for spec in specs]
    assert rows[0]["n_frames"] == rows[1]["n_frames"]
    table = DATASETS.build(SMALL).table()
    assert int(float(rows[0]["n_frames"])) == int(((table.split == "test") & (table.label >= 0)).sum())
    with Path("out/cells.csv").open() as stream:
        cells = [row["cell"] for row in csv.DictReader(stream) if row["seed"] == "0"]
    compared = run("compare", "out", *cells)
    assert compared.exit_code == 0, compared.output


def test_the_shipped_config_of_swaps_is_sound() -> None:
    result = run("bench", "paper/swap", "--dry-run", "--set", "seeds=1")
    assert result.exit_code == 0, result.output
    assert "copies=2" in result.output
