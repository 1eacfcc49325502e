"""``fusionkit pretrain`` as it is typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import call, output_of
from tiny_training import write_pictures

CONFIG = """
encoder = {"model": "vit_tiny_patch16_224", "size": 16, "patch": 4, "width": 16, "depth": 1, "heads": 2}
decoder = {"width": 8, "depth": 1, "heads": 2}
recipe = {"epochs": 2, "warmup_epochs": 0, "batch_size": 8}
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_page: None) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(CONFIG, encoding="utf-8")
    write_pictures(tmp_path / "faces", 17)


@pytest.mark.slow
def test_a_run_is_summarised_and_the_encoder_serves_a_benchmark() -> None:
    (Path("faces") / "003.png").write_bytes(b"broken")
    text = output_of("pretrain", "small.py", "--data", "faces", "--set", "recipe.epochs=3")
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"pretrain-small-[0-9a-f]{8}", folder.name)
    lines = text.splitlines()
    assert any(re.match(r"6 steps on 17 images in [\d.]+ s; loss [\d.]+ -> [\d.]+; ", line) for line in lines)
    assert f"use it: --backbone timm:checkpoint={folder}/encoder.safetensors" in lines
    assert "without an image: 1: faces/003.png" in lines
    assert "Traceback" not in text

    again = output_of("pretrain", "small.py", "--data", "faces", "--set", "recipe.epochs=3")
    assert "nothing left to train; loss" in again

    bench = ["bench", "--dataset", "synthetic:train=8,val=6,test=6,clips=4,clip_length=8", "--recipe", "epochs=1"]
    bench += ["--backbone", f"timm:checkpoint={folder}/encoder.safetensors", "--regions", "mouth", "--seeds", "1"]
    bench += ["--fusion", "plain-concat", "--smoother", "none", "--executor", "serial"]
    output_of(*bench)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["small.py"], "data: "),
        (["small.py", "--data", "fces"], "data: .*'fces'"),
        (["small.py", "--data", "faces", "--set", "recipe.epoch=3"], "'epoch'.*'epochs'"),
        (["small.py", "--data", "faces", "--set", "recipe.batch_size=99"], "17 .*batch"),
        (["small.py", "--data", "faces", "--device", "gpu"], "device 'gpu'"),
        (["small.py", "--data", "faces", "--out", "faces"], "faces "),
        (["tiny"], "'tiny'.*pretrain/tiny"),
    ],
)
def test_a_wrong_request_is_one_line(words: list[str], line: str) -> None:
    result = call("pretrain", *words)
    assert result.exit_code == 2, result.output
    assert re.search(f"^error: .*{line}", result.output, re.MULTILINE), result.output
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


def test_a_loss_that_is_not_finite_is_a_failure_and_not_a_wrong_request() -> None:
    result = call("pretrain", "small.py", "--data", "faces", "--set", "recipe.base_lr=1e30", "--set", "recipe.epochs=9")
    assert result.exit_code == 1, result.output
    assert re.search(r"^error: .*loss is (nan|inf).* step \d+", result.output, re.MULTILINE)
