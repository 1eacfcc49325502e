"""Cores, memory and devices."""

from __future__ import annotations

import importlib
import os
from types import SimpleNamespace

import pytest
import torch

from fusionkit.doctor import environment as module
from fusionkit.doctor.environment import Finding


def found() -> dict[str, Finding]:
    return {finding.name: finding for finding in module.machine()}


def test_cores_that_are_not_usable_give_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4, 5}, raising=False)
    assert found()["cores"] == Finding(
        "machine", "cores", "3 of 64 may be used", "warning", "fusionkit bench --workers 3"
    )


@pytest.mark.parametrize(("room", "state"), [(2 * 2**30, "warning"), (8 * 2**30, "ok")])
def test_little_memory_gives_a_warning(room: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: room)
    assert found()["memory"].state == state


def test_a_library_that_cannot_be_imported_is_broken_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without_gl(name: str) -> object:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(module.importlib, "import_module", without_gl)
    finding = found()["import cv2"]
    assert finding.state == "broken"
    assert "libGL.so.1" in finding.value
    assert "opencv-python-headless" in finding.advice


@pytest.mark.parametrize("flag", [True, False])
def test_bfloat16_support_of_the_processor_is_reported(flag: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": flag})
    assert ("emulated" in found()["device cpu"].value) is not flag


def test_each_gpu_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(name="Card 9", total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    listed = found()
    assert listed["device cuda:1"].value == "Card 9, 24 GiB, float32, bfloat16"
    assert "device cuda" not in listed


def test_an_environment_variable_that_hides_gpus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES" in found()["device cuda"].advice


@pytest.mark.parametrize(
    ("cuda", "hip", "mps", "value"),
    [
        ("13.0", None, False, "CUDA 13.0"),
        (None, "7.1", False, "ROCm 7.1"),
        (None, None, False, "CPU"),
        (None, None, True, "CPU and MPS"),
    ],
)
def test_the_build_of_torch_is_named_and_only_its_devices_are_missed(
    cuda: str | None, hip: str | None, mps: bool, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: mps)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    listed = found()
    assert listed["torch build"] == Finding("machine", "torch build", value)
    assert ("device mps" in listed) is mps
    assert ("device cuda" in listed) is (cuda is not None)


def test_torchvision_of_another_build_than_torch_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def mixed(name: str) -> object:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name)

    monkeypatch.setattr(module.importlib, "import_module", mixed)
    finding = found()["import torchvision"]
    assert finding.state == "broken"
    assert "both for the CPU" in finding.advice
