"""Provenance says with what a grid was run: code, weights, versions, machine, and how the work was shared out."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any, ClassVar

import pytest
from packaging.requirements import Requirement
from toy_components import Colours, registered, toy_house, toy_plan  # noqa: F401

import fusionkit
from fusionkit.grid import provenance as module
from fusionkit.grid.provenance import cpu_model, grid_provenance, provenance
from fusionkit.grid.run import RunOptions
from fusionkit.registry import BACKBONES, EXTRACTORS, FUSIONS
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity, file_digest

pytestmark = pytest.mark.usefixtures("toy_house")


def test_versions_of_whatever_brings_a_component_and_of_all_that_it_needs() -> None:
    found = grid_provenance(toy_plan(fusions=["mlp"], seeds=1), RunOptions())
    lines = map(Requirement, requires("fusionkit") or ())
    needed = [line.name for line in lines if line.marker is None]
    assert {"torch", "timm", "numpy", "scikit-learn"} <= set(needed)
    assert found["versions"] == {name: version(name) for name in sorted(["fusionkit", *needed])}
    assert found["fusionkit"] == fusionkit.__version__
    assert found["python"] == platform.python_version()


def test_a_distribution_of_somebody_elses_brings_those_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_pkg-0.3.dist-info").mkdir()
    needs = ("rich>=1", "no-such-thing; sys_platform == 'win32'", "pytest; extra == 'test'")
    lines = ["Metadata-Version: 2.1", "Name: my_pkg", "Version: 0.3", *(f"Requires-Dist: {need}" for need in needs)]
    (tmp_path / "my_pkg-0.3.dist-info/METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert module._versions(["my_pkg", "nowhere"]) == {"my_pkg": "0.3", "rich": version("rich")}


def test_every_component_is_there_once_with_its_options_revision_and_source() -> None:
    plan = toy_plan(fusions=["toy-sum", "mlp:hidden=8"], smoothers=["toy-plain", "toy-box:width=5"], seeds=2)
    components = grid_provenance(plan, RunOptions())["components"]
    assert [(each["kind"], each["name"]) for each in components] == [
        ("datasets", "toy-blobs"),
        ("backbones", "toy-colours"),
        ("fusions", "linear"),
        ("smoothers", "toy-plain"),
        ("tasks", "expression"),
        ("smoothers", "toy-box"),
        ("extractors", "toy-halves"),
        ("fusions", "toy-sum"),
        ("fusions", "mlp"),
    ]
    by_name = {each["name"]: each for each in components}
    for registry, spec in (
        (FUSIONS, Spec("mlp", {"hidden": 8})),
        (BACKBONES, Spec("toy-colours")),
        (EXTRACTORS, Spec("toy-halves")),
    ):
        identity = component_identity(registry, spec)
        assert {key: by_name[spec.name][key] for key in identity} == identity
    assert by_name["mlp"]["distribution"] == f"fusionkit {version('fusionkit')}"


def test_the_precision_of_each_backbone_is_that_of_its_embeddings() -> None:
    class Rough(Colours):
        def precision(self, device: str) -> str:
            return "bfloat16"

    with registered(BACKBONES, "toy-rough", Rough):
        plan = toy_plan(backbones=["toy-rough", "toy-colours:gain=2.0"], seeds=1)
        found = grid_provenance(plan, RunOptions())["precision"]
    assert found == {"toy-rough": "bfloat16", "toy-colours:gain=2.0": "float32"}


def test_weights_are_named_by_file_and_hash_or_by_their_publisher(tmp_path: Path) -> None:
    class Weighted(Colours):
        files: ClassVar[tuple[str, ...]] = ("checkpoint",)

        def __init__(self, checkpoint: str | None = None) -> None:
            super().__init__(1.0)
            self.checkpoint = checkpoint

        def weights(self) -> str:
            return "" if self.checkpoint else "vit_tiny.in1k"

    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"weights")
    local = f"toy-weighted:checkpoint={file}"
    with registered(BACKBONES, "toy-weighted", Weighted):
        plan = toy_plan(backbones=[local, "toy-weighted", "toy-colours"], seeds=1)
        found = grid_provenance(plan, RunOptions())["weights"]
    assert found == [
        {
            "component": local,
            "option": "checkpoint",
            "file": "mine.safetensors",
            "hash": file_digest(str(file), "x"),
        },
        {"component": "toy-weighted", "published": "vit_tiny.in1k"},
    ]


def test_a_pretrained_model_of_timm_names_its_tag_and_the_hash_of_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from fusionkit_backbones.timm_model import TimmModel

    assert TimmModel("test_vit").weights() == ""
    monkeypatch.setattr(TimmModel, "_build", _unpretrained(TimmModel._build))
    found = [TimmModel("test_vit", pretrained=True, seed=seed) for seed in (0, 0, 1)]
    names, hashes = zip(*(each.weights().split(", sha256 ") for each in found), strict=True)
    assert set(names) == {"test_vit.r160_in1k"}
    assert hashes[0] == hashes[1] != hashes[2]
    assert re.fullmatch("[0-9a-f]{16}", hashes[0])
    found[0].prepare("cpu", "bfloat16")
    assert found[0].weights() == found[1].weights(), "as they were given out, not as they are used"


def _unpretrained(build: Any) -> Any:
    """The model's own way of building, without the published weights, which a test cannot fetch."""

    def built(self: Any) -> Any:
        asked, self.pretrained = self.pretrained, False
        try:
            return build(self)
        finally:
            self.pretrained = asked

    return built


def test_how_the_work_is_shared_out_is_told() -> None:
    found = grid_provenance(toy_plan(seeds=1), RunOptions(executor="processes", workers=3))
    assert (found["executor"], found["workers"], found["threads"]) == ("processes", 3, 1)
    assert grid_provenance(toy_plan(seeds=1), RunOptions())["workers"] == "one per core"


def test_it_is_plain_data_that_a_seal_can_be_put_on() -> None:
    found = grid_provenance(toy_plan(seeds=1), RunOptions())
    assert json.loads(json.dumps(found)) == found


def test_the_processor_is_named_as_the_system_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_model.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "processor : 0\nmodel name\t: Toy CPU @ 1 GHz\n")
    assert cpu_model() == "Toy CPU @ 1 GHz"
    cpu_model.cache_clear()

    def unreadable(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", unreadable)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert cpu_model() == "arm"
    cpu_model.cache_clear()


def test_gpus_are_told_of_where_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert provenance("cpu")["gpu"] is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Toy GPU {index}")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(module, "_output_of", lambda command: "580.1\n580.1" if command[0] == "nvidia-smi" else "")
    assert provenance("cuda:0")["gpu"] == {"models": ["Toy GPU 0", "Toy GPU 1"], "cuda": "13.0", "driver": "580.1"}


def test_a_command_that_is_not_there_or_fails_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert provenance("cpu")["git"] == "", "no checkout"

    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", absent)
    assert provenance("cpu")["git"] == ""
