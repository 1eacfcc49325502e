"""A run folder holds the union of its grids, refuses other protocols, and notices damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from toy_components import Blobs, toy_house, toy_plan  # noqa: F401

from fusionkit.engine.fit import Head
from fusionkit.engine.score import Score
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.folder import RunFolder
from fusionkit.storage.record import library_versions

pytestmark = pytest.mark.usefixtures("toy_house")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def head() -> Head:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3)).astype(np.float32)
    logits[1] = np.nan
    return Head(
        state={"fusion.w": rng.normal(size=(3, 2)).astype(np.float32).T, "fusion.n": np.array(3)},
        dev_logits=logits,
        test_logits=logits[::-1].copy(),
        test_complete=np.array([True, False, True, True]),
        params=6,
        gflops=0.5,
        history=[0.1, 0.3],
        best_epoch=2,
        steps=14,
    )


def test_a_head_comes_back_as_it_was(folder: RunFolder) -> None:
    from safetensors.numpy import load_file

    folder.write_head("h", head(), {"seed": 3}, {"fit_seconds": 1.5, "peak_mib": 2.0})
    found = folder.read_logits("h")
    np.testing.assert_array_equal(found.dev, head().dev_logits)
    np.testing.assert_array_equal(found.test, head().test_logits)
    np.testing.assert_array_equal(found.test_complete, head().test_complete)
    trained = {"params": 6, "gflops": 0.5, "history": [0.1, 0.3], "best_epoch": 2, "steps": 14}
    assert found.info == {"seed": 3, **trained, "versions": library_versions()}
    assert folder.head_cost("h") == {"fit_seconds": 1.5, "peak_mib": 2.0}
    state = load_file(folder.path / "heads" / "h" / "head.safetensors")
    for name, value in head().state.items():
        np.testing.assert_array_equal(state[name], value)


def test_a_cell_comes_back_as_it_was(folder: RunFolder) -> None:
    counts = np.arange(18).reshape(2, 3, 3)
    folder.write_cell("c", Score(np.array(["ä", "b"]), counts, {}), {"score": 0.5})
    cell = folder.read_cell("c")
    assert cell is not None
    assert cell.units.tolist() == ["ä", "b"]
    np.testing.assert_array_equal(cell.counts, counts)
    assert cell.info == {"score": 0.5, "versions": library_versions()}
    assert folder.read_cell("d") is None


@pytest.mark.parametrize("name", ["dev_logits.npy", "head.safetensors", "head.json", "cost.json", "done.json"])
@pytest.mark.parametrize("how", ["flipped", "truncated", "gone"])
def test_damage_to_any_file_of_a_head_is_noticed(folder: RunFolder, name: str, how: str) -> None:
    folder.write_head("h", head(), {}, {})
    damage(folder.path / "heads" / "h" / name, how)
    assert not folder.has_head("h")
    if name in ("head.safetensors", "cost.json"):
        np.testing.assert_array_equal(folder.read_logits("h").test, head().test_logits)  # what it does not read
        return
    with pytest.raises(DataError, match=r"heads/h is missing or damaged \(run again"):
        folder.read_logits("h")


@pytest.mark.parametrize("name", ["counts.npz", "cell.json", "done.json"])
@pytest.mark.parametrize("how", ["flipped", "truncated", "gone"])
def test_damage_to_any_file_of_a_cell_is_noticed(folder: RunFolder, name: str, how: str) -> None:
    folder.write_cell("c", Score(np.array(["a"]), np.ones((1, 2, 2), int), {}), {"score": 0.5})
    damage(folder.path / "cells" / "c" / name, how)
    assert folder.read_cell("c") is None


FLIPPED = "flipped"


@pytest.mark.parametrize("how", [FLIPPED, "truncated", "gone"])
def test_a_damaged_fold_is_written_again(folder: RunFolder, how: str) -> None:
    rows = next(iter(toy_plan().heads.values())).fold_data.rows
    folder.write_fold("r", rows)
    damage(folder.path / "folds" / "r" / "train_label.npy", how)
    folder.write_fold("r", rows)
    np.testing.assert_array_equal(folder.read_fold("r").train_label, rows.train_label)


def damage(file: Path, how: str) -> None:
    whole = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[:-1] if how == "truncated" else whole[:-1] + bytes([whole[-1] ^ 1]))


def test_failures_are_kept_with_their_traceback_and_forgotten_on_success(folder: RunFolder) -> None:
    assert folder.failure("h") is None
    folder.write_failure("h", "it broke", "Traceback: here")
    assert folder.failure("h") == "it broke"
    assert (folder.path / "failures" / "h.txt").read_text(encoding="utf-8") == "Traceback: here"
    folder.write_head("h", head(), {}, {})
    assert folder.failure("h") is None
    assert list((folder.path / "failures").iterdir()) == []


def test_grids_of_one_protocol_are_united(folder: RunFolder) -> None:
    folder.add_plan(toy_plan(regions=["top"], seeds=2), {"n": 1})
    folder.add_plan(toy_plan(regions=["bottom"], seeds=[1, 2]), {"n": 2})
    grid = folder.load_grid()
    assert grid is not None
    found = {(row["axes"]["views"], tuple(cell["seed"] for cell in row["cells"])) for row in grid["rows"]}
    assert found == {("face", (0, 1, 2)), ("face,top", (0, 1)), ("face,bottom", (1, 2))}
    assert [item["provenance"] for item in grid["grids"]] == [{"n": 1}, {"n": 2}]


def test_the_same_grid_again_changes_nothing_but_provenance(folder: RunFolder) -> None:
    folder.add_plan(toy_plan(), {"n": 1})
    before = folder.load_grid()
    folder.add_plan(toy_plan(), {"n": 2})
    after = folder.load_grid()
    assert before is not None
    assert after is not None
    assert {**after, "grids": 0} == {**before, "grids": 0}
    assert [item["provenance"] for item in after["grids"]] == [{"n": 2}]


def test_another_protocol_is_refused_in_words_and_the_folder_left_alone(folder: RunFolder) -> None:
    folder.add_plan(toy_plan(), {})
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(
        ConfigError,
        match=r"run holds results of other data or another split: toy-blobs, split auto, "
        r"not toy-blobs, split holdout \(choose another --out\)",
    ):
        folder.add_plan(toy_plan(split="holdout"), {})
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_data_that_changed_in_their_place_are_told_from_other_data(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.add_plan(toy_plan(), {})
    monkeypatch.setattr(Blobs, "content", lambda _: "retouched")
    with pytest.raises(
        ConfigError, match=r"split: toy-blobs, split auto, whose files or code have changed since \(choose"
    ):
        folder.check(toy_plan())


def test_a_new_folder_has_no_grid(folder: RunFolder) -> None:
    assert folder.load_grid() is None
    assert not folder.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"a": 1}'])
def test_a_broken_grid_file_is_one_clear_error(folder: RunFolder, text: str) -> None:
    folder.path.mkdir()
    (folder.path / "grid.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"grid\.json is not a grid of fusionkit"):
        folder.load_grid()


def test_a_grid_of_a_later_version_is_refused(folder: RunFolder) -> None:
    folder.path.mkdir()
    (folder.path / "grid.json").write_text(json.dumps({"schema": 99}), encoding="utf-8")
    with pytest.raises(DataError, match="written by a later fusionkit"):
        folder.load_grid()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="cannot be written"):
            RunFolder(path).add_plan(toy_plan(), {})
