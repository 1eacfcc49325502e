"""Two processes train the same as one. A launch is slow, so one serves both stages."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import tiny_encoder, tiny_run, tiny_tuning, write_pictures
from toy_components import toy_house

from fusionkit.report.run import Results
from fusionkit.training.finetune import finetune
from fusionkit.training.pretrain import pretrain

__all__ = ["toy_house"]
pytestmark = pytest.mark.slow

PRETRAINING: dict[str, Any] = {"recipe": {"epochs": 1, "warmup_epochs": 0}}
TUNING: dict[str, Any] = {
    "recipe": {"epochs": 2},
    "view": "top",
    "auxiliary": "bottom",
    "fusion": {"position": ["alone", "block:1"]},
}
SCRIPT = """
import json
import sys
from pathlib import Path
tests, folder, pretraining, tuning = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
sys.path.insert(0, tests)
from toy_components import toys
from tiny_training import tiny_run, tiny_tuning
from fusionkit.training.finetune import finetune
from fusionkit.training.pretrain import pretrain
pretrain(tiny_run(folder / "faces", run={"accumulation": 2}, **pretraining), folder / "pretrained")
with toys():
    finetune(tiny_tuning(folder / "encoder-2-0.safetensors", **tuning), folder / "tuned")
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with faces, an encoder, and the runs of two processes on them."""
    folder = tmp_path_factory.mktemp("two")
    write_pictures(folder / "faces", 33)
    tiny_encoder(folder)
    script = folder / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    words = [str(Path(__file__).parents[1]), str(folder), json.dumps(PRETRAINING), json.dumps(TUNING)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FUSIONKIT_CACHE": str(folder / "cache")}
    with subprocess.Popen(
        [*launch, str(script), *words], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        try:
            _, errors = running.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)  # the workers of the launcher would outlive it
            raise
    assert running.returncode == 0, errors[-3000:]
    return folder


def losses(file: Path) -> list[float]:
    with file.open(encoding="utf-8") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def test_pre_training_by_two_equals_that_by_one(two: Path, tmp_path: Path) -> None:
    one = pretrain(tiny_run(two / "faces", **PRETRAINING), tmp_path / "one")
    assert losses(two / "pretrained/losses.csv") == pytest.approx(one.losses, rel=1e-4)
    noted = json.loads((two / "pretrained/config.json").read_text(encoding="utf-8"))
    assert noted["starts"][0]["processes"] == 2
    ours, theirs = load_file(one.encoder), load_file(two / "pretrained/encoder.safetensors")
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-2, atol=1e-4)


@pytest.mark.usefixtures("toy_house")
def test_fine_tuning_by_two_equals_that_by_one(two: Path, tmp_path: Path) -> None:
    finetune(tiny_tuning(two / "encoder-2-0.safetensors", **TUNING), tmp_path / "one")
    for run in ("alone-seed0", "block1-average-seed0"):
        one, both = (losses(folder / "runs" / run / "epochs.csv") for folder in (tmp_path / "one", two / "tuned"))
        assert both == pytest.approx(one, rel=1e-4)
    one_row, two_row = (Results(folder).rows[1] for folder in (tmp_path / "one", two / "tuned"))
    assert one_row.id == two_row.id
    assert one_row.means["n_complete"] == two_row.means["n_complete"]
