"""Registering classes by decorator or call."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import NamedTuple

import numpy as np
import pytest

from fusionkit.contracts import Smoother
from fusionkit.errors import PluginError
from fusionkit.registry import ComponentRegistry


class Brought(NamedTuple):
    """Stands for a distribution."""

    name: str
    version: str


class GatedStill(Smoother):
    """Leaves everything as it is."""

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return x


class Other(GatedStill):
    """Another one."""


Make = Callable[..., ComponentRegistry]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Make:
    """A registry that sees one distribution with the given names and targets."""

    def make(**points: str) -> ComponentRegistry:
        dist = Brought("theirs", "1.2")
        found = [
            EntryPoint(name, value, "fusionkit.smoothers")._for(dist)  # type: ignore[arg-type]
            for name, value in points.items()
        ]
        monkeypatch.setattr("fusionkit.registry.registries.installed_entry_points", lambda: EntryPoints(found))
        return ComponentRegistry("smoother", "Smoother")

    return make


def test_a_decorator_names_the_class_in_kebab_case_and_gives_it_back(registry: Make) -> None:
    found = registry()
    assert found.register_module()(GatedStill) is GatedStill
    assert found.get("gated-still") is GatedStill
    assert found.origins()["gated-still"][0].provider == f"module {__name__}"


def test_a_call_registers_directly_under_a_name(registry: Make) -> None:
    found = registry()
    assert found.register_module("other", module=Other) is Other
    found.register_module(module=GatedStill)
    assert found.names() == ["gated-still", "other"]
    assert found.get("other") is Other


def test_a_taken_name_is_refused_naming_both(registry: Make) -> None:
    found = registry(taken=f"{__name__}:GatedStill")
    with pytest.raises(PluginError) as refused:
        found.register_module("taken", module=Other)
    assert str(refused.value) == (
        f"smoother 'taken' is registered twice: {__name__}:GatedStill (theirs 1.2) and "
        f"{__name__}:Other (module {__name__}) (rename one of them, or pass force=True to replace it)"
    )
    assert found.get("taken") is GatedStill
    found.register_module("mine", module=GatedStill)
    with pytest.raises(PluginError, match="registered twice"):
        found.register_module("mine", module=Other)
    assert found.get("mine") is GatedStill


def test_force_replaces_a_component(registry: Make) -> None:
    found = registry(taken=f"{__name__}:GatedStill")
    assert found.get("taken") is GatedStill
    found.register_module("taken", force=True, module=Other)
    assert found.get("taken") is Other
    assert len(found.origins()["taken"]) == 1


def test_a_class_with_an_entry_point_and_a_decorator_is_one_component(registry: Make) -> None:
    found = registry(**{"gated-still": f"{__name__}:GatedStill"})
    found.register_module(module=GatedStill)
    assert found.get("gated-still") is GatedStill
    assert [origin.provider for origin in found.origins()["gated-still"]] == ["theirs 1.2"]


def test_a_class_that_is_defined_again_replaces_the_first(registry: Make) -> None:
    found = registry()

    def define(answer: float) -> type:
        class Mine(GatedStill):
            value = answer

        return Mine

    found.register_module(module=define(1.0))
    found.register_module(module=define(2.0))
    assert found.get("mine").value == 2.0


@pytest.mark.parametrize("name", ["", "a.b", "Upper", "-a", "a b", "a:b", "a,b", "a=b"])
def test_a_malformed_name_is_refused(registry: Make, name: str) -> None:
    with pytest.raises(PluginError, match="is not a name for a smoother"):
        registry().register_module(name, module=Other)


def test_the_decorator_without_brackets_is_refused(registry: Make) -> None:
    with pytest.raises(PluginError, match=r"write @register_module\(\)"):
        registry().register_module(Other)  # type: ignore[arg-type]


def test_a_class_without_the_contract_is_refused_and_not_kept(registry: Make) -> None:
    found = registry()
    with pytest.raises(PluginError, match="must be a subclass of Smoother"):
        found.register_module("stranger", module=dict)
    assert found.names() == []
