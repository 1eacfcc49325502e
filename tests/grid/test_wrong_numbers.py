"""No silent wrong answer: values that cannot be right are refused by name, or warned of where they may be."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_components import Blobs, Colours, carry_out, registered, toy_house, toy_plan, toy_table  # noqa: F401

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.contracts.fusion import Fusion, FusionOutput
from fusionkit.registry import BACKBONES, DATASETS, FUSIONS
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.table import warnings
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore

pytestmark = pytest.mark.usefixtures("toy_house")

TABLE = toy_table(clips=24, length=6, seed=2)


class Infinite(Colours):
    """Infinity in one place."""

    def embed(self, views: np.ndarray) -> np.ndarray:
        values = super().embed(views)
        values[0, 3] = np.inf
        return values


class Loud(Colours):
    """Beyond what float16 holds."""

    def embed(self, views: np.ndarray) -> np.ndarray:
        return super().embed(views) * 1e6


class Narrow(Colours):
    """Says 12 values a view and gives 5."""

    def embed(self, views: np.ndarray) -> np.ndarray:
        return super().embed(views)[:, :5]


class Ready(FaceDataset):
    """Ready embeddings whose order or count may differ from that of the frames."""

    values: ClassVar[np.ndarray] = np.random.default_rng(0).normal(size=(len(TABLE), 4)).astype(np.float32)

    @property
    def classes(self) -> tuple[str, ...]:
        return ("calm", "glad", "sad")

    @property
    def frames(self) -> FrameTable:
        return TABLE

    @property
    def views(self) -> tuple[str, ...]:
        return ("face", "voice")

    def content(self) -> str:
        return hashlib.sha256(self.values.tobytes()).hexdigest()

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        return self.values if len(self.values) != len(TABLE) else self.values[rows]


class Stubborn(Fusion):
    """Always the first class, with some seeds only if so asked."""

    def __init__(self, in_dims: dict[str, int], num_classes: int, odd: bool = False) -> None:
        super().__init__(in_dims, num_classes)
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("moved", torch.tensor(odd and torch.initial_seed() % 2 == 0))

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        logits = torch.zeros(len(views[self.main]), 3) + self.weight
        logits[:, 0] += 9.0
        return FusionOutput(logits=logits.roll(1, 1) * 0 + views[self.main][:, :3] if self.moved else logits)


@pytest.fixture(autouse=True)
def more_toys() -> Iterator[None]:
    with ExitStack() as stack:
        for name, cls in (("toy-infinite", Infinite), ("toy-loud", Loud), ("toy-narrow", Narrow)):
            stack.enter_context(registered(BACKBONES, name, cls))
        stack.enter_context(registered(DATASETS, "toy-ready", Ready))
        stack.enter_context(registered(FUSIONS, "toy-stubborn", Stubborn))
        yield


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ("toy-nan-colours", r"backbone toy-nan-colours gave values that are not finite for view 'top' of \d+ frame.s"),
        ("toy-infinite", r"backbone toy-infinite gave values that are not finite for view 'top' of \d+ frame.s"),
        ("toy-loud", r"backbone toy-loud gave values that are beyond float16 for view 'top' of \d+ frame.s"),
        ("toy-narrow", r"backbone Narrow gave \(64, 5\); expected \(B, D\) with B=64, D=12"),
    ],
)
def test_embeddings_that_cannot_be_right_are_never_stored(tmp_path: Path, backbone: str, said: str) -> None:
    plan = toy_plan(regions=["top"], backbones=[{"top": backbone, "default": "toy-colours"}], seeds=1)
    outcome, results = carry_out(plan, tmp_path / "run")
    assert set(outcome.failed) == {"face,top/toy-sum/toy-plain/0"}
    assert re.search(said, outcome.failed["face,top/toy-sum/toy-plain/0"])
    top = plan.rows[1].heads[0].embeddings["top"].key
    assert not EmbeddingStore(cache_folder()).exists(top, 0)
    assert [row.score is None for row in results.rows] == [False, True]


def ready_scores(folder: Path) -> dict[str, Any]:
    plan = toy_plan(datasets=["toy-ready"], regions=["voice"], seeds=1)
    outcome, results = carry_out(plan, folder)
    return {"failed": outcome.failed, "scores": [row.score and row.score.value for row in results.rows]}


def test_ready_embeddings_in_another_order_are_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ready_scores(tmp_path / "before")
    monkeypatch.setattr(Ready, "values", Ready.values[::-1].copy())
    after = ready_scores(tmp_path / "after")
    monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / "empty"))
    assert ready_scores(tmp_path / "fresh") == after
    assert after["failed"] == before["failed"] == {}
    assert after["scores"] != before["scores"]


def test_ready_embeddings_of_another_count_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ready, "values", Ready.values[:-1])
    (said,) = set(ready_scores(tmp_path / "run")["failed"].values())
    assert said == f"Ready: embeddings of view 'face' must be (n, D) for {len(TABLE)} rows, not ({len(TABLE) - 1}, 4)"


def test_data_that_change_between_the_plan_and_the_work_are_refused(tmp_path: Path) -> None:
    class Live(Blobs):
        version: ClassVar[int] = 0

        def content(self) -> str:
            return f"version {self.version}"

    with registered(DATASETS, "toy-live", Live), pytest.MonkeyPatch.context() as patch:
        plan = toy_plan(datasets=["toy-live"], seeds=1, reference="none")
        patch.setattr(Live, "version", 1)
        outcome, _ = carry_out(plan, tmp_path / "run")
    (said,) = outcome.failed.values()
    assert said == "data set toy-live has changed since this run began (run again)"


@pytest.mark.parametrize("rows", [100, 321])
def test_a_stored_shard_with_other_rows_than_the_table_is_made_anew(tmp_path: Path, rows: int) -> None:
    plan = toy_plan(seeds=1)
    _, whole = carry_out(plan, tmp_path / "whole")
    store = EmbeddingStore(cache_folder())
    key = plan.rows[0].heads[0].embeddings["face"].key
    values = store.read(key, np.arange(320)).astype(np.float16)
    store.write(key, 0, np.resize(values[::-1], (rows, 12)), ())
    outcome, results = carry_out(plan, tmp_path / "run")
    assert (outcome.failed, outcome.embedded) == ({}, 320)
    assert [repr(row.score) for row in results.rows] == [repr(row.score) for row in whole.rows]
    np.testing.assert_array_equal(store.read(key, np.arange(320)).astype(np.float16), values)


def test_rows_that_predict_one_class_are_named_and_stand_in_the_table_of_cells(tmp_path: Path) -> None:
    fusions = ["toy-stubborn", "toy-stubborn:odd=true", "toy-sum"]
    _, results = carry_out(toy_plan(fusions=fusions, seeds=2), tmp_path / "run")
    told = [line for line in warnings(results) if "one class" in line]
    assert told == [
        "1 row(s) predict one class only: face,bottom/toy-stubborn/toy-plain",
        "in 1 row(s) some cells predict one class only: face,bottom/toy-stubborn:odd=true/toy-plain (1 of 2 cells)",
    ]
    write_csv_files(results)
    with (tmp_path / "run/cells.csv").open(encoding="utf-8") as stream:
        found = {(row["fusion"], row["seed"]): row["predicted_classes"] for row in csv.DictReader(stream)}
    assert [found["toy-stubborn", "0"], found["toy-stubborn", "1"]] == ["1", "1"]
    odd = [found["toy-stubborn:odd=true", seed] for seed in ("0", "1")]
    assert odd[1] == "1"
    assert int(odd[0]) > 1
