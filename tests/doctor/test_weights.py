"""Weights are searched in the caches of the libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionkit.doctor.components import weights
from fusionkit.doctor.environment import Finding


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def found() -> dict[str, Finding]:
    return {finding.name: finding for finding in weights()}


def test_an_empty_home_has_absent_weights_and_nothing_broken() -> None:
    assert {finding.state for finding in found().values()} == {"absent"}


def test_models_of_the_hub_are_listed_in_any_hub_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "hf" / "hub" / "models--timm--resnet18.a1_in1k").mkdir(parents=True)
    monkeypatch.setenv("HF_HOME", str(home / "hf"))
    assert "timm/resnet18.a1_in1k" in found()["Hugging Face hub"].value


def test_a_model_pack_is_listed_once(home: Path) -> None:
    for path in ("buffalo_l/det_10g.onnx", "buffalo_l/2d106det.onnx", "antelope/antelope/det.onnx", "empty/readme.txt"):
        file = home / ".insightface" / "models" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert found()["insightface packs"].value.startswith("antelope, buffalo_l in ")
