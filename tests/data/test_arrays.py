"""Arrays in memory as a data set: face and sound are fused without an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusionkit
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec


def made(people: int = 24, frames: int = 20) -> dict[str, Any]:
    """Face encodes the first bit of the class, sound the second; one person after another."""
    rng = np.random.default_rng(0)
    rows = people * frames
    label = rng.integers(0, 4, rows)
    bits = np.stack([label // 2, label % 2], 1)
    person = np.repeat(np.arange(people), frames)
    return {
        "views": {
            "face": rng.normal(size=(rows, 6)) + 4 * bits[:, :1],
            "sound": rng.normal(size=(rows, 3)) + 4 * bits[:, 1:],
        },
        "label": np.array(["calm", "glad", "mad", "sad"])[label],
        "subject": [f"p{number}" for number in person],
        "split": np.where(person < 12, "train", np.where(person < 18, "val", "test")),
    }


def test_a_grid_runs_on_arrays_and_needs_both_modalities(tmp_path: Path) -> None:
    spec = fusionkit.from_arrays(tmp_path / "features.npz", **made())
    results = fusionkit.bench(
        datasets=[spec],
        main="face",
        regions=["sound"],
        fusions=["plain-concat"],
        smoothers=["none"],
        recipe={"lr": 0.05, "epochs": 60},
        seeds=1,
        out=tmp_path / "run",
    )
    scores = {row.axes.views: row.score.value for row in results.rows if row.score}
    assert scores["face"] < 0.6  # one bit of two
    assert scores["face,sound"] > 0.9


def test_the_data_set_holds_the_arrays(tmp_path: Path) -> None:
    given = made()
    spec = fusionkit.from_arrays(tmp_path / "features.npz", **given)
    data = DATASETS.build(Spec(spec["type"], {"path": spec["path"]}))
    rows = np.array([int(data.where(row).rpartition(" ")[2]) for row in range(len(data.table()))])
    for view, values in given["views"].items():
        np.testing.assert_array_equal(data.ready(view, np.arange(len(rows))), values[rows].astype(np.float32))
    assert [data.classes[code] for code in data.table().label] == given["label"][rows].tolist()


def test_ready_made_views_have_no_tokens(tmp_path: Path) -> None:
    spec = fusionkit.from_arrays(tmp_path / "features.npz", **made())
    with pytest.raises(ConfigError) as refused:
        fusionkit.bench(datasets=[spec], main="face", regions=["sound"], fusions=["perceiver"], out=tmp_path / "run")
    assert [problem.partition(" (")[0] for problem in refused.value.problems] == [
        "fusions: perceiver needs tokens, and the ready-made view face has none",
        "fusions: perceiver needs tokens, and the ready-made view sound has none",
    ]
    assert not (tmp_path / "run").exists()


def test_arrays_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    given = made()
    with pytest.raises(DataError, match="arrays differ in length"):
        fusionkit.from_arrays(tmp_path / "f.npz", **{**given, "split": ["train"]})
    with pytest.raises(DataError, match="a view cannot be called 'clip'"):
        fusionkit.from_arrays(tmp_path / "f.npz", {"clip": np.zeros((2, 2))}, ["a", "b"])
    with pytest.raises(DataError, match=r"must end in \.npz"):
        fusionkit.from_arrays(tmp_path / "f.csv", **given)
