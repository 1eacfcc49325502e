"""The paper's way from faces without labels to predictions, as ``benchmarks/paper_pipeline.py`` goes it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from fusionkit.cli import app


def test_every_step_takes_what_the_one_before_has_left(
    load_benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = load_benchmark("paper_pipeline")
    few = "synthetic:train=4,val=3,test=3,clips=4,clip_length=8,seed=1"
    sizes = pipeline.Sizes(clips=32, frames=8, unlabelled=few, pretrain_epochs=2, finetune_epochs=2, seeds=1)
    for step, words in pipeline.commands(sizes).items():
        result = CliRunner().invoke(app, [*words, *(["--executor", "serial"] if words[0] == "bench" else [])])
        assert result.exit_code == 0, f"{step}: {result.output}"

    rows = list(csv.DictReader(Path("fused/results.csv").read_text().splitlines()))
    wanted = ["linear", *(name for name in pipeline.KEYS.split(","))]
    assert [(row["fusion"], row["smoother"]) for row in rows] == [
        (fusion, smoother) for fusion in wanted for smoother in ("none", "window:width=11")
    ]
    assert all(0 <= float(row["macro_f1"]) <= 1 for row in rows)
    assert {row["backbone"] for row in rows} == {
        "face=timm:checkpoint=face/best/backbone.safetensors|default=timm:checkpoint=eye-mouth/best/backbone.safetensors"
    }
    asked = Path(pipeline.TEMPLATE).read_text().splitlines()
    given = Path("predictions.txt").read_text().splitlines()
    assert given[0] == asked[0]
    assert [line.rpartition(",")[0] for line in given[1:]] == [line.rpartition(",")[0] for line in asked[1:]]
    assert {line.rpartition(",")[2] for line in given[1:]} <= set("01234567")
