"""``data views`` and ``data composites`` from the command line, and benchmarks on what they are about."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import pytest
from command_line import call, output_of, refusal_of

from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec

SMALL = "synthetic:train=6,val=4,test=4,clips=4,clip_length=8"


pytestmark = pytest.mark.usefixtures("elsewhere", "no_page")


@pytest.mark.slow
def test_views_are_written_and_the_line_that_reads_them_can_be_pasted() -> None:
    words = "--view", "eye+mouth", "--out", "cuts", "--split", "train,test", "--size", "32"
    text = output_of("data", "views", SMALL, *words)
    assert "one folder per class" in text
    (line,) = [line for line in text.splitlines() if line.startswith("read it as")]
    (spec,) = shlex.split(line.removeprefix("read it as"))
    assert call("data", "check", spec).exit_code in (0, 1)  # 1: empty files are reported
    faces, cuts = DATASETS.build(SMALL), DATASETS.build(spec)
    assert set(cuts.table().split.tolist()) == {"train", "test"}
    assert len(cuts.table()) == int((faces.table().split != "val").sum())
    assert "cuts" in refusal_of("data", "views", SMALL, "--view", "eye", "--out", "cuts")


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ("views synthetic --view chin --out x", "'chin'"),
        ("views synthetic --view Eye --out x", "'Eye'"),
        ("views synthetic --view eye --out x --split val", "train"),
        ("composites synthetic", "synthetic"),
        ("composites swapped:source=syntetic,classes=Fear", "'synthetic'"),
    ],
)
def test_a_wrong_request_is_one_line(words: str, fact: str) -> None:
    assert fact in refusal_of("data", *words.split())
    assert not [path for path in Path().iterdir() if path.name != "cache"]


def test_a_picture_of_swaps() -> None:
    spec = f'swapped:source="{SMALL}",classes=Neutral'
    text = output_of("data", "composites", spec, "--out", "swaps.png", "--count", "3")
    assert "swaps.png" in text
    assert "3 composites" in text
    assert Path("swaps.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_benchmark_with_and_without_swaps_is_tested_on_the_same_frames_and_can_be_compared() -> None:
    specs = [f'swapped:source="{SMALL}",classes="Neutral,Anger",copies={copies}' for copies in (0, 1)]
    words = "--main none --regions mouth --fusion linear --smoother none --reference none --seeds 2 --recipe epochs=2"
    data = [word for spec in specs for word in ("--dataset", spec)]
    output_of("bench", *data, *words.split(), "--executor", "serial", "--out", "out")
    with Path("out/results.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["dataset"] for row in rows] == [str(Spec.parse(spec)) for spec in specs]
    assert rows[0]["n_frames"] == rows[1]["n_frames"]
    table = DATASETS.build(SMALL).table()
    assert int(float(rows[0]["n_frames"])) == int(((table.split == "test") & (table.label >= 0)).sum())
    with Path("out/cells.csv").open(encoding="utf-8") as stream:
        cells = [row["cell"] for row in csv.DictReader(stream) if row["seed"] == "0"]
    output_of("compare", "out", *cells)


def test_the_shipped_config_of_swaps_is_sound() -> None:
    assert "copies=2" in output_of("bench", "paper/swap", "--dry-run", "--set", "seeds=1")
