"""A dry run lists the state of all work and the estimated time, and writes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_components import Blobs, Colours, carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.grid.folder import RunFolder
from fusionkit.grid.run import RunOptions
from fusionkit.report.plan_lines import _duration, plan_lines
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore

pytestmark = pytest.mark.usefixtures("toy_house")


def lines(tmp_path: Path, options: RunOptions | None = None, **changes: Any) -> list[str]:
    folder, store = RunFolder(tmp_path / "run"), EmbeddingStore(cache_folder())
    return list(plan_lines(toy_plan(**changes), folder, store, options or RunOptions()))


def test_a_new_grid_is_all_planned_and_nothing_is_written(tmp_path: Path) -> None:
    assert lines(tmp_path)[:11] == [
        f"run folder {tmp_path}/run; data: toy-blobs, split auto",
        "embed face by toy-colours, 320 frames of toy-blobs: planned: new",
        "embed bottom by toy-colours, 320 frames of toy-blobs: planned: new",
        "fit face/linear, seeds 0, 1: planned: new",
        "fit face,bottom/toy-sum, seeds 0, 1: planned: new",
        "score face/linear/toy-plain, seeds 0, 1: planned: its head is trained first",
        "score face,bottom/toy-sum/toy-plain, seeds 0, 1: planned: its head is trained first",
        "embed: 640 of 640 frames remain, unknown (backbone toy-colours: 0.25 GFLOP x 640 frames = 160 GFLOP)",
        "fit: 4 of 4 heads remain, unknown (fusion linear: 2 heads; fusion toy-sum: 2 heads)",
        "score: 4 of 4 cells remain",
        "total: unknown: no comparable task was run on this machine, with 1 worker",
    ]
    assert Blobs.reads == []
    assert list(tmp_path.iterdir()) == []


def test_a_finished_stage_is_one_line(tmp_path: Path) -> None:
    carry_out(toy_plan(), tmp_path / "run")
    found = lines(tmp_path)
    assert found[1:9] == [
        "embed face by toy-colours, 320 frames of toy-blobs: done",
        "embed bottom by toy-colours, 320 frames of toy-blobs: done",
        "fit: all done",
        "score: all done",
        "embed: 0 of 640 frames remain",
        "fit: 0 of 4 heads remain",
        "score: 0 of 4 cells remain",
        "total: nothing to embed or train",
    ]


def test_seeds_of_one_state_are_one_line(tmp_path: Path) -> None:
    carry_out(toy_plan(), tmp_path / "run")
    found = lines(tmp_path, seeds=4)
    assert [line for line in found if line.startswith(("fit ", "score "))] == [
        "fit face/linear, seeds 0, 1: done",
        "fit face/linear, seed 2: planned: seed 2 is new",
        "fit face/linear, seed 3: planned: seed 3 is new",
        "fit face,bottom/toy-sum, seeds 0, 1: done",
        "fit face,bottom/toy-sum, seed 2: planned: seed 2 is new",
        "fit face,bottom/toy-sum, seed 3: planned: seed 3 is new",
        "score face/linear/toy-plain, seeds 0, 1: done",
        "score face/linear/toy-plain, seeds 2, 3: planned: its head is trained first",
        "score face,bottom/toy-sum/toy-plain, seeds 0, 1: done",
        "score face,bottom/toy-sum/toy-plain, seeds 2, 3: planned: its head is trained first",
    ]


def test_a_changed_component_is_the_reason_for_everything_that_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(toy_plan(seeds=1, reference="none"), tmp_path / "run")
    monkeypatch.setattr(Colours, "revision", 2)
    found = lines(tmp_path, seeds=1, reference="none")
    reason = "stale: backbone toy-colours: revision 1 -> 2"
    assert found[1:4] == [
        f"embed face by toy-colours, 320 frames of toy-blobs: {reason}",
        f"embed bottom by toy-colours, 320 frames of toy-blobs: {reason}",
        f"fit face,bottom/toy-sum, seed 0: {reason}",
    ]


def test_other_compared_axes_are_named(tmp_path: Path) -> None:
    found = lines(tmp_path, backbones=["toy-colours", "toy-colours:gain=2.0"], seeds=1, reference="none")
    assert "fit face,bottom/toy-sum, backbone toy-colours, seed 0: planned: new" in found
    assert "fit face,bottom/toy-sum, backbone toy-colours:gain=2.0, seed 0: planned: new" in found
    assert any(line.startswith("score face,bottom/toy-sum/toy-plain, backbone toy-colours:gain=2.0,") for line in found)


def test_folds_and_points_of_a_sweep_are_named(tmp_path: Path) -> None:
    found = lines(tmp_path, split="kfold:k=2", seeds=1, reference="none", recipe={"epochs": 1, "lr": [0.1, 0.01]})
    assert [line for line in found if line.startswith(("fit ", "score "))] == [
        "fit face,bottom/toy-sum (lr=0.1,epochs=1), seed 0, kfold/0, kfold/1: planned: new",
        "fit face,bottom/toy-sum (lr=0.01,epochs=1), seed 0, kfold/0, kfold/1: planned: new",
        "score face,bottom/toy-sum/toy-plain, seed 0, kfold/0, kfold/1: planned: its head is trained first",
    ]


def test_an_earlier_failure_is_shown(tmp_path: Path) -> None:
    carry_out(toy_plan(fusions=["toy-raises"], seeds=1), tmp_path / "run")
    (line,) = [
        line for line in lines(tmp_path, fusions=["toy-raises"], seeds=1) if "fit face,bottom/toy-raises" in line
    ]
    assert "seed 0: failed: fusion Raises" in line
    assert line.endswith("(--retry-failed retries it)")
    options = RunOptions(retry_failed=True)
    (line,) = [line for line in lines(tmp_path, options, fusions=["toy-raises"], seeds=1) if "fit face,bottom" in line]
    assert "failed: will be retried: fusion Raises" in line


def test_times_come_from_earlier_work_and_unknown_times_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(toy_plan(seeds=1), tmp_path / "run")
    for head in (tmp_path / "run" / "heads").iterdir():
        (head / "cost.json").write_text('{"fit_seconds": 90.0}', encoding="utf-8")
    monkeypatch.setattr(RunFolder, "has_head", lambda folder, head: folder.exists("heads", head))
    options = RunOptions(executor="processes", workers=3)
    found = lines(tmp_path, options, seeds=4)
    assert "fit: 6 of 8 heads remain, about 3.0 min" in found  # 6 x 90 s by three
    assert "total: about 3.0 min, with 3 workers" in found
    found = lines(tmp_path, options, seeds=4, fusions=["toy-sum", "mlp"])
    assert "fit: 10 of 12 heads remain, about 3.0 min and unknown (fusion mlp: 4 heads)" in found
    assert "total: at least 3.0 min, with 3 workers" in found
    shutil.rmtree(cache_folder())
    assert any(
        line.startswith("embed: 640 of 640 frames remain, unknown (") for line in lines(tmp_path, options, seeds=4)
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.001, "0.1 s"), (3.44, "3.4 s"), (59.4, "59 s"), (210.0, "3.5 min"), (7560.0, "2.1 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert _duration(seconds) == text
