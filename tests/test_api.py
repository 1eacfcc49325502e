"""The Python interface: grids from keys or files, refusals before anything is written, devices, provenance."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from toy_components import toy_grid, toy_house  # noqa: F401

import fusionkit
from fusionkit import api
from fusionkit.api import bench, choose_device, default_folder, execute, prepare
from fusionkit.errors import CellError, ConfigError, FusionKitError
from fusionkit.grid.run import RunOptions

pytestmark = pytest.mark.usefixtures("toy_house")

KEYS: dict[str, Any] = {
    "datasets": ["toy-blobs"],
    "extractor": "toy-halves",
    "backbones": ["toy-colours"],
    "main": "face",
    "regions": ["bottom"],
    "fusions": ["toy-sum"],
    "smoothers": ["toy-plain"],
    "recipe": {"epochs": 2},
    "seeds": 2,
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(KEYS), encoding="utf-8")
    return str(file)


def test_public_names_are_listed_and_can_be_imported() -> None:
    calls, modules = {"Predictor", "Results", "bench", "from_arrays", "load"}, {"api", "contracts", "errors"}
    assert set(dir(fusionkit)) == {*calls, *modules, "__version__", "registry", "testing"}
    assert calls <= set(dir(api))
    for name in modules:
        assert getattr(fusionkit, name) is import_module(f"fusionkit.{name}")
    for module in (fusionkit, api):
        for name in dir(module):
            assert getattr(module, name).__doc__ or name.isupper(), name
        with pytest.raises(AttributeError, match="'nothing'"):
            _ = module.nothing


@pytest.mark.slow
def test_bench_runs_a_grid_and_writes_its_files(config: str, tmp_path: Path) -> None:
    results = bench(config, out=tmp_path / "out")
    assert isinstance(results, fusionkit.Results)
    assert [row.axes.views for row in results.rows] == ["face", "face,bottom"]
    assert all(row.score for row in results.rows)
    assert list(map(str, results.table().columns[0].cells)) == ["face", "face,bottom"]
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "results.csv",
        "cells.csv",
        "costs.csv",
        "grid.json",
        "cells",
    }


@pytest.mark.slow
def test_keys_override_those_of_the_file(config: str, tmp_path: Path) -> None:
    results = fusionkit.bench(config, out=tmp_path / "out", regions=["top"], seeds=1)
    assert [(row.axes.views, row.seeds) for row in results.rows] == [("face", [0]), ("face,top", [0])]


def test_every_config_key_is_an_argument_and_none_leaves_the_config_as_it_is(config: str, tmp_path: Path) -> None:
    from fusionkit.config.keys import DEFAULTS

    keywords = inspect.signature(bench).parameters
    assert set(DEFAULTS["bench"]) - {"custom_imports"} <= set(keywords), "custom_imports is for files"
    assert {field.name for field in fields(RunOptions)} <= set(keywords)
    assert {field.name: field.default for field in fields(RunOptions) if field.name != "device"}.items() <= {
        name: each.default for name, each in keywords.items()
    }.items()
    with pytest.raises(TypeError, match="smothers"):
        bench(config, out=tmp_path / "out", smothers=["x"])  # type: ignore[call-arg]


def test_subsets_replace_the_region_sets_of_the_config(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(api, "execute", lambda prepared: asked.append(prepared.plan.grid.regions) or 1 / 0)
    for given in ({"subsets": "top,bottom"}, {"subsets": "top", "regions": ["bottom"]}):
        with pytest.raises(ZeroDivisionError):
            bench(config, **given)  # type: ignore[arg-type]
    assert [sorted(",".join(map(str, each)) for each in regions) for regions in asked] == [
        ["bottom", "top", "top,bottom"],
        ["bottom", "top"],
    ]


def test_wrong_run_options_are_refused_together(config: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bench(config, executor="proceses", workers=-1, cell_timeout=0, memory=1.5, fail_fast="yes")  # type: ignore[arg-type]
    assert caught.value.problems == [
        "option executor = 'proceses' must be one of: serial, processes, ray (did you mean 'processes'?)",
        "option workers = -1 must be at least 0 and at most 1024",
        "option cell_timeout = 0 must be above 0",
        "option fail_fast = 'yes' must be bool (write true)",
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fusionkit.Results("nowhere", "boot"), "test = 'boot' must be one of: crossed, bootstrap, permutation"),
        (lambda: api.report("nowhere", form="word"), "form = 'word' must be one of: html, latex"),
        (lambda: api.align(["a.png"], detector="yunet", people="big"), "people = 'big' must be one of: all, largest"),
        (lambda: api.predict("nowhere", "x", ["a.png"], people="big"), "people = 'big' must be one of: all, largest"),
        (lambda: api.write_views("synthetic", "eye", "x", form="gif"), "form = 'gif' must be one of: same, jpg, png"),
    ],
)
def test_a_word_that_is_none_of_the_choices_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        call()


def test_a_single_text_is_one_value_and_not_its_letters(config: str, tmp_path: Path) -> None:
    assert {head.recipe.epochs for head in prepare(config, settings="recipe.epochs=7").plan.heads.values()} == {7}
    nowhere = str(tmp_path / "xyz")
    calls: list[Callable[[], object]] = [
        lambda: bench(config, plugins=f"{nowhere}.py"),  # type: ignore[arg-type]
        lambda: api.describe("mlp", plugins=f"{nowhere}.py"),
        lambda: api.merge(nowhere, tmp_path / "out"),
        lambda: api.preview(inputs=nowhere),
        lambda: api.predict(tmp_path, "mlp", nowhere),
        lambda: api.check_components("xyz"),
    ]
    for call in calls:
        with pytest.raises(FusionKitError, match="xyz") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_settings_reach_into_the_file(config: str) -> None:
    plan = prepare(config, settings=["recipe.epochs=7", "seeds=3"]).plan
    assert {head.recipe.epochs for head in plan.heads.values()} == {7}
    assert {head.seed for head in plan.heads.values()} == {0, 1, 2}


def test_the_folder_is_named_after_config_and_contents(config: str) -> None:
    grid = toy_grid()
    assert default_folder(grid) == Path("runs") / f"toy-{grid.digest()[:8]}"
    one, other = prepare(config), prepare(config, overrides={"seeds": 3})
    assert one.folder.path != other.folder.path
    assert one.folder.path.name.startswith("mine-")
    assert prepare(config).folder.path == one.folder.path


def test_preparing_writes_nothing(config: str, tmp_path: Path) -> None:
    prepare(config, out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json"]


def test_every_mistake_is_reported_and_nothing_is_written(config: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        bench(config, out=tmp_path / "out", fusions=["toy-summ"], regions=["botom"], seeds=0, impute="last")  # type: ignore[arg-type]
    text = "\n".join(caught.value.problems)
    for word in ("toy-summ", "toy-sum", "seeds", "impute"):
        assert word in text
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_folder_of_another_protocol_is_refused_and_left_as_it_was(config: str, tmp_path: Path) -> None:
    bench(config, out=tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="holdout"):
        bench(config, out=tmp_path / "out", split="holdout")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_if_every_cell_failed_the_call_fails(config: str, tmp_path: Path) -> None:
    with pytest.raises(CellError, match=r"every cell failed.* face,bottom/toy-raises/toy-plain/0.*Raises"):
        bench(config, out=tmp_path / "out", fusions=["toy-raises"], reference="none")
    results = bench(config, out=tmp_path / "other", fusions=["toy-raises"])
    assert [row.score is None for row in results.rows] == [False, True]


@pytest.mark.slow
def test_options_do_not_change_results(config: str, tmp_path: Path) -> None:
    for name, options in (("a", {}), ("b", {"workers": 1, "retry_failed": True})):
        execute(prepare(config, out=tmp_path / name, **options))  # type: ignore[arg-type]
    assert (tmp_path / "a" / "results.csv").read_bytes() == (tmp_path / "b" / "results.csv").read_bytes()


def test_devices_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="'gpu'"):
        choose_device("gpu")
    with pytest.raises(ConfigError, match=r"'cuda:1' .* 0 CUDA"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == "cuda:0"
    assert choose_device("cuda") == "cuda"
    assert choose_device("cuda:1") == "cuda:1"
    with pytest.raises(ConfigError, match="'cuda:2'"):
        choose_device("cuda:2")


@pytest.mark.slow
def test_provenance_has_versions_device_and_components(config: str, tmp_path: Path) -> None:
    import numpy as np

    bench(config, out=tmp_path / "out", device="cpu")
    grid = json.loads((tmp_path / "out" / "grid.json").read_text(encoding="utf-8"))
    (item,) = grid["grids"]
    assert item["description"]["regions"] == ["bottom"]
    found = item["provenance"]
    assert found["fusionkit"] == fusionkit.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert (found["device"], found["executor"]) == ("cpu", "serial")
    assert "toy-colours" in [each["name"] for each in found["components"]]
