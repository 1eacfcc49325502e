"""Every plugin is imported; a broken one is reported with cause and distribution."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import NamedTuple

import numpy as np
import pytest

from fusionkit.contracts import Smoother
from fusionkit.doctor.components import plugins
from fusionkit.doctor.environment import Finding
from fusionkit.registry import SMOOTHERS


class Dist(NamedTuple):
    """The attributes of a distribution that a registry reads."""

    name: str
    version: str


class Weighty(Smoother):
    """Requires a file."""

    files = ("weights",)

    def __init__(self, weights: str, width: int = 3) -> None:
        self.weights = weights

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return x


def found() -> dict[str, Finding]:
    return {finding.name: finding for finding in plugins()}


def test_first_party_components_are_counted_and_none_is_broken() -> None:
    listed = found()
    own = next(finding for name, finding in listed.items() if name.startswith("fusionkit "))
    assert f"smoothers: {len(SMOOTHERS.names())}" in own.value
    assert not [finding for finding in listed.values() if finding.state == "broken"]


def test_a_broken_plugin_is_named_with_its_cause_and_its_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("bad", "not_there_at_all:Bad", "fusionkit.smoothers")
    vars(point)["dist"] = Dist("their-package", "1.2")
    monkeypatch.setattr(SMOOTHERS, "_entry_points", {"bad": [point]})
    monkeypatch.setattr(SMOOTHERS, "_declared", {})
    SMOOTHERS.__dict__.pop("_declared", None)
    finding = found()["smoother bad"]
    assert finding.state == "broken"
    assert "No module named 'not_there_at_all'" in finding.value
    assert "pip uninstall their-package" in finding.advice


def test_a_component_that_requires_a_file_names_its_option() -> None:
    SMOOTHERS.register_module(name="weighty", module=Weighty)
    finding = found()["smoother weighty"]
    assert finding.state == "absent"
    assert "weighty:weights=FILE" in finding.advice
