"""Rows whose results were computed by different versions of libraries are named, on the page and in a dry run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.grid.folder import RunFolder
from fusionkit.grid.results import RunResults
from fusionkit.grid.run import RunOptions
from fusionkit.report.page.write import write_report
from fusionkit.report.plan_lines import plan_lines
from fusionkit.report.table import warnings
from fusionkit.storage import record
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore

pytestmark = pytest.mark.usefixtures("toy_house")

OLD, NEW = {"torch": "2.13.0", "numpy": "2.2"}, {"torch": "2.14.1", "numpy": "2.2"}
ROW, REFERENCE = "face,bottom / toy-sum", "face / linear"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    def install(versions: dict[str, str]) -> None:
        monkeypatch.setattr(record, "_version", lambda name: versions.get(name, ""))
        record.library_versions.cache_clear()

    yield install
    record.library_versions.cache_clear()


def planned(path: Path, **changes: object) -> list[str]:
    lines = plan_lines(toy_plan(**changes), RunFolder(path), EmbeddingStore(cache_folder()), RunOptions())
    return [line.removeprefix("warning: ") for line in lines if " with torch" in line or " with numpy" in line]


def shown(path: Path) -> list[str]:
    return [line for line in warnings(RunResults(path)) if " with torch" in line or " with numpy" in line]


def test_versions_that_decide_results_are_stored_with_each_of_them(
    tmp_path: Path, installed: Callable[[dict[str, str]], None]
) -> None:
    installed(OLD)
    carry_out(toy_plan(), tmp_path / "run")
    folder, store = RunFolder(tmp_path / "run"), EmbeddingStore(cache_folder())
    heads = list(folder.infos("heads"))
    assert [head["versions"] for head in heads] == [OLD] * 4
    assert [head["embedding_versions"] for head in heads] == [[OLD]] * 4
    assert [cell["versions"] for cell in folder.infos("cells")] == [OLD] * 4
    assert [store.versions(key.name) for key in (cache_folder() / "embeddings").iterdir()] == [[OLD]] * 2
    assert shown(tmp_path / "run") == planned(tmp_path / "run") == []


def test_the_real_versions_are_those_that_are_installed() -> None:
    import cv2
    import numpy as np
    import scipy
    import sklearn
    import timm
    import torch

    record.library_versions.cache_clear()
    found = record.library_versions()
    modules = {"torch": torch, "timm": timm, "numpy": np, "scipy": scipy, "scikit-learn": sklearn, "opencv": cv2}
    for name, module in modules.items():
        version, own = found[name].partition("+")[0], str(module.__version__).partition("+")[0]
        assert version.startswith(own) or own.startswith(version), name


def test_another_version_changes_no_identity(tmp_path: Path, installed: Callable[[dict[str, str]], None]) -> None:
    installed(OLD)
    first = toy_plan()
    carry_out(first, tmp_path / "run")
    installed(NEW)
    outcome, _ = carry_out(toy_plan(), tmp_path / "run")
    assert (outcome.embedded, outcome.fitted, outcome.scored) == (0, 0, 0)
    assert [row.id for row in toy_plan().rows] == [row.id for row in first.rows]


@pytest.mark.slow
def test_a_row_that_mixes_versions_is_named_before_and_after_the_run(
    tmp_path: Path, installed: Callable[[dict[str, str]], None]
) -> None:
    installed(OLD)
    carry_out(toy_plan(), tmp_path / "run")
    installed(NEW)
    both = f"rows {REFERENCE}, {ROW}"
    expected = [
        f"heads trained with torch 2.13.0 ({both}) and torch 2.14.1 ({both})",
        f"cells scored with torch 2.13.0 ({both}) and torch 2.14.1 ({both})",
    ]
    assert sorted(planned(tmp_path / "run", seeds=3)) == sorted(expected)
    assert planned(tmp_path / "run") == []
    _, results = carry_out(toy_plan(seeds=3), tmp_path / "run")
    assert sorted(shown(tmp_path / "run")) == sorted(expected)
    assert expected[0] in write_report(results).read_text(encoding="utf-8")


def test_rows_of_different_versions_are_named(tmp_path: Path, installed: Callable[[dict[str, str]], None]) -> None:
    installed(OLD)
    carry_out(toy_plan(reference="none"), tmp_path / "run")
    installed(NEW)
    expected = f"heads trained with torch 2.13.0 (row {ROW}) and torch 2.14.1 (row {REFERENCE})"
    assert expected in planned(tmp_path / "run")
    carry_out(toy_plan(), tmp_path / "run")
    assert expected in shown(tmp_path / "run")


@pytest.mark.slow
def test_embeddings_of_an_older_version_are_named_though_the_cache_was_pruned(
    tmp_path: Path, installed: Callable[[dict[str, str]], None]
) -> None:
    installed(OLD)
    carry_out(toy_plan(regions=["bottom"]), tmp_path / "first")
    installed(NEW)
    plan = {"regions": ["bottom", "top"], "reference": "none", "main": "none"}
    expected = "views embedded with torch 2.13.0 (row bottom) and torch 2.14.1 (row top)"
    assert expected in planned(tmp_path / "run", **plan)
    carry_out(toy_plan(**plan), tmp_path / "run")
    shutil.rmtree(cache_folder())
    assert [line for line in shown(tmp_path / "run") if line.startswith("views")] == [expected]
    assert [line for line in planned(tmp_path / "run", **plan) if line.startswith("views")] == [expected]


def test_a_library_that_one_of_them_lacks_is_left_out(
    tmp_path: Path, installed: Callable[[dict[str, str]], None]
) -> None:
    installed(OLD)
    carry_out(toy_plan(), tmp_path / "run")
    installed({"torch": "2.13.0", "numpy": "2.4", "scipy": "1.15"})
    lines = planned(tmp_path / "run", seeds=3)
    assert lines
    assert all("numpy 2.2" in line and "numpy 2.4" in line and "scipy" not in line for line in lines)
