"""``fusionkit finetune`` as it is typed."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import call, output_of, refusal_of
from tiny_training import tiny_encoder

CONFIG = """
dataset = "synthetic:train=8,val=6,test=6,clips=4,clip_length=8"
recipe = {"epochs": 2, "batch_size": 32, "warmup_epochs": 0, "lr": 1e-3}
run = {"curves": 0}
"""
BENCH = ["--dataset", "synthetic:train=8,val=6,test=6,clips=4,clip_length=8", "--recipe", "epochs=1", "--seeds", "1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_page: None) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(CONFIG, encoding="utf-8")
    tiny_encoder(tmp_path).rename("encoder.safetensors")


@pytest.mark.slow
def test_a_view_is_learned_and_its_backbone_serves_a_benchmark_in_the_same_folder() -> None:
    words = ["small.py", "--view", "eye+mouth", "--init", "encoder.safetensors", "--set", "recipe.select=accuracy"]
    text = output_of("finetune", *words)
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"finetune-small-[0-9a-f]{8}", folder.name)
    assert re.search(r"^epoch 2/2: loss [\d.]+, dev macro-F1 [\d.]+, accuracy [\d.]+ \(best", text, re.MULTILINE)
    assert "by accuracy)" in text
    best = f"{folder}/best/backbone.safetensors"
    assert f"use it: --backbone timm:checkpoint={best}" in text.splitlines()
    assert (folder / "results.csv").read_text(encoding="utf-8").splitlines()[1].startswith('"synthetic:clip_length=8')

    assert "nothing left to train" in output_of("finetune", *words)

    bench = [*BENCH, "--backbone", f"timm:checkpoint={best}", "--main", "none", "--regions", "eye+mouth"]
    bench += ["--fusion", "linear", "--smoother", "none", "--executor", "serial", "--out", str(folder)]
    assert "has learned" not in output_of("bench", *bench)
    output_of("compare", folder, "finetuned", "linear")

    for number in (1, 2):
        cv2.imwrite(f"{number}.png", np.full((112, 112, 3), 60 * number, np.uint8))
    photos = ["1.png", "2.png", "--no-video"]
    assert "fusionkit finetune" in refusal_of("predict", folder, "--cell", "finetuned", *photos)
    output_of("predict", folder, "--cell", "linear", *photos)
    assert Path("predictions/predictions.csv").read_text(encoding="utf-8").count("\n") == 3


@pytest.mark.slow
def test_positions_are_compared_with_the_main_view_alone() -> None:
    words = ["small.py", "--auxiliary", "mouth", "--init", "encoder.safetensors", "--out", "joint"]
    words += ["--set", "fusion.position=alone,block:1", "--set", "fusion.combine=concat", "--set", "recipe.epochs=1"]
    assert "joint:combine=concat,position=block:1" in output_of("finetune", *words)
    output_of("compare", "joint", "joint:combine=concat,position=block:1", "finetuned")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["small.py"], "backbone: "),
        (["small.py", "--init", "none.pth"], "init: none.pth"),
        (["small.py", "--init", "encoder.safetensors", "--view", "eyes"], "'eyes'"),
        (["small.py", "--init", "encoder.safetensors", "--dataset", "nope"], "unknown dataset 'nope'"),
        (["small.py", "--init", "encoder.safetensors", "--set", "recipe.epoch=3"], "'epoch'.*'epochs'"),
        (["small.py", "--init", "encoder.safetensors", "--set", "recipe.batch_size=9999"], "9999|batch"),
        (["small.py", "--init", "encoder.safetensors", "--set", "backbone.type=hog"], "init: backbone 'hog'"),
        (["tiny"], "'tiny'.*finetune/tiny"),
    ],
)
def test_a_wrong_request_is_one_line(words: list[str], line: str) -> None:
    result = call("finetune", *words)
    assert result.exit_code == 2, result.output
    assert re.search(f"^error: .*{line}", result.output, re.MULTILINE), result.output
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


def test_a_backbone_that_has_nothing_to_train_is_refused() -> None:
    assert "Hog" in refusal_of("finetune", "small.py", "--set", "backbone=hog")
