"""Registries: names without imports, one broken plugin alone, clashes and strangers refused."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fusionkit.config.grid_config import resolve
from fusionkit.contracts import Smoother
from fusionkit.errors import ConfigError, PluginError
from fusionkit.registry import (
    BACKBONES,
    DATASETS,
    FUSIONS,
    REGISTRIES,
    SMOOTHERS,
    ComponentRegistry,
    did_you_mean,
    did_you_mean_path,
    kebab,
)
from fusionkit.registry.spec import Spec

CONTRACT = "Smoother"


class Still(Smoother):
    """Leaves everything as it is."""

    def __init__(self, width: int = 3, mode: str = "mean") -> None:
        if width < 0:
            raise ConfigError(f"width={width} is below 0")
        if width == 13:
            raise RuntimeError("thirteen\nis unlucky")
        self.width = width

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return x


class Other(Still):
    """Another one."""


class Abstract(Smoother):
    """Lacks its method."""


INSTANCE = Still()


class Brought(NamedTuple):
    """Stands for a distribution."""

    name: str
    version: str


def entry(name: str, value: str, dist: str = "their-package") -> EntryPoint:
    point = EntryPoint(name, value, "fusionkit.smoothers")
    return point._for(Brought(dist, "1.2"))  # type: ignore[arg-type]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A registry of smoothers that sees the entry points it is given, and no others."""

    def make(*points: EntryPoint) -> ComponentRegistry:
        monkeypatch.setattr("fusionkit.registry.registries.installed_entry_points", lambda: EntryPoints(points))
        return ComponentRegistry("smoother", CONTRACT)

    return make


