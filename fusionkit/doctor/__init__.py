"""What this machine has for fusionkit, what of it is broken, and what to do: a list of findings."""

from __future__ import annotations

from collections.abc import Iterator

from fusionkit.doctor.environment import Finding


def examine() -> Iterator[Finding]:
    """DetectionOptions at versions, machine, folders, plugins and weights, in this order. Nothing is written or downloaded."""
    from fusionkit.doctor.components import plugins, weights
    from fusionkit.doctor.environment import machine, places, versions

    for look in (versions, machine, places, plugins, weights):
        yield from look()
