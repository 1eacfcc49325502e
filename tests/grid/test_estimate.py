"""What remains is estimated by what the same work took before, and in work where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.grid.estimate import Stage, estimate
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan
from fusionkit.grid.run import RunOptions
from fusionkit.grid.status import plan_status
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore

pytestmark = pytest.mark.usefixtures("toy_house")


def stages(plan: Plan, path: Path, options: RunOptions | None = None) -> tuple[Stage, Stage]:
    folder, store = RunFolder(path), EmbeddingStore(cache_folder())
    return estimate(plan_status(plan, folder, store), folder, store, options or RunOptions())


def fit_seconds(path: Path) -> dict[tuple[str, int], float]:
    """By fusion and epochs at most, of every stored head."""
    found: dict[tuple[str, int], list[float]] = {}
    for head in (path / "heads").iterdir():
        about = json.loads((head / "head.json").read_text(encoding="utf-8"))
        seconds = json.loads((head / "cost.json").read_text(encoding="utf-8"))["fit_seconds"]
        found.setdefault((about["fusion"], about["recipe"]["epochs"]), []).append(seconds)
    return {key: median(values) for key, values in found.items()}


def test_where_nothing_is_known_the_work_is_told(tmp_path: Path) -> None:
    embed, fit = stages(toy_plan(), tmp_path / "run")
    assert (embed.remaining, embed.total, embed.seconds) == (640, 640, 0)
    assert embed.unknown == ("backbone toy-colours: 0.25 GFLOP x 640 frames = 160 GFLOP",)
    assert (fit.remaining, fit.total, fit.seconds) == (4, 4, 0)
    assert fit.unknown == ("fusion linear: 2 heads", "fusion toy-sum: 2 heads")


def test_nothing_remains_of_what_is_done(tmp_path: Path) -> None:
    carry_out(toy_plan(), tmp_path / "run")
    for stage, total in zip(stages(toy_plan(), tmp_path / "run"), (640, 4), strict=True):
        assert (stage.remaining, stage.total, stage.seconds, stage.unknown) == (0, total, 0, ())


def test_frames_cost_what_frames_of_the_same_backbone_cost(tmp_path: Path) -> None:
    carry_out(toy_plan(regions=["top", "bottom"]), tmp_path / "run")
    store = EmbeddingStore(cache_folder())
    paces = [note["seconds"] / note["rows"] for note in store.metas()]
    assert len(paces) == 3
    embed, _ = stages(toy_plan(regions=["top,bottom", "top+bottom"]), tmp_path / "run")
    assert embed.remaining == 320
    assert embed.seconds == pytest.approx(320 * median(paces))
    other, _ = stages(toy_plan(backbones=["toy-colours:gain=2.0"]), tmp_path / "run")
    assert (other.seconds, len(other.unknown)) == (0, 1)


def test_heads_cost_what_heads_of_the_same_fusion_cost_those_of_the_same_recipe_first(tmp_path: Path) -> None:
    path = tmp_path / "run"
    carry_out(toy_plan(recipe={"epochs": 1}, seeds=3), path)
    carry_out(toy_plan(recipe={"epochs": 6, "patience": 0}, seeds=1), path)
    known = fit_seconds(path)
    more = {"recipe": {"epochs": 6, "patience": 0}, "seeds": 3}
    _, fit = stages(toy_plan(**more), path)
    assert fit.remaining == 4
    assert fit.seconds == pytest.approx(2 * known["linear", 6] + 2 * known["toy-sum", 6])
    _, fit = stages(toy_plan(recipe={"epochs": 6, "patience": 0}, regions=["top"], seeds=1), path)
    sums = [
        json.loads((head / "cost.json").read_text(encoding="utf-8"))["fit_seconds"]
        for head in (path / "heads").iterdir()
        if json.loads((head / "head.json").read_text(encoding="utf-8"))["fusion"] == "toy-sum"
    ]
    assert fit.seconds == pytest.approx(median(sums)), "other views: any head of that fusion will do"


@pytest.mark.parametrize(
    ("options", "embedding", "fitting"),
    [
        ({"executor": "serial", "workers": 8}, 1, 1),
        ({"executor": "processes", "workers": 3}, 1, 3),
        ({"executor": "processes", "workers": 64}, 1, 4),
    ],
)
def test_workers_are_no_more_than_can_share_the_work(
    tmp_path: Path, options: dict[str, Any], embedding: int, fitting: int
) -> None:
    embed, fit = stages(toy_plan(), tmp_path / "run", RunOptions(**options))
    assert (embed.workers, fit.workers) == (embedding, fitting)  # both views of one shard are made together


def test_time_is_shared_by_workers() -> None:
    assert Stage("fit", "heads", 4, 4, 12.0, (), 3).wall_seconds == 4.0
    assert Stage("fit", "heads", 0, 4, 0.0, (), 0).wall_seconds == 0.0


def test_what_was_stored_without_a_time_or_a_record_tells_nothing(tmp_path: Path) -> None:
    plan = toy_plan(seeds=1)
    store = EmbeddingStore(cache_folder())
    embedding = next(iter(plan.heads.values())).embeddings["face"]
    store.write("0" * 16, 0, np.zeros((4, 3), np.float16), (), "", None, embedding.record)
    store.write("1" * 16, 0, np.zeros((4, 3), np.float16), (), "", 2.0)
    embed, _ = stages(plan, tmp_path / "run")
    assert (embed.seconds, len(embed.unknown)) == (0, 1)
    store.write("2" * 16, 0, np.zeros((4, 3), np.float16), (), "", 2.0, embedding.record)
    embed, _ = stages(plan, tmp_path / "run")
    assert embed.seconds == pytest.approx(640 * 2.0 / 4)
