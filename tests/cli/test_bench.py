"""The main command from end to end: what it prints, writes, reuses and survives."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import call
from typer.testing import Result

from fusionkit.engine.features import FeaturesInStore

SMALL = ("--dataset", "synthetic:train=8,val=6,test=6,clips=4,clip_length=8", "--recipe", "epochs=2")
QUICK = (*SMALL, "--seeds", "2", "--smoother", "none", "--executor", "serial", "--out", "out")


def bench(*words: str, page: bool = False) -> Result:
    """Run a grid, by default without its report, which takes most of the time of a small grid."""
    with pytest.MonkeyPatch.context() as patch:
        if not page:
            patch.setattr("fusionkit.report.page.write.write_report", lambda *_, **__: None)
        return call("bench", *words)


def rows(name: str = "results.csv") -> list[dict[str, str]]:
    with Path("out", name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


pytestmark = pytest.mark.usefixtures("elsewhere")


def test_a_grid_holds_the_reference_and_every_region_set_with_every_fusion() -> None:
    result = bench(*QUICK, "--regions", "eye", "--regions", "mouth,nose", "--fusion", "plain-concat,mlp:hidden=8")
    assert result.exit_code == 0, result.output
    assert [(row["views"], row["fusion"]) for row in rows()] == [
        ("face", "linear"),
        ("face,eye", "plain-concat"),
        ("face,eye", "mlp:hidden=8"),
        ("face,mouth,nose", "plain-concat"),
        ("face,mouth,nose", "mlp:hidden=8"),
    ]
    assert [bool(row["delta"]) for row in rows()] == [False, True, True, True, True]
    for fact in ("10 heads trained", "10 cells scored", "0 cells reused", "0 heads reused", "0 frames reused"):
        assert f" {fact}" in result.output


@pytest.mark.slow
def test_the_same_command_again_does_nothing_and_changes_no_byte() -> None:
    words = (*QUICK, "--regions", "eye", "--fusion", "plain-concat")
    bench(*words)
    before = {path: path.read_bytes() for path in Path("out").rglob("*.csv")}
    again = bench(*words, page=True).output
    (line,) = [line for line in again.splitlines() if "results in out" in line]
    assert line.startswith("0 frames embedded, 0 heads trained, 0 cells scored, 4 cells reused, 4 heads reused, ")
    assert re.search(r" \d{3,} frames reused", line)
    assert line.endswith("report.html, results.csv")
    assert {path: path.read_bytes() for path in Path("out").rglob("*.csv")} == before


@pytest.mark.slow
def test_processes_give_the_same_bytes_as_one_process() -> None:
    words = (*SMALL, "--seeds", "2", "--smoother", "none", "--regions", "eye", "--fusion", "concat:width=16")
    assert bench(*words, "--executor", "serial", "--out", "serial").exit_code == 0
    assert bench(*words, "--executor", "processes", "--workers", "2", "--out", "pool").exit_code == 0
    for name in ("results.csv", "cells.csv"):
        assert Path("serial", name).read_bytes() == Path("pool", name).read_bytes()
    heads = sorted(path.name for path in Path("serial/heads").iterdir())
    assert heads == sorted(path.name for path in Path("pool/heads").iterdir())
    for head in heads:
        for name in ("dev_logits.npy", "test_logits.npy", "head.safetensors"):
            assert Path("serial/heads", head, name).read_bytes() == Path("pool/heads", head, name).read_bytes()


@pytest.mark.slow
def test_features_beyond_the_given_memory_are_streamed_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    streamed: list[int] = []
    batches = FeaturesInStore.batches
    monkeypatch.setattr(FeaturesInStore, "batches", lambda self, given: streamed.append(1) or batches(self, given))
    words = (*SMALL, "--seeds", "1", "--smoother", "none", "--regions", "eye", "--fusion", "mlp")
    assert bench(*words, "--executor", "serial", "--out", "held").exit_code == 0
    assert not streamed
    assert bench(*words, "--executor", "serial", "--out", "streamed", "--memory", "0.00001").exit_code == 0
    assert streamed
    files = [path.relative_to("held") for path in Path("held").glob("heads/*/*.[ns][pa]*")]
    assert len(files) == 2 * 4  # two heads, with their logits, weights, and which frames were whole
    for file in (*files, Path("results.csv"), Path("cells.csv")):
        assert Path("held", file).read_bytes() == Path("streamed", file).read_bytes()


def test_a_dry_run_lists_the_planned_work_and_writes_nothing() -> None:
    result = bench(*QUICK, "--regions", "eye", "--fusion", "plain-concat", "--dry-run")
    assert result.exit_code == 0, result.output
    assert re.search("^fit face,eye/plain-concat, seeds 0, 1: .*new", result.output, re.MULTILINE)
    assert "4 of 4 heads" in result.output
    assert not Path("out").exists()


def test_a_dry_run_of_a_wrong_request_is_refused() -> None:
    words = (*QUICK, "--regions", "eye", "--fusion", "plain-concat")
    bench(*words)
    result = bench(*words, "--split", "holdout", "--dry-run")
    assert result.exit_code == 2
    assert re.fullmatch("error: out holds results of other data .*holdout.*\n", result.output)


PLUGIN = """
import torch
from fusionkit.contracts import StackedFusion
from fusionkit.registry import FUSIONS

