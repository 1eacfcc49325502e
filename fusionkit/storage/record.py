"""Provenance records, stored beside an artifact: what it was computed from, so that a later plan can name changes.

A record holds the identity that is hashed into the artifact's key, and for each component its distribution, which does
not affect results.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import ComponentRegistry
from fusionkit.registry.source import changed_files
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity

Record = dict[str, Any]
Versions = dict[str, str]  # of libraries that decide results, by name

# By name: its distributions, of which one is installed.
_OPENCV = "opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless"
_LIBRARIES = {
    **{name: (name,) for name in ("torch", "timm")},
    "opencv": _OPENCV,
    **{name: (name,) for name in ("numpy", "scipy", "scikit-learn")},
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}


@cache
def library_versions() -> Versions:
    """Return the installed versions of the libraries that decide results. They are stored with each result.

    They are no part of its identity: most new versions give the same bits, and a result of an older one stays usable.
    """
    found = {name: next(filter(None, map(_version, names)), "") for name, names in _LIBRARIES.items()}
    return {name: number for name, number in found.items() if number}


def different(found: Iterable[Versions]) -> list[Versions]:
    """Return each of the versions once, in order."""
    return [dict(versions) for versions in dict.fromkeys(tuple(versions.items()) for versions in found)]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def component_record(registry: ComponentRegistry, spec: Spec) -> Record:
    """Return a component's identity, the names of its options that are files, and its distribution (``my_pkg 0.2``).

    Raises:
        ConfigError: if a source file has changed since it was imported; the code in memory is then another one.
    """
    changed = changed_files(registry.get(spec.name))
    if changed:
        raise ConfigError(
            f"{registry.kind} {spec.name!r}: {changed[0]} has changed since it was imported", hint="restart Python"
        )
    return {
        **component_identity(registry, spec),
        "files": list(registry.get(spec.name).files),
        "distribution": distribution_of(registry, spec.name),
    }


def identity_of(record: Record) -> dict[str, Any]:
    """Return the part of a component's record that decides its results: :func:`component_identity`, or that of data."""
    return {name: value for name, value in record.items() if name not in ("files", "distribution", "places")}


def check_unchanged(registry: ComponentRegistry, spec: Spec, record: Record) -> None:
    """Check that a component still matches its record; otherwise its results would be stored under a wrong key.

    Raises:
        DataError: if its code, or a file that an option names, has changed.
    """
    if any(record.get(name) != value for name, value in component_identity(registry, spec).items()):
        raise DataError(f"{registry.kind} {spec} has changed since this run began", hint="run again")


def distribution_of(registry: ComponentRegistry, name: str) -> str:
    """Return name and version of the distribution that provides a component; empty for a plugin file or notebook."""
    origin = registry.origins()[name][0]
    return origin.distribution or _distribution_of_package(origin.target.partition(":")[0].partition(".")[0])


_distributions = cache(packages_distributions)  # it reads the metadata of everything that is installed


def _distribution_of_package(package: str) -> str:
    names = _distributions().get(package, [])
    try:
        return f"{names[0]} {version(names[0])}" if names else ""
    except PackageNotFoundError:
        return ""
