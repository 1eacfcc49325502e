"""Find the components that a target of ``fusionkit check`` names: of a file, by name, or of a package."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fusionkit.errors import ConfigError, expanded
from fusionkit.registry import REGISTRIES, Origin, did_you_mean, find_components
from fusionkit.registry.plugin_file import load_plugin_file
from fusionkit.registry.spec import Spec

Named = tuple[str, str]  # kind and SPEC


def components_of(text: str) -> list[Named]:
    """Return the components of a target, in the order of the registries.

    Args:
        text: a Python file that registers components; a name or SPEC, optionally with ``kind/`` before it; or a
            distribution or package that provides components.

    Raises:
        ConfigError: if it is none of these, provides no component, or has options that the component does not have.
        PluginError: if a file cannot be imported.
    """
    if text.endswith(".py"):
        return _of_file(text)
    found = _of_name(text) or _of_package(text)
    if not found:
        names = {name for _, name, _ in _origins()} | {
            origin.distribution.partition(" ")[0] for *_, origin in _origins() if origin.distribution
        }
        near = did_you_mean(text.partition(":")[0].rpartition("/")[2], sorted(names))
        raise ConfigError(
            f"{text!r} is not a component, package or Python file{near}", hint="fusionkit list shows all components"
        )
    return found


def _of_file(text: str) -> list[Named]:
    load_plugin_file(text)
    file = f"file {expanded(text).resolve()}"
    found = [(kind, name) for kind, name, origin in _origins() if origin.provider == file]
    if not found:
        raise ConfigError(f"{text!r} registers no component", hint="decorate a class with @FUSIONS.register_module()")
    return found


def _of_name(text: str) -> list[Named]:
    kind, slash, rest = text.partition("/")
    chosen = [registry for key, registry in REGISTRIES.items() if slash and kind in (key, registry.kind)]
    text = rest if chosen else text
    try:
        spec = Spec.parse(text)
    except ConfigError:
        if ":" in text and "=" in text:
            raise
        return []
    having = [registry for registry in chosen or REGISTRIES.values() if spec.name in registry.names()]
    problems = [problem for registry in having if spec.options for problem in registry.problems(spec)]
    if problems:
        raise ConfigError(problems)
    return [(registry.kind, text) for registry in having]


def _of_package(text: str) -> list[Named]:
    """Match the name of a distribution, of the package in it, or of the module."""
    found = []
    for kind, name, origin in _origins():
        module = origin.target.partition(":")[0]
        names = (origin.distribution.partition(" ")[0], module.partition(".")[0], module)
        if _normalised(text) in map(_normalised, names):
            found.append((kind, name))
    return list(dict.fromkeys(found))


def _origins() -> Iterator[tuple[str, str, Origin]]:
    """Yield kind, name and origin of every component."""
    for registry, name, origins in find_components():
        yield from ((registry.kind, name, origin) for origin in origins)


def _normalised(name: str) -> str:
    """Return a package name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
