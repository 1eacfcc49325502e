"""Records: what a piece of work was made from, written beside it, so that a later plan can say what has changed.

A record holds the identity that is hashed into the name of the work, and with each component the distribution that
brought it, which decides nothing.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from fusionkit.errors import DataError
from fusionkit.registry import ComponentRegistry
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity

Record = dict[str, Any]


def component_record(registry: ComponentRegistry, spec: Spec, identity: dict[str, Any] | None = None) -> Record:
    """A component's identity, which of its options name files, and its distribution as ``my_pkg 0.2``.

    Args:
        registry: of its kind.
        spec: name and options.
        identity: as :func:`component_identity` gives it, where it is known already.
    """
    found = component_identity(registry, spec) if identity is None else identity
    return {
        **found,
        "files": list(registry.get(spec.name).files),
        "distribution": distribution_of(registry, spec.name),
    }


def check_unchanged(registry: ComponentRegistry, spec: Spec, record: Record) -> None:
    """Refuse a component that is no longer what a record says: its results would be stored under a wrong name.

    Raises:
        DataError: if its code, or a file that an option names, has changed.
    """
    if any(record.get(name) != value for name, value in component_identity(registry, spec).items()):
        raise DataError(f"{registry.kind} {spec} has changed since this run began", hint="run again")


def distribution_of(registry: ComponentRegistry, name: str) -> str:
    """Name and version of the distribution that brings a component; empty for a lone file or a notebook."""
    origin = registry.origins()[name][0]
    return origin.distribution or _distribution_of_package(origin.target.partition(":")[0].partition(".")[0])


@cache
def _distribution_of_package(package: str) -> str:
    names = packages_distributions().get(package, [])
    try:
        return f"{names[0]} {version(names[0])}" if names else ""
    except PackageNotFoundError:
        return ""
