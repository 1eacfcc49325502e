"""What this machine has for fusionkit, what of it is broken, and what to do: a list of findings."""

from __future__ import annotations

from collections.abc import Iterator

from fusionkit.report.doctor.finding import Finding


def examine() -> Iterator[Finding]:
    """Look at versions, machine, folders, plugins and weights, in this order. Nothing is written or downloaded."""
    from fusionkit.report.doctor.machine import machine
    from fusionkit.report.doctor.places import places
    from fusionkit.report.doctor.plugins import plugins
    from fusionkit.report.doctor.versions import versions
    from fusionkit.report.doctor.weights import weights

    for look in (versions, machine, places, plugins, weights):
        yield from look()
