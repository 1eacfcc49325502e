"""A dry run says what would be done and what stands ready, and does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_components import Blobs, carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.engine.embeddings import EmbeddingStore, cache_folder
from fusionkit.grid.folder import RunFolder
from fusionkit.report.plan_table import plan_lines

pytestmark = pytest.mark.usefixtures("toy_house")


def lines(tmp_path: Path, **changes: object) -> list[str]:
    return list(plan_lines(toy_plan(**changes), RunFolder(tmp_path / "run"), EmbeddingStore(cache_folder())))


def test_a_new_grid_is_all_to_do_and_nothing_is_written(tmp_path: Path) -> None:
    said = lines(tmp_path)
    assert "embed face by toy-colours, 320 frames of toy-blobs: to do: 1 of 1 shards missing" in said
    assert "embed bottom by toy-colours, 320 frames of toy-blobs: to do: 1 of 1 shards missing" in said
    assert "fit face/linear/0: to do" in said
    assert "fit face,bottom/toy-sum/1: to do" in said
    assert "fit: 4 of 4 heads to train" in said
    assert "score: 4 of 4 cells to smooth and score, in 2 rows" in said
    assert Blobs.reads == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_said_to_be(tmp_path: Path) -> None:
    carry_out(toy_plan(), tmp_path / "run")
    said = lines(tmp_path, seeds=3)
    assert "embed face by toy-colours, 320 frames of toy-blobs: done" in said
    assert "fit: 2 of 6 heads to train" in said
    assert [line for line in said if line.startswith("fit face")] == [
        "fit face/linear/2: to do",
        "fit face,bottom/toy-sum/2: to do",
    ]
    assert "score: 2 of 6 cells to smooth and score, in 2 rows" in said


def test_an_earlier_failure_is_shown(tmp_path: Path) -> None:
    carry_out(toy_plan(fusions=["toy-raises"], seeds=1), tmp_path / "run")
    (line,) = [line for line in lines(tmp_path, fusions=["toy-raises"], seeds=1) if "toy-raises/0" in line]
    assert "failed before: fusion Raises" in line
