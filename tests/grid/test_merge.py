"""Run folders of one protocol become one: whatever order, whatever was killed, it equals a run of the whole grid."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_components import (  # noqa: F401
    Blobs,
    Colours,
    Forest,
    Plain,
    Sum,
    carry_out,
    registered,
    toy_house,
    toy_plan,
)

from fusionkit.api import merge
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid import merge as merge_module
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.merge import Merged, merge_folders
from fusionkit.grid.run import RunOptions
from fusionkit.registry import FUSIONS, SMOOTHERS
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.run import Results
from fusionkit.storage import artifact

pytestmark = pytest.mark.usefixtures("toy_house")

PLAIN: dict[str, Any] = {"fusions": ["toy-sum", "toy-forest"], "smoothers": ["toy-plain", "toy-learned"]}
CHOSEN: dict[str, Any] = {"smoothers": ["toy-plain", "toy-box:width=auto"], "recipe": {"epochs": 2, "lr": [1e-4, 0.05]}}
AUTO: dict[str, Any] = {"smoothers": ["toy-plain", "toy-box:width=auto"]}


def unite(out: Path, *others: Path) -> Merged:
    return merge_folders(RunFolder(out), [RunFolder(other) for other in others])


def contents(run: Path) -> dict[str, bytes]:
    """What must repeat byte by byte."""
    write_csv_files(Results(run))
    wanted = [run / "results.csv", run / "cells.csv"]
    wanted += [path for path in run.glob("*/*/*") if path.name not in ("cost.json", "done.json")]
    return {str(path.relative_to(run)): path.read_bytes() for path in wanted}


def everything(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def grid_of(run: Path) -> dict[str, Any]:
    grid = RunFolder(run).load_grid()
    assert grid is not None
    return grid


def states(run: Path) -> dict[tuple[str, int], str]:
    return {(cell["axes"]["smoother"], cell["seed"]): cell["state"] for cell in Results(run).cells()}


def shows_nothing_stale(run: Path) -> bool:
    """Each score that is shown was chosen over the heads that are there, or nothing was chosen."""
    folder = RunFolder(run)
    for record in grid_of(run)["rows"]:
        heads = sorted({head for cell in record["cells"] for head in cell["heads"].values() if folder.has_head(head)})
        stored = [folder.read_cell(cell["id"]) for cell in record["cells"]]
        if any(cell.info["chosen_over"] not in ([], heads) for cell in stored if cell):
            return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("grid", [PLAIN, CHOSEN, {**AUTO, "split": "kfold:k=3"}], ids=["plain", "chosen", "folds"])
def test_two_halves_equal_a_run_of_the_whole_grid_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: dict[str, Any]
) -> None:
    a, b, whole, united = (tmp_path / name for name in ("a", "b", "whole", "united"))
    carry_out(toy_plan(**grid, seeds=[0, 1]), a)
    carry_out(toy_plan(**grid, seeds=[2, 3]), b)
    union = toy_plan(**grid, seeds=4)
    carry_out(union, whole)
    unite(united, a, b)
    monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / "no-embeddings-here"))
    for log in (Blobs.reads, Colours.calls):
        log.clear()
    outcome, _ = carry_out(union, united)
    assert (outcome.embedded, outcome.fitted, outcome.failed) == (0, 0, {})
    assert Colours.calls == []
    assert contents(united) == contents(whole)
    assert not (united / "failures").exists()


@pytest.mark.slow
def test_where_nothing_was_chosen_the_merge_alone_equals_the_run(tmp_path: Path) -> None:
    carry_out(toy_plan(**PLAIN, seeds=[0, 1]), tmp_path / "a")
    carry_out(toy_plan(**PLAIN, seeds=[2, 3]), tmp_path / "b")
    carry_out(toy_plan(**PLAIN, seeds=4), tmp_path / "whole")
    merged = unite(tmp_path / "a", tmp_path / "b")
    assert (len(merged.heads), len(merged.cells)) == (3 * 2, 3 * 2 * 2)  # (face, two fusions) x seeds, and x smoothers
    assert (merged.damaged, merged.left_out, merged.unscored) == ([], [], [])
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


def test_other_rows_are_added_behind_the_own_ones(tmp_path: Path) -> None:
    carry_out(toy_plan(regions=["bottom"], seeds=[1]), tmp_path / "a")
    carry_out(toy_plan(regions=["top", "bottom"], seeds=[0]), tmp_path / "b")
    unite(tmp_path / "a", tmp_path / "b")
    found = [(row.axes.views, row.seeds) for row in Results(tmp_path / "a").rows]
    assert found == [("face", [0, 1]), ("face,bottom", [0, 1]), ("face,top", [0])]
    rows = {row.axes.views: row for row in Results(tmp_path / "b").rows}
    assert repr(Results(tmp_path / "a").rows[2].score) == repr(rows["face,top"].score)


def test_descriptions_and_notes_are_united_and_the_grid_is_sealed(tmp_path: Path) -> None:
    for name, seeds in (("a", [0]), ("b", [1])):
        carry_out(toy_plan(seeds=seeds), tmp_path / name)
        grid = grid_of(tmp_path / name)
        RunFolder(tmp_path / name).write_grid({**grid, "notes": ["common", name]})
    unite(tmp_path / "a", tmp_path / "b")
    grid = grid_of(tmp_path / "a")  # which checks the seal
    assert [item["description"]["seeds"] for item in grid["grids"]] == [[0], [1]]
    assert grid["notes"] == ["common", "a", "b"]


@pytest.mark.slow
def test_merging_again_changes_no_byte_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    carry_out(toy_plan(**AUTO, seeds=[0]), tmp_path / "a")
    carry_out(toy_plan(**AUTO, seeds=[1]), tmp_path / "b")
    others = everything(tmp_path / "a"), everything(tmp_path / "b")
    first, _ = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    before = everything(tmp_path / "c")
    again, _ = merge([tmp_path / "a", tmp_path / "b", tmp_path / "c"], tmp_path / "c")
    assert everything(tmp_path / "c") == before
    assert (len(first.heads), again.heads, again.cells) == (4, set(), set())
    assert again.unscored == first.unscored != []
    assert (everything(tmp_path / "a"), everything(tmp_path / "b")) == others


@pytest.mark.slow
@pytest.mark.parametrize("grid", [AUTO, CHOSEN], ids=["auto", "swept"])
def test_what_was_chosen_over_fewer_seeds_is_planned_until_a_run_chooses_again(
    tmp_path: Path, grid: dict[str, Any]
) -> None:
    carry_out(toy_plan(**grid, seeds=[0, 1], reference="none"), tmp_path / "a")
    carry_out(toy_plan(**grid, seeds=[2], reference="none"), tmp_path / "b")
    merged = unite(tmp_path / "a", tmp_path / "b")
    swept = "recipe" in grid
    names = ["face,bottom/toy-sum/toy-plain"] * swept + ["face,bottom/toy-sum/toy-box:width=auto"]
    assert merged.unscored == names
    plain = "planned" if swept else "done"
    assert states(tmp_path / "a") == {
        (smoother, seed): state
        for smoother, state in (("toy-plain", plain), ("toy-box:width=auto", "planned"))
        for seed in range(3)
    }
    rows = Results(tmp_path / "a").rows
    assert [row.score is None for row in rows] == [swept, True]
    # Any grid that holds the rows scores all their cells, those of the other's seeds too.
    outcome, results = carry_out(toy_plan(**grid, seeds=[2], reference="none"), tmp_path / "a")
    assert (outcome.fitted, outcome.embedded, outcome.scored) == (0, 0, 3 * len(names))
    assert [row.seeds for row in results.rows] == [[0, 1, 2]] * 2
    assert unite(tmp_path / "a", tmp_path / "b").unscored == []
    assert set(states(tmp_path / "a").values()) == {"done"}


def test_a_choice_over_the_same_heads_stands(tmp_path: Path) -> None:
    """The other lacks nothing that the choice was made over: its scores come along."""
    plan = toy_plan(**AUTO, seeds=2)
    carry_out(plan, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a" / "cells")
    merged = unite(tmp_path / "a", tmp_path / "b")
    assert (merged.heads, len(merged.cells), merged.unscored) == (set(), 2 * 2 * 2, [])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.slow
def test_of_two_scores_the_one_over_all_heads_replaces_the_other(tmp_path: Path) -> None:
    carry_out(toy_plan(**AUTO, seeds=[0]), tmp_path / "a")
    carry_out(toy_plan(**AUTO, seeds=2), tmp_path / "b")
    merged = unite(tmp_path / "a", tmp_path / "b")
    assert merged.unscored == []
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("out", ["a", "new"])
def test_another_protocol_is_refused_and_nothing_changed(tmp_path: Path, out: str) -> None:
    carry_out(toy_plan(seeds=1), tmp_path / "a")
    carry_out(toy_plan(seeds=[1]), tmp_path / "b")
    carry_out(toy_plan(split="holdout", seeds=1), tmp_path / "c")
    before = everything(tmp_path)
    with pytest.raises(ConfigError, match=r"c holds results of other data or another split than .*: ") as refused:
        unite(tmp_path / out, tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert "toy-blobs, split holdout, not toy-blobs, split auto" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert everything(tmp_path) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("wrong", ["empty", "damaged"])
def test_a_folder_without_a_sound_grid_is_refused_and_nothing_changed(tmp_path: Path, wrong: str) -> None:
    carry_out(toy_plan(seeds=1), tmp_path / "a")
    (tmp_path / "b").mkdir()
    if wrong == "damaged":
        text = (tmp_path / "a" / "grid.json").read_text(encoding="utf-8")
        (tmp_path / "b" / "grid.json").write_text(text.replace("toy-sum", "toy-sun"), encoding="utf-8")
    before = everything(tmp_path)
    with pytest.raises(DataError, match="b holds no grid" if wrong == "empty" else r"b/grid\.json is damaged"):
        unite(tmp_path / "a", tmp_path / "b")
    assert everything(tmp_path) == before
    with pytest.raises(DataError, match="nothing holds no grid"):
        unite(tmp_path / "nothing", tmp_path / "nothing")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "file"), [("heads", "dev_logits.npy"), ("cells", "counts.npz"), ("folds", "dev.npy")])
def test_what_is_damaged_is_named_and_left_behind(tmp_path: Path, kind: str, file: str) -> None:
    carry_out(toy_plan(seeds=1), tmp_path / "b")
    lost = min((tmp_path / "b" / kind).iterdir())
    sound = (lost / file).read_bytes()
    (lost / file).write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    merged = unite(tmp_path / "a", tmp_path / "b")
    assert merged.damaged == [str(lost)]
    copied = {path.name for path in (tmp_path / "a" / kind).glob("*")}
    assert copied == {path.name for path in (tmp_path / "b" / kind).iterdir()} - {lost.name}
    carry_out(toy_plan(seeds=1), tmp_path / "a")
    carry_out(toy_plan(seeds=1), tmp_path / "whole")
    made, whole = contents(tmp_path / "a"), contents(tmp_path / "whole")
    assert {name for name in whole if name not in made} <= {name for name in whole if name.startswith("folds/")}
    assert made == {name: whole[name] for name in made}  # rows are written when a head is to be trained on them


def test_what_is_damaged_in_the_folder_itself_is_mended_from_another(tmp_path: Path) -> None:
    carry_out(toy_plan(seeds=1), tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for kind, file in (("heads", "head.safetensors"), ("cells", "cell.json")):
        for each in (tmp_path / "a" / kind).iterdir():
            (each / file).write_bytes(b"rust")
    merged = unite(tmp_path / "a", tmp_path / "b")
    assert (len(merged.heads), len(merged.cells), merged.damaged) == (2, 2, [])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_failures_are_kept_for_what_is_done_in_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toy_components import Raises

    grid: dict[str, Any] = {"fusions": ["toy-raises"], "smoothers": ["toy-plain", "toy-grumpy"], "reference": "none"}
    a, b = tmp_path / "a", tmp_path / "b"
    carry_out(toy_plan(**grid, seeds=[0, 1]), a)
    plan = toy_plan(**grid, seeds=[1, 2])
    carry_out(plan, b)
    monkeypatch.setattr(Raises, "fuse", lambda self, views, *_: views[self.main])
    carry_out(toy_plan(**grid, seeds=[1]), b, RunOptions(retry_failed=True))  # seed 2 has still failed in b
    unite(a, b)
    heads = {head.seed: head.id for head in toy_plan(**grid, seeds=3).heads.values()}
    folder = RunFolder(a)
    assert [bool(folder.failure(heads[seed])) for seed in (0, 1, 2)] == [True, False, True]
    assert "gates are shut" in str(folder.failure(heads[2]))
    assert "Traceback" in folder.failure_trace(heads[2])
    assert states(a) == {
        **{(smoother, seed): "failed" for smoother in ("toy-plain", "toy-grumpy") for seed in range(3)},
        ("toy-plain", 1): "done",
    }
    grumpy = {cell["error"] for cell in Results(a).cells() if cell["axes"]["smoother"] == "toy-grumpy"}
    assert len(grumpy) == 2  # seed 1 fails at the smoother, the others at their heads
    assert any("too old for this" in error for error in grumpy)


def test_a_row_of_other_code_is_left_out(tmp_path: Path) -> None:
    class Other(Sum):
        revision = 2

    with registered(FUSIONS, "toy-edited", Sum):
        carry_out(toy_plan(fusions=["toy-edited"], seeds=1), tmp_path / "a")
    with registered(FUSIONS, "toy-edited", Other):
        carry_out(toy_plan(fusions=["toy-edited", "toy-forest"], seeds=[0, 1]), tmp_path / "b")
    own = {cell["id"] for record in grid_of(tmp_path / "a")["rows"] for cell in record["cells"]}
    merged = unite(tmp_path / "a", tmp_path / "b")
    assert merged.left_out == [f"{tmp_path / 'b'}: face,bottom/toy-edited/toy-plain"]
    rows = [(row.axes.fusion, row.seeds) for row in Results(tmp_path / "a").rows]
    assert rows == [("linear", [0, 1]), ("toy-edited", [0]), ("toy-forest", [0, 1])]
    assert own <= {path.name for path in (tmp_path / "a" / "cells").iterdir()}
    assert len(merged.heads) == 1 + 2  # seed 1 of linear, both of the forest; none of the other code


def test_a_score_of_a_head_with_other_bytes_is_made_anew(tmp_path: Path) -> None:
    """Another kind of machine trains the same head to other bits; a score belongs to the head that is kept."""
    plan = toy_plan(seeds=1, reference="none")
    carry_out(plan, tmp_path / "a")
    expected = contents(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a" / "cells")
    (head,) = (tmp_path / "b" / "heads").iterdir()
    files = artifact.read_artifact(head)
    assert files is not None
    nudged = {**files, "test_logits.npy": files["test_logits.npy"][:-1] + bytes([files["test_logits.npy"][-1] ^ 1])}
    artifact.write_artifact(head, nudged)
    merged = unite(tmp_path / "a", tmp_path / "b")
    assert (len(merged.heads), len(merged.cells)) == (0, 0)
    assert merged.unscored == ["face,bottom/toy-sum/toy-plain"]
    carry_out(plan, tmp_path / "a")
    assert contents(tmp_path / "a") == expected
    artifact.write_artifact(head, {**files, "cost.json": b"{}"})  # what it cost does not make it another head
    shutil.rmtree(tmp_path / "a" / "cells")
    assert len(unite(tmp_path / "a", tmp_path / "b").cells) == 1


def test_smoothers_of_embeddings_embed_again_what_must_be_scored_again(tmp_path: Path) -> None:
    class Wide(Plain):
        needs = "embeddings"
        auto = {"share": (0.5, 0.4)}

        def __init__(self, share: float | str = 0.5) -> None:
            self.share = share

        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            assert isinstance(self.share, float)
            return np.tile([self.share, 0.3, 0.2], (len(x), 1))

    with registered(SMOOTHERS, "toy-wide", Wide):
        grid: dict[str, Any] = {"smoothers": ["toy-wide:share=auto"], "reference": "none"}
        carry_out(toy_plan(**grid, seeds=[0]), tmp_path / "a")
        carry_out(toy_plan(**grid, seeds=[1]), tmp_path / "b")
        unite(tmp_path / "a", tmp_path / "b")
        shutil.rmtree(tmp_path / "cache")
        outcome, results = carry_out(toy_plan(**grid, seeds=2), tmp_path / "a")
    assert (outcome.failed, outcome.fitted, outcome.scored) == ({}, 0, 2)
    assert [row.seeds for row in results.rows] == [[0, 1]]


class _KilledError(BaseException):
    """Stands for a SIGKILL: nothing that catches errors catches it."""


@pytest.mark.slow
def test_killed_at_any_write_it_shows_nothing_stale_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(toy_plan(**AUTO, seeds=[0]), tmp_path / "a")
    carry_out(toy_plan(**AUTO, fusions=["toy-sum", "toy-raises"], seeds=[1]), tmp_path / "b")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    merge([tmp_path / "b"], tmp_path / "c")
    expected = everything(tmp_path / "c")
    steps = 0

    def counted(do: Callable[..., Any]) -> Callable[..., Any]:
        def step(*words: Any) -> Any:
            nonlocal steps
            steps -= 1
            if steps < 0:
                raise _KilledError
            return do(*words)

        return step

    for owner, name in (
        (merge_module, "write_artifact"),
        *((RunFolder, name) for name in ("remove_cell", "write_grid", "write_failure", "remove_failure")),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    killed = 0
    while True:
        out = tmp_path / f"killed{killed}"
        shutil.copytree(tmp_path / "a", out)
        steps = killed
        try:
            merge([tmp_path / "b"], out)
        except _KilledError:
            assert shows_nothing_stale(out)
            steps = 1000
            merge([tmp_path / "b"], out)
            assert everything(out) == expected
            killed += 1
        else:
            break
    assert killed > 10
