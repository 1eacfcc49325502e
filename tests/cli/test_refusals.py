"""What is refused: one clear line a problem, exit code 2, nothing written."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fusionkit.cli import app

SMALL = ("--dataset", "synthetic:train=8,val=6,test=6,clips=4,clip_length=8")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(result: Result, *lines: str) -> None:
    """Each pattern matches a line of its own, and there is no traceback."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    told = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(told) == len(lines), result.output
    for pattern, line in zip(lines, told, strict=True):
        assert re.search(pattern, line), f"{pattern!r} is not in {line!r}"
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["--fusion", "conct"], [r"unknown fusion 'conct' \(did you mean 'concat'"]),
        (
            ["--dataset", "syntetic", "--backbone", "hogg"],
            [
                r"unknown dataset 'syntetic' \(did you mean 'synthetic'\?\)",
                r"unknown backbone 'hogg' \(did you mean 'hog'",
            ],
        ),
        (
            ["--fusion", "mlp:hiden=3", "--backbone", "hog:cel_size=4,orientation=2"],
            ["'cel_size'.*'cell_size'", "'orientation'.*'orientations'", "'hiden'.*'hidden'"],
        ),
        (["--fusion", "mlp:hidden=wide"], ["hidden = 'wide' is not int"]),
        (["--fusion", "concat:width=-3,mlp:hidden=0"], ["width=-3", "hidden=0"]),
        (["--fusion", "mlp,perceiver"], ["perceiver needs tokens, and backbone hog has none .*list backbones --long"]),
        (["--regions", "ear"], ["no region 'ear'; it has eye, brow, nose, mouth"]),
        (["--regions", "eye+"], [r"'eye\+' is not a view"]),
        (["--regions", "keep:"], ["'keep:' is not a view"]),
        (["--regions", "eye,eye"], ["names a view twice"]),
        (["--set", "region=eye"], ["unknown key 'region'.*did you mean 'regions'"]),
        (["--fusion", "os.system"], ["dotted path"]),
        (["--dataset", "folder:root=nowhere"], ["'nowhere' does not exist"]),
        (["--dataset", "folder"], ["option 'root' is missing"]),
        (["--split", "kfold:k=1"], ["k = 1 must be at least 2"]),
        (["--split", "random"], ["unknown split 'random'"]),
        (["--recipe", "lr=-1,epoch=3"], ["'epoch'.*'epochs'", "lr = -1 must be above 0"]),
        (["--recipe", "lr=1e-3", "--recipe", "lr=1e-4"], ["option 'lr' is given twice"]),
        (["--recipe", "lr=[]"], ["lr = .* names no value"]),
        (["--split", "official", "--split", "kfold:k=3"], [r"--split is given 2 times \(official, kfold:k=3\)"]),
        (["--main", "face", "--main", "none"], [r"--main is given 2 times \(face, none\); a run has one"]),
        (["--reference", "none", "--reference", "main"], ["--reference is given 2 times"]),
        (["--set", "recipe.lr"], ["'recipe.lr' is not key=value"]),
        (["--set", "recipe.lrr=1"], ["unknown option 'lrr' .did you mean 'lr'"]),
        (["--set", "recpie.lr=1"], ["unknown key 'recpie' .did you mean 'recipe'"]),
        (["--device", "cuda:63"], ["'cuda:63' is not there"]),
        (["--device", "gpu"], ["unknown device 'gpu'"]),
        (["--executor", "ray", "--ray-address", "127.0.0.1:9", *SMALL], ["127.0.0.1:9|fusionkit.ray"]),
        (["--plugin", "nowhere.py"], ["'nowhere.py' cannot be read"]),
        (["nowhere"], ["no config 'nowhere'; shipped: .*bench/quickstart"]),
        (["--main", "none", "--reference", "main"], ["no main view"]),
    ],
)
def test_a_wrong_request_names_every_problem_in_its_own_line(words: list[str], lines: list[str]) -> None:
    refused(run("bench", *words), *lines)


def test_a_config_with_a_python_tag_is_refused_and_not_executed(elsewhere: Path) -> None:
    Path("evil.yaml").write_text('datasets: [!!python/object/apply:os.system ["touch pwned"]]\n')
    refused(run("bench", "evil.yaml"), "evil.yaml: not plain data")
    assert not Path("pwned").exists()


def test_an_empty_data_set_is_refused(elsewhere: Path) -> None:
    Path("faces").mkdir()
    refused(run("bench", "--dataset", "folder:root=faces"), "'faces' is empty")


def test_a_single_class_is_refused(elsewhere: Path) -> None:
    for split in ("train", "val"):
        image(Path("faces", split, "happy", "1.png"))
    refused(run("bench", "--dataset", "folder:root=faces"), "one class only")


def test_a_class_without_training_frames_is_refused(elsewhere: Path) -> None:
    for index in range(10):
        image(Path("faces/train/happy", f"{index}.png"))
        image(Path("faces/train/sad", f"{index}.png"))
    image(Path("faces/val/angry/1.png"))
    refused(run("bench", "--dataset", "folder:root=faces"), "no training frame of class 'angry'")


def test_only_unlabelled_frames_are_refused(elsewhere: Path) -> None:
    Path("unlabelled.py").write_text(UNLABELLED)
    refused(run("bench", "--plugin", "unlabelled.py", "--dataset", "unlabelled"), "no frame is labelled")


UNLABELLED = """
from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.registry import DATASETS

@DATASETS.register_module(force=True)
class Unlabelled(FaceDataset):
    classes = ("happy", "sad")
    frames = FrameTable.of(["a", "b"], [1, 1], [-1, -1])
"""


def test_an_unwritable_folder_is_refused(elsewhere: Path) -> None:
    Path("taken").write_text("a file")
    refused(run("bench", "--limit", "200", "--out", "taken"), "taken.*cannot be written")
    assert Path("taken").read_text() == "a file"


def test_a_folder_of_another_protocol_is_refused_and_left_alone(elsewhere: Path) -> None:
    common = ("--regions", "mouth", "--fusion", "plain-concat", "--smoother", "none", "--seeds", "1", "--out", "out")
    words = (*SMALL, "--recipe", "epochs=1", "--executor", "serial")
    assert run("bench", *words, *common).exit_code == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    result = run("bench", "--dataset", f"{SMALL[1]},seed=1", *common)
    refused(result, "out holds results of other data or another split.*choose another --out")
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["list", "fusionz"], "unknown kind 'fusionz' .*'fusions'"),
        (["info", "conct"], "unknown component 'conct' .*'concat'"),
        (["preview", "--regions", "ear"], "no region 'ear'"),
        (["preview", "--out", "sheet.jpg"], "a contact sheet is a .png"),
    ],
)
def test_other_commands_refuse_in_one_line_too(words: list[str], line: str) -> None:
    refused(run(*words), line)
