"""Status of a plan: the state of every task, the reason why it will run, and that a run does exactly that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from toy_components import (  # noqa: F401
    Blobs,
    Box,
    Colours,
    Sum,
    carry_out,
    registered,
    toy_house,
    toy_plan,
)

from fusionkit.contracts import FrameTable, Smoother
from fusionkit.engine import embed, fit, score
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan
from fusionkit.grid.run import RunOptions
from fusionkit.grid.status import PlanStatus, TaskStatus, plan_status
from fusionkit.registry import BACKBONES, DATASETS, SMOOTHERS
from fusionkit.storage import embeddings
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.lease import _machine, lease

pytestmark = pytest.mark.usefixtures("toy_house")

ONE: dict[str, Any] = {"seeds": 1, "reference": "none"}
DONE = TaskStatus("done")
NEW = TaskStatus("planned", "new", runs=True)
AFTER_HEAD = TaskStatus("planned", "its head is trained first", runs=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run"


def ahead(plan: Plan, path: Path, *, retry_failed: bool = False) -> PlanStatus:
    return plan_status(plan, RunFolder(path), EmbeddingStore(cache_folder()), retry_failed=retry_failed)


def states(status: PlanStatus) -> tuple[set[TaskStatus], set[TaskStatus], set[TaskStatus]]:
    """Distinct statuses of embeddings, heads and cells."""
    return (
        {each.status for each in status.embeddings},
        {each.status for each in status.heads},
        {each.status for each in status.cells},
    )


def stale(reason: str) -> TaskStatus:
    return TaskStatus("stale", reason, runs=True)


def planned(reason: str) -> TaskStatus:
    return TaskStatus("planned", reason, runs=True)


def head_of(path: Path, plan: Plan) -> Path:
    (head,) = plan.heads
    return path / "heads" / head


def shards(plan: Plan) -> list[Path]:
    keys = {item.key for head in plan.heads.values() for item in head.embeddings.values()}
    return sorted(shard for key in keys for shard in (cache_folder() / "embeddings" / key).iterdir())


def flip(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


def test_in_a_new_folder_everything_is_new_and_nothing_is_written(path: Path, tmp_path: Path) -> None:
    status = ahead(toy_plan(**ONE), path)
    assert states(status) == ({NEW}, {NEW}, {AFTER_HEAD})
    assert [each.remaining for each in status.embeddings] == [320, 320]
    assert list(tmp_path.iterdir()) == []


def test_after_a_run_all_is_done(path: Path) -> None:
    carry_out(toy_plan(**ONE), path)
    status = ahead(toy_plan(**ONE), path)
    assert states(status) == ({DONE}, {DONE}, {DONE})
    assert [each.remaining for each in status.embeddings] == [0, 0]


def revise(owner: Any, name: str = "revision") -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(owner, name, getattr(owner, name) + 1)


@pytest.mark.parametrize(
    ("change", "reason", "embeds"),
    [
        (revise(Colours), "backbone toy-colours: revision 1 -> 2", True),
        (revise(embed, "REVISION"), "embedding: revision 1 -> 2", True),
        (revise(Blobs), "data set toy-blobs: revision 1 -> 2", True),
        (revise(Sum), "fusion toy-sum: revision 1 -> 2", False),
        (revise(fit, "REVISION"), f"training: revision {fit.REVISION} -> {fit.REVISION + 1}", False),
    ],
)
def test_what_changed_beneath_a_request_makes_its_work_stale(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, reason: str, embeds: bool
) -> None:
    carry_out(toy_plan(**ONE), path)
    change(monkeypatch)
    assert states(ahead(toy_plan(**ONE), path)) == (
        {stale(reason)} if embeds else {DONE},
        {stale(reason)},
        {AFTER_HEAD},
    )


@pytest.mark.parametrize(
    ("change", "reason", "embeds"),
    [
        ({"backbones": ["toy-colours:gain=2.0"]}, "backbone toy-colours: gain 1.0 -> 2.0", True),
        ({"datasets": ["toy-blobs:seed=1"]}, "data set toy-blobs: seed 0 -> 1", True),
        ({"recipe": {"epochs": 4, "lr": 0.01}}, "recipe: lr 0.05 -> 0.01", False),
        ({"seeds": [3]}, "seed 3 is new", False),
    ],
)
def test_another_request_is_planned_with_what_is_asked_for(
    path: Path, change: dict[str, Any], reason: str, embeds: bool
) -> None:
    carry_out(toy_plan(**ONE), path)
    assert states(ahead(toy_plan(**{**ONE, **change}), path)) == (
        {planned(reason)} if embeds else {DONE},
        {planned(reason)},
        {AFTER_HEAD},
    )


def test_data_that_changed_are_told_from_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(toy_plan(**ONE), path)
    (limited,) = states(ahead(toy_plan(**ONE, limit=60), path))[0]
    assert limited.state == "planned"
    assert limited.reason.startswith("data set toy-blobs: other limit, 320 -> ")
    monkeypatch.setattr(Blobs, "content", lambda _: "retouched")
    assert states(ahead(toy_plan(**ONE), path))[0] == {stale("data set toy-blobs: data changed (images or embeddings)")}


def test_data_in_another_place_are_other_data_whatever_the_limit(path: Path, tmp_path: Path) -> None:
    class Rooted(Blobs):
        def __init__(self, root: str, clips: int = 40) -> None:
            super().__init__(clips=30 if root.endswith("b") else clips)
            self.root = root

        def content(self) -> str:
            return self.root[-1]

    here, there = f"toy-rooted:root={tmp_path}/a", f"toy-rooted:root={tmp_path}/b"
    with registered(DATASETS, "toy-rooted", Rooted):
        carry_out(toy_plan(**ONE, datasets=[here], limit=60), path)
        for limit in ({}, {"limit": 60}, {"limit": 40}):
            reason = f"data set toy-rooted: other data (root {tmp_path}/a, now root {tmp_path}/b)"
            assert states(ahead(toy_plan(**ONE, datasets=[there], **limit), path))[:2] == (
                {planned(reason)},
                {planned(reason)},
            )
        (limited,) = states(ahead(toy_plan(**ONE, datasets=[here]), path))[0]
        assert limited.reason.startswith("data set toy-rooted: other limit, ")
        carry_out(toy_plan(**ONE, datasets=[there]), path.with_name("other"))
        (limited,) = states(ahead(toy_plan(**ONE, datasets=[here]), path))[0]
        assert limited.reason.startswith("data set toy-rooted: other limit, ")


def test_a_table_that_changed_is_told_from_images(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(toy_plan(**ONE, limit=60), path)
    table = Blobs.frames.fget  # type: ignore[attr-defined]

    def relabelled(self: Blobs) -> FrameTable:
        found = table(self)
        return replace(found, label=np.roll(found.label, 1))

    monkeypatch.setattr(Blobs, "frames", property(relabelled))
    assert states(ahead(toy_plan(**ONE), path))[0] == {stale("data set toy-blobs: data changed (frames or labels)")}


def test_another_weights_file_is_named(path: Path, tmp_path: Path) -> None:
    class Weighted(Colours):
        files: ClassVar[tuple[str, ...]] = ("weights",)

        def __init__(self, weights: str) -> None:
            super().__init__(1.0)

    plans = []
    with registered(BACKBONES, "toy-weighted", Weighted):
        for name in ("a", "b"):
            (tmp_path / name).write_text(name, encoding="utf-8")
            plans.append(toy_plan(**ONE, backbones=[f"toy-weighted:weights={tmp_path / name}"]))
        carry_out(plans[0], path)
        reason = "backbone toy-weighted: weights file changed"
        assert states(ahead(plans[1], path)) == ({stale(reason)}, {stale(reason)}, {AFTER_HEAD})


@pytest.mark.parametrize("name", ["head.safetensors", "dev_logits.npy", "cost.json", "done.json"])
def test_a_damaged_head_is_told_from_one_that_is_not_there(path: Path, name: str) -> None:
    plan = toy_plan(**ONE)
    carry_out(plan, path)
    flip(head_of(path, plan) / name)
    assert states(ahead(plan, path)) == ({DONE}, {stale("checksum differs")}, {DONE})
    shutil.rmtree(head_of(path, plan))
    assert states(ahead(plan, path)) == ({DONE}, {NEW}, {DONE})
    outcome, _ = carry_out(plan, path)
    assert (outcome.fitted, outcome.scored, outcome.reused) == (1, 0, 1)


def test_a_damaged_cell_is_told_from_one_that_is_not_there(path: Path) -> None:
    plan = toy_plan(**ONE)
    carry_out(plan, path)
    (cell,) = (path / "cells").iterdir()
    flip(cell / "counts.npz")
    assert states(ahead(plan, path))[2] == {stale("checksum differs")}
    shutil.rmtree(cell)
    assert states(ahead(plan, path)) == ({DONE}, {DONE}, {NEW})


def test_shards_that_lack_or_are_damaged_are_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "SHARD", 128)
    monkeypatch.setattr("fusionkit.grid.status.SHARD", 128)
    monkeypatch.setattr("fusionkit.engine.embed.SHARD", 128)
    monkeypatch.setattr("fusionkit.grid.run.SHARD", 128)
    plan = toy_plan(**ONE, main="none", regions=["top"])
    carry_out(plan, path)
    first, second, third = shards(plan)
    shutil.rmtree(head_of(path, plan))
    shutil.rmtree(second)
    (found,) = ahead(plan, path).embeddings
    assert (found.status, found.remaining) == (planned("1 of 3 shards missing"), 128)
    flip(third / "values.npy")
    (found,) = ahead(plan, path).embeddings
    assert found.status == stale("checksum differs in 1 of 3 shards; 1 of 3 shards missing")
    assert found.remaining == 128 + 64
    shutil.rmtree(third)
    shutil.rmtree(first)
    (found,) = ahead(plan, path).embeddings
    assert (found.status, found.remaining) == (NEW, 320)


def test_embeddings_that_no_head_needs_are_not_made(path: Path) -> None:
    plan = toy_plan(**ONE)
    carry_out(plan, path)
    shutil.rmtree(cache_folder())
    reason = TaskStatus("done", "not in the cache, and not needed: its heads are trained")
    assert states(ahead(plan, path)) == ({reason}, {DONE}, {DONE})
    assert carry_out(plan, path)[0].embedded == 0


def test_an_embedding_that_the_cache_has_lost_is_known_from_the_heads(path: Path) -> None:
    carry_out(toy_plan(**ONE), path)
    shutil.rmtree(cache_folder())
    plan = toy_plan(seeds=2, reference="none")
    lost = planned("no longer in the cache")
    assert states(ahead(plan, path)) == ({lost}, {DONE, planned("seed 1 is new")}, {DONE, AFTER_HEAD})
    other = toy_plan(**ONE, backbones=["toy-colours:gain=2.0"])
    assert states(ahead(other, path))[0] == {planned("backbone toy-colours: gain 1.0 -> 2.0")}


def test_a_smoother_that_looks_at_embeddings_needs_them_though_the_heads_are_done(path: Path) -> None:
    class Looks(Smoother):
        needs = "embeddings"

        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            return np.full((len(x), 3), 1 / 3)

    carry_out(toy_plan(**ONE), path)
    shutil.rmtree(cache_folder())
    with registered(SMOOTHERS, "toy-looks", Looks):
        plan = toy_plan(**ONE, smoothers=["toy-looks"])
        assert states(ahead(plan, path)) == ({planned("no longer in the cache")}, {DONE}, {NEW})


def test_a_failure_is_left_alone_until_it_is_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy_plan(**ONE, fusions=["toy-raises"])
    carry_out(plan, path)
    shutil.rmtree(cache_folder())
    status = ahead(plan, path)
    (found,) = states(status)[1]
    assert (found.state, found.runs) == ("failed", False)
    assert found.reason.endswith("failed: ValueError: gates are shut (--retry-failed retries it)")
    assert states(status)[2] == {TaskStatus("failed", "its head failed")}
    assert {each.remaining for each in status.embeddings} == {0}
    assert {each.status.state for each in status.embeddings} == {"failed"}
    again = ahead(plan, path, retry_failed=True)
    (found,) = states(again)[1]
    assert (found.state, found.runs) == ("failed", True)
    assert found.reason.startswith("will be retried: fusion Raises")
    assert {each.remaining for each in again.embeddings} == {320}


def test_a_cell_that_failed_is_tried_again(path: Path) -> None:
    plan = toy_plan(**ONE, smoothers=["toy-grumpy"])
    carry_out(plan, path)
    (found,) = states(ahead(plan, path))[2]
    assert (found.state, found.runs) == ("failed", True)
    assert "too old for this" in found.reason


def test_what_another_run_is_at_is_running(path: Path) -> None:
    plan = toy_plan(**ONE)
    (head,) = plan.heads.values()
    running = TaskStatus("running", "another run is working on it", runs=True)
    with lease(path / "leases" / head.id), lease(cache_folder() / "leases" / f"{head.embeddings['face'].key}-00000"):
        assert states(ahead(plan, path)) == ({running, NEW}, {running}, {AFTER_HEAD})
    assert states(ahead(plan, path)) == ({NEW}, {NEW}, {AFTER_HEAD})


def test_a_row_that_another_run_scores_is_running(path: Path) -> None:
    plan = toy_plan(**ONE)
    carry_out(plan, path)
    shutil.rmtree(path / "cells")
    with lease(path / "leases" / f"score-{plan.rows[0].id}"):
        assert states(ahead(plan, path))[2] == {TaskStatus("running", "another run is working on it", runs=True)}


def test_a_cell_that_stands_in_a_row_of_other_recipes_now_is_planned_with_them(path: Path) -> None:
    carry_out(toy_plan(**ONE, recipe={"epochs": 2, "lr": 0.05}), path)
    plan = toy_plan(**ONE, recipe={"epochs": 2, "lr": [0.05, 0.01]})
    status = ahead(plan, path)
    assert [each.status for each in status.heads] == [DONE, planned("recipe: lr 0.05 -> 0.01")]
    assert states(status)[2] == {AFTER_HEAD}
    carry_out(plan, path)
    for cell in (path / "cells").iterdir():
        if json.loads((cell / "cell.json").read_text(encoding="utf-8"))["record"]["recipe"] == plan.rows[0].axes.recipe:
            shutil.rmtree(cell)
    assert states(ahead(plan, path))[2] == {planned("recipe lr=0.05,epochs=2 -> lr=[0.05,0.01],epochs=2")}


def test_the_lease_of_a_process_that_is_gone_is_no_running_work(path: Path) -> None:
    plan = toy_plan(**ONE)
    (head,) = plan.heads
    (path / "leases").mkdir(parents=True)
    (path / "leases" / head).write_text(json.dumps({"machine": _machine(), "pid": 2**22 + 1}), encoding="utf-8")
    assert states(ahead(plan, path))[1] == {NEW}


def test_another_smoother_is_scored_and_nothing_is_trained(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(toy_plan(**ONE, smoothers=["toy-box"]), path)
    wider = toy_plan(**ONE, smoothers=["toy-box:width=9"])
    assert states(ahead(wider, path)) == ({DONE}, {DONE}, {planned("smoother toy-box: width 3 -> 9")})
    assert states(ahead(toy_plan(**ONE, smoothers=["toy-plain"]), path))[2] == {NEW}
    with monkeypatch.context() as patch:
        patch.setattr(Box, "revision", 2)
        plan = toy_plan(**ONE, smoothers=["toy-box"])
        assert states(ahead(plan, path)) == ({DONE}, {DONE}, {stale("smoother toy-box: revision 1 -> 2")})
    monkeypatch.setattr(score, "REVISION", 2)
    plan = toy_plan(**ONE, smoothers=["toy-box"])
    assert states(ahead(plan, path)) == ({DONE}, {DONE}, {stale("scoring: revision 1 -> 2")})


def test_a_choice_over_more_seeds_is_made_anew(path: Path) -> None:
    words: dict[str, Any] = {"reference": "none", "smoothers": ["toy-box:width=auto", "toy-plain"]}
    carry_out(toy_plan(**words, seeds=2), path)
    plan = toy_plan(**words, seeds=3)
    found = [(each.row.axes.smoother, each.head.seed, each.status) for each in ahead(plan, path).cells]
    again = stale("its options were chosen on dev from other heads")
    assert found == [
        ("toy-box:width=auto", 0, again),
        ("toy-box:width=auto", 1, again),
        ("toy-box:width=auto", 2, AFTER_HEAD),
        ("toy-plain", 0, DONE),
        ("toy-plain", 1, DONE),
        ("toy-plain", 2, AFTER_HEAD),
    ]
    outcome, _ = carry_out(plan, path)
    assert (outcome.fitted, outcome.scored, outcome.reused) == (1, 4, 2)
    # Fewer seeds are asked for, but the folder holds them all: what was chosen over all of them stands.
    fewer = toy_plan(**words, seeds=1)
    assert states(ahead(fewer, path)) == ({DONE}, {DONE}, {DONE})
    assert carry_out(fewer, path)[0].scored == 0


def test_work_without_a_record_is_used_and_tells_no_reasons(path: Path) -> None:
    plan = toy_plan(**ONE)
    carry_out(plan, path)
    for file in [*(path / "heads").glob("*/head.json"), *(path / "cells").glob("*/cell.json")]:
        rewritten(file.parent, file.name)
    for shard in shards(plan):
        rewritten(shard)
    assert states(ahead(plan, path)) == ({DONE}, {DONE}, {DONE})
    other = toy_plan(**ONE, backbones=["toy-colours:gain=2.0"])
    assert states(ahead(other, path)) == ({NEW}, {NEW}, {AFTER_HEAD})


def rewritten(folder: Path, without_record: str = "") -> None:
    """The artefact as it was written before there were records."""
    from fusionkit.storage.artifact import read_artifact, read_meta, write_artifact

    files, meta = read_artifact(folder), read_meta(folder)
    assert files is not None
    assert meta is not None
    meta.pop("record", None)
    if without_record:
        info = json.loads(files[without_record])
        del info["record"]
        files[without_record] = json.dumps(info).encode()
    write_artifact(folder, files, meta)


def test_records_repeat_byte_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in ("a", "b"):
        monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / f"cache-{name}"))
        carry_out(toy_plan(), tmp_path / name, RunOptions())
        files = [*(tmp_path / name / "heads").glob("*/head.json"), *(tmp_path / name / "cells").glob("*/cell.json")]
        found.append({f"{file.parent.name}/{file.name}": file.read_bytes() for file in files})
    assert len(found[0]) == 8
    assert found[0] == found[1]
