"""Wrong requests: one line per problem, exit code 2, nothing written."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import call, output_of

SMALL = ("--dataset", "synthetic:train=8,val=6,test=6,clips=4,clip_length=8")


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


pytestmark = pytest.mark.usefixtures("elsewhere", "no_page")


def check_refusal(words: list[str], *patterns: str) -> None:
    """Run a command and check that each pattern matches an error line of its own, and that nothing is written."""
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == len(patterns), result.output
    for pattern, line in zip(patterns, lines, strict=True):
        assert re.search(pattern, line), f"{pattern!r} is not in {line!r}"
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "patterns"),
    [
        (["--fusion", "conct"], ["'conct'.*'concat'"]),
        (["--dataset", "syntetic", "--backbone", "hogg"], ["'syntetic'.*'synthetic'", "'hogg'.*'hog'"]),
        (
            ["--fusion", "mlp:hiden=3", "--backbone", "hog:cel_size=4,orientation=2"],
            ["'cel_size'.*'cell_size'", "'orientation'.*'orientations'", "'hiden'.*'hidden'"],
        ),
        (["--fusion", "mlp:hidden=wide"], ["hidden = 'wide'.*int"]),
        (["--fusion", "concat:width=-3,mlp:hidden=0"], ["width *= *-3", "hidden *= *0"]),
        (["--fusion", "mlp,perceiver"], ["perceiver.*tokens.*hog.*list backbones --long"]),
        (["--regions", "ear"], ["'ear'.*eye, brow, nose, mouth"]),
        (["--regions", "eye+"], [r"'eye\+'"]),
        (["--regions", "keep:"], ["'keep:'"]),
        (["--regions", "eye,eye"], ["eye.*twice"]),
        (["--set", "region=eye"], ["'region'.*'regions'"]),
        (["--fusion", "os.system"], ["os.system"]),
        (["--dataset", "folder:root=nowhere"], ["'nowhere'"]),
        (["--dataset", "folder"], ["'root'"]),
        (["--split", "kfold:k=1"], ["k = 1 .*2"]),
        (["--split", "random"], ["'random'"]),
        (["--recipe", "lr=-1,epoch=3"], ["lr = -1 .*0", "'epoch'.*'epochs'"]),
        (["--recipe", "lr=1e-3", "--recipe", "lr=1e-4"], ["'lr'.*twice"]),
        (["--recipe", "lr=[]"], ["lr = "]),
        (["--workers", "1025"], ["--workers.*1024"]),
        (["--fusion", "mlp:hidden=99999999999"], ["fusion mlp:hidden=99999999999 .*GiB"]),
        (["--split", "official", "--split", "kfold:k=3"], [r"--split .*2 .*official, kfold:k=3"]),
        (["--main", "face", "--main", "none"], ["--main .*2 .*face, none"]),
        (["--reference", "none", "--reference", "main"], ["--reference .*2 "]),
        (["--set", "recipe.lr"], ["'recipe.lr'.*key=value"]),
        (["--set", "recipe.lrr=1"], ["'lrr'.*'lr'"]),
        (["--set", "recpie.lr=1"], ["'recpie'.*'recipe'"]),
        (["--device", "cuda:63"], ["'cuda:63'"]),
        (["--device", "gpu"], ["'gpu'.*cuda:N"]),
        (["--executor", "ray", "--ray-address", "127.0.0.1:9", *SMALL], ["127.0.0.1:9|fusionkit.ray"]),
        (["--plugin", "nowhere.py"], ["'nowhere.py'"]),
        (["nowhere"], ["'nowhere'.*bench/quickstart"]),
        (["--main", "none", "--reference", "main"], ["reference.*main"]),
    ],
)
def test_a_wrong_request_names_every_problem_in_a_line_of_its_own(words: list[str], patterns: list[str]) -> None:
    check_refusal(["bench", *words], *patterns)


def test_a_config_with_a_python_tag_is_refused_and_not_executed() -> None:
    Path("evil.yaml").write_text('datasets: [!!python/object/apply:os.system ["touch pwned"]]\n', encoding="utf-8")
    check_refusal(["bench", "evil.yaml"], "evil.yaml")
    assert not Path("pwned").exists()


def test_an_empty_data_set_is_refused() -> None:
    Path("faces").mkdir()
    check_refusal(["bench", "--dataset", "folder:root=faces"], "'faces'")


def test_a_single_class_is_refused() -> None:
    for split in ("train", "val"):
        image(Path("faces", split, "happy", "1.png"))
    check_refusal(["bench", "--dataset", "folder:root=faces"], "one class")


def test_a_class_without_training_frames_is_refused() -> None:
    for index in range(10):
        image(Path("faces/train/happy", f"{index}.png"))
        image(Path("faces/train/sad", f"{index}.png"))
    image(Path("faces/val/angry/1.png"))
    check_refusal(["bench", "--dataset", "folder:root=faces"], "'angry'")


def test_only_unlabelled_frames_are_refused() -> None:
    Path("unlabelled.py").write_text(UNLABELLED, encoding="utf-8")
    check_refusal(["bench", "--plugin", "unlabelled.py", "--dataset", "unlabelled"], "unlabelled.*frame")


UNLABELLED = """
from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.registry import DATASETS

@DATASETS.register_module(force=True)
class Unlabelled(FaceDataset):
    classes = ("happy", "sad")
    frames = FrameTable.of(["a", "b"], [1, 1], [-1, -1])
"""


def test_an_unwritable_folder_is_refused() -> None:
    Path("taken").write_text("a file", encoding="utf-8")
    check_refusal(["bench", "--limit", "200", "--out", "taken"], "taken")
    assert Path("taken").read_text(encoding="utf-8") == "a file"


@pytest.mark.slow
def test_a_folder_of_another_protocol_is_refused_and_left_alone() -> None:
    common = ("--regions", "mouth", "--fusion", "plain-concat", "--smoother", "none", "--seeds", "1", "--out", "out")
    words = (*SMALL, "--recipe", "epochs=1", "--executor", "serial")
    output_of("bench", *words, *common)
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    check_refusal(["bench", "--dataset", f"{SMALL[1]},seed=1", *common], "out .*--out")
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (["list", "fusionz"], "'fusionz' .*'fusions'"),
        (["info", "conct"], "'conct' .*'concat'"),
        (["preview", "--regions", "ear"], "'ear'"),
        (["preview", "--out", "sheet.jpg"], "sheet.jpg.*png"),
        (["robust", "nowhere"], "nowhere"),
    ],
)
def test_other_commands_refuse_in_one_line_too(words: list[str], pattern: str) -> None:
    check_refusal(words, pattern)
