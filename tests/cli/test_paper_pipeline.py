"""The paper's way from faces without labels to predictions, by the commands of docs/paper.md at a smaller size."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
from command_line import output_of

DOCS = Path(__file__).parents[2] / "docs/paper.md"
FEWER = {
    "data": "--clips 32",
    "pretrain": "--set limit=100 --set recipe.epochs=2",
    "finetune": "--set recipe.epochs=2",
    "bench": "--seeds 1 --executor serial",
    "submit": "",
}


def documented() -> list[list[str]]:
    """The words of each command."""
    (block,) = (
        text
        for text in re.findall(r"```bash\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
        if "_tiny --out" in text
    )
    return [shlex.split(line)[1:] for line in block.replace("\\\n", " ").splitlines()]


@pytest.mark.slow
def test_every_step_takes_the_output_of_the_one_before(elsewhere: Path, no_page: None) -> None:
    commands = documented()
    assert [words[0] for words in commands] == ["data", "pretrain", "finetune", "finetune", "bench", "submit", "submit"]
    for words in commands:
        output_of(*words, *FEWER[words[0]].split())

    rows = list(csv.DictReader(Path("fused/results.csv").read_text(encoding="utf-8").splitlines()))
    wanted = ["linear", "concat", "mean", "updown-concat", "updown-mean"]
    assert [(row["fusion"], row["smoother"]) for row in rows] == [
        (fusion, smoother) for fusion in wanted for smoother in ("none", "window:width=5")
    ]
    assert all(0 <= float(row["macro_f1"]) <= 1 for row in rows)
    assert {row["backbone"] for row in rows} == {
        "face=timm:checkpoint=face/best/backbone.safetensors|default=timm:checkpoint=eye-mouth/best/backbone.safetensors"
    }
    (template,) = Path("faces/test_set_examples").iterdir()
    asked, given = (
        template.read_text(encoding="utf-8").splitlines(),
        Path("predictions.txt").read_text(encoding="utf-8").splitlines(),
    )
    assert given[0] == asked[0]
    assert [line.rpartition(",")[0] for line in given[1:]] == [line.rpartition(",")[0] for line in asked[1:]]
    assert {line.rpartition(",")[2] for line in given[1:]} <= set("01234567")
