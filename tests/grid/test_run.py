"""A run does what is lacking, once; failures stay with their cells; interruptions lose nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor
from toy_components import (  # noqa: F401
    Blobs,
    Box,
    Colours,
    Forest,
    Learned,
    Recorder,
    carry_out,
    registered,
    toy_house,
    toy_plan,
)

from fusionkit.errors import CellError
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.progress import Progress
from fusionkit.grid.run import RunOptions
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS, FUSIONS
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.run import Results
from fusionkit.storage import embeddings, identity
from fusionkit.storage.cache_folder import cache_folder

pytestmark = pytest.mark.usefixtures("toy_house")

FULL: dict[str, Any] = {
    "regions": ["bottom", "top,bottom"],
    "fusions": ["toy-sum", "toy-forest"],
    "smoothers": ["toy-plain", "toy-box:width=auto"],
}


def files(run: Path) -> dict[str, bytes]:
    """What must repeat byte by byte: the tables, and all stored arrays."""
    write_csv_files(Results(run))
    wanted = [run / "results.csv", run / "cells.csv", *run.rglob("*.npy"), *run.rglob("*.npz"), *run.rglob("*.saf*")]
    return {str(path.relative_to(run)): path.read_bytes() for path in wanted}


def test_a_grid_is_done_once(tmp_path: Path) -> None:
    plan = toy_plan(**FULL)
    outcome, results = carry_out(plan, tmp_path / "run")
    assert outcome.failed == {}
    assert (outcome.fitted, outcome.scored, outcome.reused) == (5 * 2, 5 * 2 * 2, 0)
    assert outcome.embedded == 320 * 3  # face, bottom and top
    assert sorted(Blobs.reads) == list(range(320))
    assert len(Forest.given) == 2 * 2 * 4  # per head a fit, two predictions, and one of the restored head
    assert [row.score is not None for row in results.rows] == [True] * 10


def test_again_does_nothing(tmp_path: Path) -> None:
    carry_out(toy_plan(**FULL), tmp_path / "run")
    before = files(tmp_path / "run")
    for log in (Blobs.reads, Colours.calls, Forest.given, Box.calls):
        log.clear()
    outcome, _ = carry_out(toy_plan(**FULL), tmp_path / "run")
    assert (outcome.embedded, outcome.fitted, outcome.scored, outcome.reused) == (0, 0, 0, 20)
    assert Blobs.reads == Colours.calls == Forest.given == Box.calls == []
    assert files(tmp_path / "run") == before


def test_an_extension_reuses_what_is_there(tmp_path: Path) -> None:
    carry_out(toy_plan(seeds=2), tmp_path / "run")
    Blobs.reads.clear()
    outcome, results = carry_out(toy_plan(seeds=3, fusions=["toy-sum", "toy-forest"]), tmp_path / "run")
    assert Blobs.reads == []
    assert (outcome.fitted, outcome.scored, outcome.reused) == (1 + 1 + 3, 5, 4)
    assert [row.seeds for row in results.rows] == [[0, 1, 2]] * 3


@pytest.mark.slow
def test_one_grid_or_two_give_the_same_cells(tmp_path: Path) -> None:
    carry_out(toy_plan(seeds=1), tmp_path / "a")
    carry_out(toy_plan(seeds=2, regions=["bottom", "top"]), tmp_path / "a")
    carry_out(toy_plan(seeds=2, regions=["bottom", "top"]), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.slow
def test_two_fresh_runs_are_byte_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in ("a", "b"):
        monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / f"cache-{name}"))
        carry_out(toy_plan(**FULL, datasets=["toy-blobs:noise=80.0"]), tmp_path / name)
        found.append(files(tmp_path / name))
    assert found[0] == found[1]
    assert len(found[0]) > 40


BROKEN = [
    ("toy-wrong-shape", r"fusion WrongShape on views face .*, bottom .* gave an embedding of shape \(1, 12\)"),
    ("toy-nan", r"fusion toy-nan: the loss is nan in epoch 1 on views face .*, bottom "),
    ("toy-nan-logits", r"fusion toy-nan-logits gave logits that are not finite on views face .*, bottom "),
    ("toy-raises", r"fusion Raises on views face .*, bottom .* failed: ValueError: gates are shut"),
]


@pytest.mark.parametrize(("fusion", "message"), BROKEN)
def test_a_broken_fusion_fails_its_own_cells_only(tmp_path: Path, fusion: str, message: str) -> None:
    import re

    plan = toy_plan(fusions=["toy-sum", fusion, "toy-forest"])
    outcome, results = carry_out(plan, tmp_path / "run")
    assert sorted(outcome.failed) == [f"face,bottom/{fusion}/toy-plain/{seed}" for seed in (0, 1)]
    for said in outcome.failed.values():
        assert re.search(message, said), said
        assert "\n" not in said
    states = {(cell["axes"]["fusion"], cell["seed"]): cell["state"] for cell in results.cells()}
    assert states == {
        (name, seed): "failed" if name == fusion else "done"
        for name in ("linear", "toy-sum", fusion, "toy-forest")
        for seed in (0, 1)
    }
    traces = [path.read_text(encoding="utf-8") for path in (tmp_path / "run" / "failures").glob("*.txt")]
    assert len(traces) == 2
    assert all(trace.startswith("Traceback") and "Error" in trace for trace in traces)
    row = results.rows[2]
    assert (row.score, row.delta, row.seeds) == (None, None, [])


def test_a_broken_smoother_fails_its_own_cells_only(tmp_path: Path) -> None:
    plan = toy_plan(smoothers=["toy-plain", "toy-grumpy"])
    outcome, results = carry_out(plan, tmp_path / "run")
    assert outcome.fitted == 4
    assert set(outcome.failed) == {
        f"{views}/toy-grumpy/{s}" for views in ("face/linear", "face,bottom/toy-sum") for s in (0, 1)
    }
    assert [row.score is None for row in results.rows] == [False, True, False, True]


def test_a_broken_view_fails_the_cells_that_need_it(tmp_path: Path) -> None:
    plan = toy_plan(
        main="top", regions=["bottom", "face"], backbones=[{"face": "toy-furious", "default": "toy-colours"}]
    )
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert set(outcome.failed) == {"top,face/toy-sum/toy-plain/0", "top,face/toy-sum/toy-plain/1"}
    for said in outcome.failed.values():
        assert said == "backbone toy-furious failed on view 'face': RuntimeError: no weights today"


def test_every_failure_is_told_even_where_names_repeat(tmp_path: Path) -> None:
    plan = toy_plan(split="kfold:k=3", fusions=["toy-raises"], seeds=1, reference="none")
    outcome, results = carry_out(plan, tmp_path / "run")
    assert [cell["state"] for cell in results.cells()] == ["failed"] * 3
    assert len(outcome.failed) == 3


def test_what_failed_is_not_tried_again_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy_plan(fusions=["toy-raises"], reference="none")
    carry_out(plan, tmp_path / "run")
    from toy_components import Raises

    monkeypatch.setattr(Raises, "fuse", lambda self, views, *_: views[self.main])
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert outcome.fitted == 0
    assert len(outcome.failed) == 2
    outcome, results = carry_out(plan, tmp_path / "run", RunOptions(retry_failed=True))
    assert outcome.fitted == 2
    assert outcome.failed == {}
    assert [cell["error"] for cell in results.cells()] == ["", ""]
    assert [row.score is not None for row in results.rows] == [True]


def test_fail_fast_stops_at_the_first_failure(tmp_path: Path) -> None:
    plan = toy_plan(fusions=["toy-raises", "toy-forest"], reference="none")
    with pytest.raises(CellError, match="toy-raises/0: fusion Raises on views"):
        carry_out(plan, tmp_path / "run", RunOptions(fail_fast=True))
    assert Forest.given == []


def test_no_component_is_ever_given_a_test_label(tmp_path: Path) -> None:
    """Labels of the test frames are changed: nothing that a component was given changes, only the scores do."""

    class Relabelled(Blobs):
        shift = 0

        @property
        def frames(self) -> Any:
            table = super().frames
            label = table.label.copy()
            rows = (table.split == "test") & (label >= 0)
            label[rows] = (label[rows] + self.shift) % 3
            return type(table).of(
                table.clip, table.number, label, subject=table.subject, split=table.split, video=table.video
            )

        def fingerprint(self, *args: Any) -> str:
            return f"relabelled-{self.shift}"

    logs: list[list[Any]] = []
    scores: list[list[float]] = []
    with registered(DATASETS, "toy-relabelled", Relabelled), pytest.MonkeyPatch.context() as patch:
        for shift in (0, 1):
            patch.setattr(Relabelled, "shift", shift)
            for log in (Recorder.given, Forest.given, Box.calls, Learned.given):
                log.clear()
            plan = toy_plan(
                datasets=["toy-relabelled"],
                fusions=["toy-recorder", "toy-forest"],
                smoothers=["toy-box:width=auto", "toy-learned"],
                seeds=1,
            )
            _, results = carry_out(plan, tmp_path / f"run{shift}")
            logs.append(flat([Recorder.given, Forest.given, Box.calls, Learned.given]))
            scores.append([row.score.value for row in results.rows if row.score])
    assert len(logs[0]) == len(logs[1]) > 100
    for one, two in zip(*logs, strict=True):
        np.testing.assert_array_equal(one, two)
    assert len(scores[0]) == 6
    assert all(one != two for one, two in zip(*scores, strict=True))


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in flat(item)]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in flat(item)]
    return [value.detach().numpy() if isinstance(value, Tensor) else value]


class Interrupting(Progress):
    """Presses Ctrl-C at the n-th step."""

    def __init__(self, at: int) -> None:
        self.at, self.steps = at, 0

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        self.step()
        yield

    def advance(self, count: int = 1) -> None:
        self.step()

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interruption_at_any_step_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusionkit.engine import embed

    for module in (embed, embeddings):
        monkeypatch.setattr(module, "SHARD", 128)
    plan = toy_plan(smoothers=["toy-box:width=auto"])
    counter = Interrupting(0)
    carry_out(plan, tmp_path / "whole", progress=counter)
    expected = files(tmp_path / "whole")
    assert counter.steps > 10
    for at in range(1, counter.steps + 1, 2):
        monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / f"cache{at}"))
        run = tmp_path / f"run{at}"
        with pytest.raises(KeyboardInterrupt):
            carry_out(plan, run, progress=Interrupting(at))
        outcome, _ = carry_out(plan, run)
        assert outcome.failed == {}
        assert files(run) == expected


FLIPPED = "flipped"


@pytest.mark.slow
@pytest.mark.parametrize("how", [FLIPPED, "truncated", "gone"])
def test_damage_to_any_stored_file_is_repaired_to_the_same_bytes(tmp_path: Path, how: str) -> None:
    plan, run = toy_plan(smoothers=["toy-box:width=auto"], seeds=1), tmp_path / "run"
    carry_out(plan, run)
    expected = files(run)
    kinds = {(path.parent.parent.name, path.name) for path in run.rglob("*/*/*") if path.is_file()}
    assert {kind for kind, _ in kinds} >= {"heads", "cells"}
    for kind, name in sorted(kinds):
        file = next(run.glob(f"{kind}/*/{name}"))
        whole = file.read_bytes()
        if how == "gone":
            file.unlink()
        else:
            file.write_bytes(whole[:-1] if how == "truncated" else whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        if kind == "folds":  # needed again only where a head is trained
            shutil.rmtree(next((run / "heads").iterdir()))
        outcome, _ = carry_out(plan, run)
        assert outcome.failed == {}, (kind, name)
        assert files(run) == expected, (kind, name)


def test_damage_to_a_stored_embedding_is_repaired_when_it_is_needed(tmp_path: Path) -> None:
    carry_out(toy_plan(seeds=1), tmp_path / "run")
    for file in (tmp_path / "cache" / "embeddings").rglob("values.npy"):
        whole = file.read_bytes()
        file.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    Blobs.reads.clear()
    outcome, _ = carry_out(toy_plan(seeds=2), tmp_path / "run")
    assert outcome.failed == {}
    assert sorted(Blobs.reads) == list(range(320))
    carry_out(toy_plan(seeds=2), tmp_path / "fresh")
    assert files(tmp_path / "run") == files(tmp_path / "fresh")


def test_the_cache_may_go_once_the_grid_is_done(tmp_path: Path) -> None:
    carry_out(toy_plan(), tmp_path / "run")
    expected = files(tmp_path / "run")
    shutil.rmtree(tmp_path / "cache")
    outcome, _ = carry_out(toy_plan(), tmp_path / "run")
    assert (outcome.embedded, outcome.fitted, outcome.reused) == (0, 0, 4)
    assert files(tmp_path / "run") == expected


def test_frames_without_an_image_are_counted_and_named(tmp_path: Path) -> None:
    outcome, _ = carry_out(toy_plan(), tmp_path / "run")
    source = toy_plan().rows[0].heads[0].fold_data.source
    blank = [row for row in range(320) if row % 11 == 5]
    names = ", ".join(source.where(row) for row in blank[:3])
    assert outcome.unreadable == [f"toy-blobs: {len(blank)} of 320 frames, {names} and {len(blank) - 3} more"]


def test_data_that_changed_in_this_process_are_read_anew(tmp_path: Path) -> None:
    """Two grids in one notebook, and the images on disk are replaced in between."""

    class Live(Blobs):
        version = 0

        def content(self) -> str:
            return f"version {self.version}"

        def __init__(self) -> None:
            super().__init__(seed=self.version, missing=False)

    found = []
    with registered(DATASETS, "toy-live", Live), pytest.MonkeyPatch.context() as patch:
        for version in (0, 1):
            patch.setattr(Live, "version", version)
            plan = toy_plan(datasets=["toy-live"], seeds=1, reference="none")
            carry_out(plan, tmp_path / f"run{version}")
            key = plan.rows[0].heads[0].embeddings["face"].key
            found.append(embeddings.EmbeddingStore(cache_folder()).read(key, np.arange(320)))
        fresh = embeddings.EmbeddingStore(tmp_path / "fresh")
        from fusionkit.engine.embed import embed

        head = plan.rows[0].heads[0]
        embed(head.fold_data.source, [head.embeddings["face"]], [0], fresh, "cpu", lambda _: None)
        np.testing.assert_array_equal(found[1], fresh.read(head.embeddings["face"].key, np.arange(320)))
    assert not np.array_equal(found[0], found[1])


def test_a_full_disk_is_one_clear_error_and_the_run_resumes_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from fusionkit.errors import FusionKitError
    from fusionkit.storage import artifact

    carry_out(toy_plan(), tmp_path / "whole")
    expected = files(tmp_path / "whole")
    writing = artifact._write_synced
    run = tmp_path / "run"

    def full(path: Path, data: bytes) -> None:
        if "safetensors" in path.name or "counts" in path.name or (path.name == "values.npy"):
            raise OSError(errno.ENOSPC, "No space left on device")
        writing(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(artifact, "_write_synced", full)
        try:
            outcome, _ = carry_out(toy_plan(), run)
            said = list(outcome.failed.values())
        except FusionKitError as error:
            said = [str(error)]
    assert said
    assert all("the disk is full" in line and "\n" not in line for line in said)
    assert [path for path in tmp_path.rglob(".*") if path.name != ".lock"] == []
    outcome, _ = carry_out(toy_plan(), run)
    assert outcome.failed == {}
    assert files(run) == expected


def test_a_failure_note_that_outlived_a_kill_does_not_haunt_a_cell_that_is_done(tmp_path: Path) -> None:
    plan = toy_plan(seeds=1, reference="none")
    carry_out(plan, tmp_path / "run")
    expected = files(tmp_path / "run")
    # Killed after the head was put in place and before its old failure was forgotten.
    RunFolder(tmp_path / "run").write_failure(plan.rows[0].heads[0].id, "its process died", "")
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert outcome.failed == {}
    assert files(tmp_path / "run") == expected


def test_a_damaged_head_of_another_grid_does_not_keep_the_tables_from_being_written(tmp_path: Path) -> None:
    first = toy_plan(regions=["top"], reference="none")
    carry_out(first, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "heads" / first.rows[0].heads[0].id)
    carry_out(toy_plan(regions=["bottom"], reference="none"), tmp_path / "run")
    write_csv_files(Results(tmp_path / "run"))
    assert (tmp_path / "run" / "costs.csv").exists()


def recoded(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The code of a toy is edited."""
    known = identity.source_digest
    monkeypatch.setattr(identity, "source_digest", lambda cls: "edited" if cls.__name__ == name else known(cls))


