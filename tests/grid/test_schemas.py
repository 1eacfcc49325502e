"""What a later version of fusionkit has stored is refused in one line, and so is a grid of an earlier one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401
from typer.testing import CliRunner

from fusionkit.cli import app
from fusionkit.errors import DataError
from fusionkit.grid.folder import GRID_SCHEMA, RunFolder
from fusionkit.storage import artifact
from fusionkit.storage.artifact import MARKER, SCHEMA, read_artifact, read_meta, write_artifact
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.identity import digest

pytestmark = pytest.mark.usefixtures("toy_house")

WORDS = (
    *("--dataset", "toy-blobs", "--extractor", "toy-halves", "--backbone", "toy-colours", "--regions", "bottom"),
    *("--fusion", "toy-sum", "--smoother", "toy-plain", "--recipe", "epochs=4,lr=0.05", "--reference", "none"),
    *("--executor", "serial", "--out", "run"),
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    carry_out(toy_plan(seeds=1, reference="none"), tmp_path / "run")
    return tmp_path / "run"


def grid_of(path: Path) -> dict[str, object]:
    grid: dict[str, object] = json.loads((path / "grid.json").read_text(encoding="utf-8"))
    return grid


def sealed(path: Path, schema: int) -> None:
    grid = {**grid_of(path), "schema": schema}
    del grid["seal"]
    (path / "grid.json").write_text(json.dumps({**grid, "seal": digest(grid)}), encoding="utf-8")


def head(path: Path) -> Path:
    return next((path / "heads").iterdir())


def cell(path: Path) -> Path:
    return next((path / "cells").iterdir())


def rows(path: Path) -> Path:
    return next((path / "folds").iterdir())


def shard(path: Path) -> Path:
    return next((cache_folder() / "embeddings").glob("*/00000"))


def test_every_stored_file_says_its_schema(path: Path) -> None:
    for stored in (head(path), cell(path), rows(path), shard(path)):
        assert json.loads((stored / MARKER).read_text(encoding="utf-8"))["schema"] == SCHEMA
    assert grid_of(path)["schema"] == GRID_SCHEMA
    folder = RunFolder(path)
    folder.write_failure("x", "it broke", "")
    assert json.loads((path / "failures" / "x.json").read_text(encoding="utf-8"))["schema"] == SCHEMA


@pytest.mark.slow
@pytest.mark.parametrize("stored", [head, cell, shard])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_later_artefact_is_refused_in_one_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, stored: Callable[[Path], Path], dry: tuple[str, ...]
) -> None:
    target = stored(path)
    files, meta = read_artifact(target), read_meta(target)
    assert files is not None
    monkeypatch.setattr(artifact, "SCHEMA", SCHEMA + 1)
    write_artifact(target, files, meta)
    monkeypatch.undo()
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("FUSIONKIT_CACHE", str(path.parent / "cache"))
    words = WORDS if stored is not shard else (*WORDS, "--fusion", "linear")  # a new head needs the embedding
    result = CliRunner().invoke(app, ["bench", *words, "--seeds", "1", *dry])
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert f"{target.name} was written by a later fusionkit (schema {SCHEMA + 1}; this one reads {SCHEMA})" in lines[0]
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("schema", "other"), [(GRID_SCHEMA + 1, "a later"), (GRID_SCHEMA - 1, "an earlier")])
def test_a_grid_of_another_schema_is_refused_in_one_line(path: Path, schema: int, other: str) -> None:
    sealed(path, schema)
    bench = ["bench", *WORDS, "--seeds", "1"]
    for words in (bench, [*bench, "--dry-run"], ["report", "run"], ["ablate", "run"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2, result.output
        assert f"grid.json was written by {other} fusionkit (schema {schema}; this one reads {GRID_SCHEMA})" in (
            " ".join(result.output.split())
        )
        assert "Traceback" not in result.output


def test_later_notes_tell_nothing_and_harm_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EmbeddingStore(cache_folder())
    before = len(list(store.metas()))
    monkeypatch.setattr(artifact, "SCHEMA", SCHEMA + 1)
    write_artifact(cache_folder() / "embeddings" / ("0" * 16) / "00000", {"values.npy": b""}, {"rows": 0})
    monkeypatch.undo()
    assert len(list(EmbeddingStore(path.parent / "cache").metas())) == before
    with pytest.raises(DataError, match="written by a later fusionkit"):
        EmbeddingStore(path.parent / "cache").has("0" * 16, 0, verify=False)


def test_an_artefact_of_an_earlier_schema_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "SCHEMA", SCHEMA - 1)
    files, meta = read_artifact_now(head(path))
    write_artifact(head(path), files, meta)
    monkeypatch.undo()
    assert json.loads((head(path) / MARKER).read_text(encoding="utf-8"))["schema"] == SCHEMA - 1
    assert read_artifact(head(path)) == files


def read_artifact_now(folder: Path) -> tuple[dict[str, bytes], dict[str, object]]:
    marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    return {name: (folder / name).read_bytes() for name in marker["files"]}, marker["meta"]
