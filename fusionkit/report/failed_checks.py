"""Components that fail conformance checks, as found before their first bench."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fusionkit.errors import first_of


def failed_check_warnings(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each component that fails checks, with the command that shows the details.

    Args:
        rows: rows of ``grid.json``. Option sets of a component that fail the same checks share a line.
    """
    found: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for outcome in (outcome for row in rows for outcome in row.get("failed_checks", ())):
        name = outcome["component"].partition(":")[0]
        found.setdefault((outcome["kind"], name, *outcome["failed"]), {})[outcome["component"]] = outcome
    return [_line(list(outcomes.values())) for outcomes in found.values()]


def _line(outcomes: list[dict[str, Any]]) -> str:
    """Return the line of one component with some option sets."""
    first, more = outcomes[0], len(outcomes) - 1
    others = f" and {more} more option set{'s' * (more > 1)}" if more else ""
    return (
        f"{first['kind']} {first['component']}{others} ({first['provider']}) fails {len(first['failed'])} of "
        f"{first['ran']} conformance checks: {first_of(first['failed'])}; details: {first['details']}"
    )