def test_code_that_is_edited_while_a_run_goes_on_is_not_taken_for_what_was_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan(fusions=["toy-sum", "mlp"], smoothers=["toy-plain"], seeds=1)
    with monkeypatch.context() as edit:
        recoded(edit, FUSIONS.get("toy-sum").__name__)
        outcome, _ = carry_out(plan, tmp_path / "a")
    message = "fusion toy-sum has changed since this run began (run again)"
    assert outcome.failed == {"face,bottom/toy-sum/toy-plain/0": message}
    assert outcome.fitted == 2
    shutil.rmtree(cache_folder())
    for name, kind in (("toy-colours", BACKBONES), ("toy-halves", EXTRACTORS)):
        with monkeypatch.context() as edit:
            recoded(edit, kind.get(name).__name__)
            outcome, _ = carry_out(plan, tmp_path / name)
        assert f"{name} has changed since this run began" in outcome.failed["face,bottom/mlp/toy-plain/0"]
    assert carry_out(plan, tmp_path / "a", RunOptions(executor="serial", retry_failed=True))[0].failed == {}


def test_a_row_that_a_run_with_other_code_has_replaced_meanwhile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Meanwhile(Progress):
        @contextmanager
        def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
            yield
            if name == "fit":
                with monkeypatch.context() as edit:
                    recoded(edit, FUSIONS.get("toy-sum").__name__)
                    RunFolder(tmp_path / "run").add_plan(toy_plan(seeds=1), {})

    with pytest.raises(CellError, match="toy-sum/toy-plain: a run with other code has replaced this row"):
        carry_out(toy_plan(seeds=1), tmp_path / "run", progress=Meanwhile())