def loaded_after(*words: str) -> set[str]:
    code = f"""
        import json, sys
        sys.argv = ["fusionkit", *{list(words)!r}]
        from fusionkit.cli import main
        try:
            main()
        except SystemExit as stop:
            assert not stop.code, stop.code
        print("\\n" + json.dumps(sorted(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("words", [("--help",), ("bench", "--help"), ("list",), ("list", "fusions", "plain-*")])
@pytest.mark.slow
def test_help_and_lists_import_nothing_heavy(words: Sequence[str]) -> None:
    loaded = loaded_after(*words)
    assert "typer" in loaded
    heavy = {"torch", "mmengine", "timm", "cv2", "numpy", "sklearn", "scipy", "safetensors", "yaml"}
    assert not loaded & (heavy | {"fusionkit_emotic", "fusionkit_datasets"})


@pytest.mark.slow
def test_importing_the_registry_and_option_types_is_light() -> None:
    script = "import sys, fusionkit.registry, fusionkit.contracts.option_types\nprint(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(found.stdout.split()) & {"torch", "mmengine", "numpy", "cv2", "sklearn", "scipy"}


def test_first_party_components_are_listed_with_their_distribution() -> None:
    assert set(REGISTRIES) == {"datasets", "tasks", "extractors", "backbones", "fusions", "smoothers"}
    for kind, names in {"datasets": {"folder", "synthetic"}, "smoothers": {"none", "window"}}.items():
        origins = REGISTRIES[kind].origins()
        assert names <= set(origins)
        assert list(origins) == sorted(origins)
        assert all(origin.provider.startswith("fusionkit ") for name in names for origin in origins[name])


def test_every_first_party_component_can_be_imported_and_has_a_summary() -> None:
    for registry in REGISTRIES.values():
        for name in registry.names():
            assert (registry.get(name).__doc__ or "").strip(), name


def test_a_broken_plugin_breaks_itself_alone_and_shows_its_cause(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin_a.py").write_text("import a_library_that_is_not_there\n", encoding="utf-8")
    (tmp_path / "broken_plugin_b.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry(
        entry("bad", "broken_plugin_a:Bad"),
        entry("gone", "broken_plugin_c:Gone"),
        entry("good", f"{__name__}:Still"),
        entry("leaves", "broken_plugin_b:Leaves"),
        entry("lacking", f"{__name__}:Nothing"),
    )
    assert found.names() == ["bad", "gone", "good", "lacking", "leaves"]
    assert "broken_plugin_a" not in sys.modules
    assert found.get("good") is Still
    for name, cause in {
        "bad": "ModuleNotFoundError: No module named 'a_library_that_is_not_there'",
        "gone": "No module named 'broken_plugin_c'",
        "leaves": "SystemExit: 0",
        "lacking": "has no attribute 'Nothing'",
    }.items():
        with pytest.raises(PluginError) as refused:
            found.get(name)
        assert f"smoother '{name}' from their-package 1.2 cannot be imported" in str(refused.value)
        assert cause in str(refused.value)
        assert "\n" not in str(refused.value)
        assert refused.value.__cause__ is not None
    assert found.problems(Spec("bad"))[0].startswith("smoother 'bad' from their-package 1.2 cannot be imported")


def test_two_distributions_with_one_name_are_refused_naming_both(registry: Any) -> None:
    found = registry(entry("still", f"{__name__}:Still", "one"), entry("still", f"{__name__}:Other", "two"))
    with pytest.raises(PluginError, match=r"registered twice: .*:Still \(one 1.2\) and .*:Other \(two 1.2\)"):
        found.get("still")
    assert [origin.provider for origin in found.origins()["still"]] == ["one 1.2", "two 1.2"]


def test_a_distribution_that_appears_twice_counts_once(registry: Any) -> None:
    found = registry(entry("still", f"{__name__}:Still"), entry("still", f"{__name__}:Still"))
    assert found.get("still") is Still


@pytest.mark.parametrize(("name", "what"), [("stranger", "dict"), ("instance", "INSTANCE"), ("function", "entry")])
def test_a_class_without_the_contract_is_refused(registry: Any, name: str, what: str) -> None:
    found = registry(entry(name, "builtins:dict" if what == "dict" else f"{__name__}:{what}"))
    with pytest.raises(PluginError, match=f"smoother '{name}' must be a subclass of Smoother"):
        found.get(name)


@pytest.mark.parametrize("name", ["os.system", "fusionkit_emotic.window.Window", "."])
def test_a_dotted_type_is_never_resolved(name: str) -> None:
    for registry in REGISTRIES.values():
        with pytest.raises(ConfigError, match="dotted path"):
            registry.get(name)


def test_an_unknown_name_brings_the_nearest_and_all(registry: Any) -> None:
    found = registry(entry("still", f"{__name__}:Still"), entry("other", f"{__name__}:Other"))
    with pytest.raises(ConfigError) as refused:
        found.get("stil")
    assert str(refused.value) == "unknown smoother 'stil' (did you mean 'still'?); known: other, still"
    with pytest.raises(ConfigError, match="unknown smoother 'x'; known: none"):
        registry().get("x")


def test_building_checks_options_and_puts_other_errors_on_one_line(registry: Any) -> None:
    found = registry(entry("still", f"{__name__}:Still"), entry("abstract", f"{__name__}:Abstract"))
    assert found.build(Spec("still", {"width": 5})).width == 5
    with pytest.raises(ConfigError) as wrong:
        found.build(Spec("still", {"widht": 5, "mode": []}))
    assert wrong.value.problems == [
        "smoother 'still': unknown option 'widht' (did you mean 'width'?)",
        "smoother 'still': option mode = [] must be str",
    ]
    with pytest.raises(ConfigError, match=r"^width=-1 is below 0$"):
        found.build(Spec("still", {"width": -1}))
    with pytest.raises(
        PluginError, match=r"smoother still:width=13 cannot be built: RuntimeError: thirteen is unlucky"
    ):
        found.build(Spec("still", {"width": 13}))
    with pytest.raises(PluginError, match="smoother abstract cannot be built: TypeError"):
        found.build(Spec("abstract"))


@pytest.mark.parametrize(
    ("name", "written"),
    [("GatedSum", "gated-sum"), ("MLP", "mlp"), ("MLPFusion", "mlp-fusion"), ("Top2Of", "top2-of"), ("a_b", "a_b")],
)
def test_class_names_become_kebab_case(name: str, written: str) -> None:
    assert kebab(name) == written


def test_did_you_mean_takes_any_key() -> None:
    assert did_you_mean("seedz", ["seeds"]) == " (did you mean 'seeds'?)"
    assert did_you_mean(3, ["seeds"]) == ""
    assert SMOOTHERS.group == "fusionkit.smoothers"


@pytest.mark.parametrize(
    ("registry", "text", "spec"),
    [
        (BACKBONES, "timm:resnet18", "timm:model=resnet18"),
        (DATASETS, "folder:My faces", 'folder:root="My faces"'),
        (SMOOTHERS, "window:25", "window:width=25"),
    ],
)
def test_a_value_without_the_name_of_its_option_is_answered_with_the_spec(
    registry: ComponentRegistry, text: str, spec: str
) -> None:
    with pytest.raises(ConfigError, match="has no name of an option") as refused:
        registry.spec(text)
    assert refused.value.hint == f"such as {spec}"


def test_the_name_of_a_model_is_answered_with_the_backbone_that_takes_it() -> None:
    (problem,) = BACKBONES.problems(Spec("resnet18"))
    assert problem.endswith("(a model of timm is written timm:model=resnet18)")
    (problem,) = BACKBONES.problems(Spec("hogg"))
    assert "did you mean 'hog'" in problem
    assert "timm:model" not in problem


@pytest.mark.parametrize(
    ("missing", "near"),
    [
        ("my_faces", "My Faces 2026"),
        ("sub/label.csv", "sub/labels.csv"),
        ("grid.yml", "grid.yaml"),
        ("nope.yaml", ""),  # suffixes alone are not similar
        ("none/labels.csv", ""),
        ("hidde", ""),
        ("a\0b", ""),
        ("~nobody-of-this-name/grid.yaml", ""),
        ("~nobody-of-this-name", ""),
        ("", ""),
        ("..", ""),
    ],
)
def test_a_missing_path_is_answered_with_the_nearest_beside_it(
    missing: str, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("My Faces 2026", "sub"):
        (tmp_path / folder).mkdir()
    for file in ("sub/labels.csv", "grid.yaml", "e.yaml", ".hidden"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    assert did_you_mean_path(missing) == (f" (did you mean {near!r}?)" if near else "")


@pytest.mark.parametrize("path", ["faces", "./faces", "faces/", "deep/er faces"])
def test_a_folder_in_place_of_a_data_set_is_answered_with_its_spec(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / path).mkdir(parents=True)
    with pytest.raises(ConfigError) as refused:
        DATASETS.spec(path)
    written = refused.value.hint.removeprefix("write ")
    assert Spec.parse(written) == Spec("folder", {"root": path})
    with pytest.raises(ConfigError, match="is a folder, not a dataset"):
        DATASETS.build(path)
    with pytest.raises(ConfigError, match=r"^datasets: .* is a folder, not a dataset \(write folder:root="):
        resolve({"datasets": [path]}, "x")


@pytest.mark.parametrize(
    ("registry", "key", "path", "spec"),
    [
        (DATASETS, "datasets", "labels.csv", "csv:path=labels.csv"),
        (DATASETS, "datasets", "arrays.npz", "embeddings:path=arrays.npz"),
        (DATASETS, "datasets", "./faces.parquet", "hub:path=./faces.parquet"),
        (BACKBONES, "backbones", "./enet_b0_8.onnx", "onnx:model=./enet_b0_8.onnx"),
        (BACKBONES, "backbones", "weights.safetensors", "timm:checkpoint=weights.safetensors"),
    ],
)
def test_a_file_in_place_of_a_component_is_answered_with_its_spec(
    registry: ComponentRegistry, key: str, path: str, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / path).touch()
    with pytest.raises(ConfigError, match=rf"^{key}: '{path}' is a file, not a {registry.kind} \(write {spec}\)$"):
        resolve({key: [path]}, "x")
    (tmp_path / path).unlink()
    with pytest.raises(ConfigError, match=rf"^{key}: .*is a dotted path"):
        resolve({key: [path]}, "x")


def test_a_data_set_goes_before_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synthetic").mkdir()
    (tmp_path / "mlp").mkdir()
    assert DATASETS.spec("synthetic") == Spec("synthetic")
    assert FUSIONS.spec("mlp") == Spec("mlp")


def test_a_component_without_options_takes_none() -> None:
    (problem,) = SMOOTHERS.problems(Spec("none", {"x": 1}))
    assert problem == "smoother 'none': unknown option 'x' (known options: none)"
