"""The components that are installed, each of them imported, and those that cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from fusionkit.errors import FusionKitError
from fusionkit.options import options_of
from fusionkit.registry import REGISTRIES, ComponentRegistry, Origin
from fusionkit.report.doctor.finding import Finding


def plugins() -> Iterator[Finding]:
    """A line a distribution with what it brings; a line for each component that is broken or wants a file."""
    working: dict[str, Counter[str]] = {}
    rest: list[Finding] = []
    for kind, registry in REGISTRIES.items():
        for name, origins in registry.origins().items():
            try:
                cls = registry.get(name)
            except FusionKitError as error:
                rest.append(_broken(registry, name, origins, error))
                continue
            working.setdefault(origins[0].brought_by, Counter())[kind] += 1
            rest += _wants_a_file(f"{registry.kind} {name}", name, cls)
    for distribution, counts in sorted(working.items()):
        value = ", ".join(f"{kind}: {counts[kind]}" for kind in REGISTRIES if counts[kind])
        yield Finding("plugins", distribution, value)
    if not working:
        yield Finding("plugins", "components", "none found", "broken", "install fusionkit: pip install -e .")
    yield from rest


def _broken(registry: ComponentRegistry, name: str, origins: list[Origin], error: FusionKitError) -> Finding:
    brought = sorted({origin.distribution.partition(" ")[0] for origin in origins} - {""})
    repair = f"ask its authors, or pip uninstall {brought[-1]}" if brought else ""
    message = Exception.__str__(error)
    return Finding("plugins", f"{registry.kind} {name}", message, "broken", error.hint or repair)


def _wants_a_file(title: str, name: str, cls: type[Any]) -> Iterator[Finding]:
    """Weights have no place of their own: whoever uses such a component names the file."""
    for option in options_of(cls).values():
        if option.required and option.name in cls.files:
            advice = f"give it as {name}:{option.name}=FILE; fusionkit info {name} says which"
            yield Finding("plugins", title, f"works with a file of yours: {option.name}", "absent", advice)
