"""Checks of this installation and machine, as a list of findings."""

from __future__ import annotations

from collections.abc import Iterator

from fusionkit.doctor.environment import Finding


def examine() -> Iterator[Finding]:
    """Check versions, machine, folders, plugins and weights, in this order. Nothing is written or downloaded."""
    from fusionkit.doctor.components import plugins, weights
    from fusionkit.doctor.environment import folders, machine, versions

    for check in (versions, machine, folders, plugins, weights):
        yield from check()