@FUSIONS.register_module(force=True)
class {name}(StackedFusion):
    def combine(self, views, present):
        return {body}
"""


@pytest.mark.slow
def test_a_fusion_in_one_short_file_works() -> None:
    text = PLUGIN.format(name="Mine", body="views.amax(1)")
    assert len(text.splitlines()) < 25
    Path("my.py").write_text(text, encoding="utf-8")
    result = bench(*QUICK, "--regions", "eye", "--plugin", "my.py", "--fusion", "mine,plain-max")
    assert result.exit_code == 0, result.output
    mine, known = rows()[1:]
    assert mine["fusion"] == "mine"
    assert mine["macro_f1"] == known["macro_f1"], "the maximum of all present views is what plain-max takes"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("Flat", "views.sum()", "fusion Flat on views face.*eye.* gave an embedding of shape"),
        ("Absent", "views.mean(1) * float('nan')", "fusion absent: the loss is nan in epoch 1 on views face .*eye"),
        ("Raising", "views @ views", "fusion Raising on views face.*eye.* failed: RuntimeError"),
    ],
)
def test_a_fusion_that_misbehaves_fails_alone_and_is_named(name: str, body: str, message: str) -> None:
    Path("bad.py").write_text(PLUGIN.format(name=name, body=body), encoding="utf-8")
    result = bench(*QUICK, "--regions", "eye", "--plugin", "bad.py", "--fusion", f"{name.lower()},plain-mean")
    assert result.exit_code == 1, result.output
    reference, bad, good = rows()
    assert reference["macro_f1"]
    assert good["macro_f1"]
    assert not bad["macro_f1"]
    states = {(row["fusion"], row["state"]) for row in rows("cells.csv")}
    assert states == {("linear", "done"), (name.lower(), "failed"), ("plain-mean", "done")}
    error = next(row["error"] for row in rows("cells.csv") if row["state"] == "failed")
    assert re.search(message, error)
    assert list(Path("out/failures").glob("*.txt"))


@pytest.mark.slow
def test_broken_images_are_counted_and_named_and_never_fatal() -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 8)):
        for label, level in (("happy", 60), ("sad", 180)):
            folder = Path("faces", split, label)
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = draw.integers(level - 40, level + 40, (48, 48, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f"{index:02d}.jpg"), pixels)
    whole = Path("faces/train/happy/00.jpg").read_bytes()
    Path("faces/train/happy/00.jpg").write_bytes(whole[: len(whole) // 2])
    Path("faces/val/sad/01.jpg").write_text("this is no picture", encoding="utf-8")
    cv2.imwrite("faces/train/sad/tiny.png", np.zeros((1, 1, 3), np.uint8))
    cv2.imwrite("faces/train/sad/large.png", np.zeros((4000, 6000), np.uint8))
    result = bench(
        *("--dataset", "folder:root=faces", "--recipe", "epochs=1", "--seeds", "1", "--smoother", "none"),
        *("--regions", "eye", "--fusion", "plain-concat", "--executor", "serial", "--out", "out"),
    )
    assert result.exit_code == 0, result.output
    assert re.search("folder:root=faces: 2 of 66 frames.*happy/00.jpg, .*sad/01.jpg", result.output)
    assert rows()[0]["n_frames"] == "16", "a frame without an image is scored like any other"
    assert rows()[0]["coverage"] == "0.9375"


@pytest.mark.slow
def test_a_fusion_in_an_installed_package_is_found_by_its_entry_point() -> None:
    module = (
        "from fusionkit.contracts import StackedFusion\n\n\n"
        "class Summed(StackedFusion):\n    def combine(self, views, present):\n        return views.sum(1)\n"
    )
    metadata = {  # what pip leaves of a package
        "METADATA": "Metadata-Version: 2.1\nName: my-fusions\nVersion: 1.2\n",
        "entry_points.txt": "[fusionkit.fusions]\nsummed = my_fusions:Summed\n",
    }
    Path("site/my_fusions-1.2.dist-info").mkdir(parents=True)
    Path("site/my_fusions.py").write_text(module, encoding="utf-8")
    for name, text in metadata.items():
        Path("site/my_fusions-1.2.dist-info", name).write_text(text, encoding="utf-8")
    paths = os.pathsep.join(["site", *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "200"}

    def fusionkit(*words: str) -> str:
        command = [sys.executable, "-m", "fusionkit", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    assert re.search("summed +my-fusions 1.2", fusionkit("list", "fusions"))
    fusionkit("bench", *QUICK, "--regions", "eye", "--fusion", "summed")
    assert rows()[1]["fusion"] == "summed"
    assert rows()[1]["macro_f1"]
