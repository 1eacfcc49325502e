"""A run after a change of code beside a plugin file gives the numbers of the new code, in worker processes too."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from toy_tasks import macro_f1

from fusionkit import api

PLUGIN = """
from fusionkit.contracts import StackedFusion
from fusionkit.registry import FUSIONS
from gain import scaled

@FUSIONS.register_module("helped-sum")
class HelpedSum(StackedFusion):
    def combine(self, views, present):
        from late import POWER  # found in a worker, long after the file was loaded
        return scaled(views.sum(1)) ** POWER
"""


def written(folder: Path, gain: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "plugin.py").write_text(PLUGIN, encoding="utf-8")
    (folder / "gain.py").write_text(
        "from constants import GAIN\n\ndef scaled(x):\n    return x * GAIN\n", encoding="utf-8"
    )
    (folder / "constants.py").write_text(f"GAIN = {gain}\n", encoding="utf-8")
    (folder / "late.py").write_text("POWER = 1\n", encoding="utf-8")
    return str(folder / "plugin.py")


def data(folder: Path) -> dict[str, str]:
    """Two views in which three classes are easy to tell apart: 240 clips of one frame, the last third for test."""
    label = np.arange(240) % 3
    random = np.random.default_rng(0)
    views = {name: (np.eye(4)[label] + random.normal(0, 0.1, (240, 4))).astype(np.float32) for name in ("a", "b")}
    split = np.repeat(["train", "val", "test"], 80)
    spec: dict[str, str] = api.from_arrays(folder / "data.npz", views, label, classes=["x", "y", "z"], split=split)
    return spec


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_changed_helper_gives_the_score_of_the_new_code(
    tmp_path: Path, executor: Literal["serial", "processes"]
) -> None:
    def score(plugin: str, out: str) -> float:
        results = api.bench(
            datasets=[data(tmp_path)],
            plugins=[plugin],
            main="a",
            regions=["b"],
            fusions=["helped-sum"],
            smoothers=["none"],
            seeds=1,
            reference="none",
            recipe={"lr": 0.1},
            out=tmp_path / out,
            executor=executor,
            workers=1,
        )
        (row,) = results.rows
        assert row.score is not None
        return row.score.value

    assert score(written(tmp_path / "code", "1.0"), "run") > 0.9
    # Views times 0 leave the bias: every frame gets one class.
    constant = macro_f1(np.array([[27, 0, 0], [26, 0, 0], [27, 0, 0]]))
    changed = score(written(tmp_path / "code", "0.0"), "run")
    assert changed < constant + 0.01
    assert changed == score(written(tmp_path / "code", "0.0"), "fresh")
    assert score(written(tmp_path / "code", "1.0"), "run") > 0.9
