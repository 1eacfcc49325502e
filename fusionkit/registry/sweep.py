"""Sweeps of component options: a list of values where the option takes one value.

A list that the option itself accepts is its value, and a list of such lists is a sweep.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from fusionkit.errors import FusionKitError
from fusionkit.registry.options import SELECT, automatic, options_of, requirement
from fusionkit.registry.registries import ComponentRegistry
from fusionkit.registry.spec import Spec


def variants(registry: ComponentRegistry, spec: Spec) -> list[Spec]:
    """Return one spec per combination of swept values, the last option varying fastest; the spec itself without any.

    An unknown component and ``select`` are left as they are.
    """
    swept = _swept(registry, spec)
    points = (dict(zip(swept, point, strict=True)) for point in product(*swept.values()))
    return [Spec(spec.name, {**spec.options, **point}) for point in points]


def is_selected(registry: ComponentRegistry, spec: Spec) -> bool:
    """Return whether a spec has ``select``, and the component has no option of this name."""
    try:
        return SELECT in spec.options and SELECT not in options_of(registry.get(spec.name))
    except FusionKitError:
        return False


def selection_problems(registry: ComponentRegistry, spec: Spec) -> list[str]:
    """List what is wrong with the ``select`` of a spec that has one, and with its candidates."""
    name = f"{registry.kind} {spec.name!r}"
    if spec.options[SELECT] != "dev":
        return [f"{name}: option {SELECT} = {spec.options[SELECT]!r} must be dev, the split that selects a value"]
    if not _swept(registry, spec):
        return [f"{name}: option {SELECT} = 'dev' needs an option with a list of values, as {_example(registry, spec)}"]
    return [problem for each in dev_candidates(registry, spec) for problem in registry.problems(each)]


def dev_candidates(registry: ComponentRegistry, spec: Spec) -> list[Spec]:
    """Return the specs among which the dev split selects, the mildest values of ``auto`` first.

    They are the variants of a spec with ``select=dev``, each with every value of its ``auto`` options. A spec without
    any choice is its only candidate.
    """
    found: dict[Spec, None] = {}
    given = [spec]
    if is_selected(registry, spec):
        bare = Spec(spec.name, {name: value for name, value in spec.options.items() if name != SELECT})
        given = variants(registry, bare)
    for each in given:
        choices = automatic(registry.get(each.name), each.options)
        for point in product(*choices.values()):
            found.setdefault(Spec(each.name, {**each.options, **dict(zip(choices, point, strict=True))}))
    return list(found)


def _swept(registry: ComponentRegistry, spec: Spec) -> dict[str, list[Any]]:
    """Return the options with a list of values that the option does not accept as its value."""
    try:
        known = options_of(registry.get(spec.name))
    except FusionKitError:
        return {}  # reported where the component is checked
    return {
        name: value
        for name, value in spec.options.items()
        if name in known and isinstance(value, list) and value and requirement(value, known[name].annotation)
    }


def _example(registry: ComponentRegistry, spec: Spec) -> str:
    names = list(options_of(registry.get(spec.name))) or ["option"]
    return f"{spec.name}:{names[0]}=[...],{SELECT}=dev"
