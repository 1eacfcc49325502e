"""What a person means who asks for checks: a file, a component, or a package with components."""

from __future__ import annotations

import re
from pathlib import Path

from fusionkit.errors import ConfigError
from fusionkit.registry import REGISTRIES, ComponentRegistry, did_you_mean
from fusionkit.registry.plugin_file import load_plugin_file
from fusionkit.registry.spec import Spec

Named = tuple[str, str]  # kind and SPEC


def components_of(text: str) -> list[Named]:
    """The components of a target, in the order of the registries.

    Args:
        text: a Python file that registers components; a name or SPEC, perhaps with ``kind/`` before it; or a
            distribution or package that brings components.

    Raises:
        ConfigError: if it is none of these, brings no component, or gives it options that it does not have.
        PluginError: if a file cannot be imported.
    """
    if text.endswith(".py"):
        return _of_file(text)
    found = _of_name(text) or _of_package(text)
    if not found:
        known = {name for registry in REGISTRIES.values() for name in registry.names()} | _packages()
        near = did_you_mean(text.partition(":")[0].rpartition("/")[2], sorted(known))
        raise ConfigError(
            f"{text!r} is no component, package or Python file{near}", hint="fusionkit list shows what there is"
        )
    return found


def _of_file(text: str) -> list[Named]:
    load_plugin_file(text)
    brought = f"file {Path(text).expanduser().resolve()}"
    found = [
        (registry.kind, name)
        for registry in REGISTRIES.values()
        for name, origins in registry.origins().items()
        if any(origin.brought_by == brought for origin in origins)
    ]
    if not found:
        raise ConfigError(f"{text!r} registers no component", hint="@FUSIONS.register_module() makes a class known")
    return found


def _of_name(text: str) -> list[Named]:
    kind, slash, rest = text.partition("/")
    known = [registry for key, registry in REGISTRIES.items() if slash and kind in (key, registry.kind)]
    registries: list[ComponentRegistry] = known or list(REGISTRIES.values())
    spec = rest if known else text
    try:
        name = Spec.parse(spec).name
    except ConfigError:
        if ":" in text and "=" in text:
            raise
        return []
    having = [registry for registry in registries if name in registry.names()]
    given = Spec.parse(spec)
    problems = [problem for registry in having if given.options for problem in registry.problems(given)]
    if problems:
        raise ConfigError(problems)
    return [(registry.kind, spec) for registry in having]


def _of_package(text: str) -> list[Named]:
    return [
        (registry.kind, name)
        for registry in REGISTRIES.values()
        for name, origins in registry.origins().items()
        if any(_same(text) in _names_of(origin.distribution, origin.target) for origin in origins)
    ]


def _packages() -> set[str]:
    origins = [o for registry in REGISTRIES.values() for found in registry.origins().values() for o in found]
    return {origin.distribution.partition(" ")[0] for origin in origins if origin.distribution}


def _names_of(distribution: str, target: str) -> set[str]:
    """Of a distribution, of the package in it, of the module."""
    module = target.partition(":")[0]
    return {_same(distribution.partition(" ")[0]), _same(module.partition(".")[0]), _same(module)}


def _same(name: str) -> str:
    """Names that pip takes for one, as one."""
    return re.sub(r"[-_.]+", "-", name).lower()
