"""Where rows stand: which is best, and which cannot be told apart from it by the tests."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fusionkit.report.results import Results
from fusionkit.report.sides import Lead, Side, sides
from fusionkit.stats import holm

Standing = Literal["best", "level", "behind"]
ALPHA = 0.05
RULE = (
    "Behind is a row where the paired unit-swap permutation test against the best row of the same data rejects at 5 %, "
    "Holm-corrected over all rows, and the 95 % jackknife interval of the difference leaves out 0. The best row was "
    "picked by these same scores, so its own is on the high side"
)


def standings(results: Results) -> dict[str, Standing]:
    """By id of each row with a score; rows that cannot be paired with the best of their data are not among them."""
    groups: dict[tuple[str, str], list[Side]] = {}
    for side in sides(results):
        groups.setdefault((side.axes.dataset, side.axes.split), []).append(side)
    scores = {row.id: row.score.value for row in results.rows if row.score}
    leads: dict[str, Lead] = {}
    found: dict[str, Standing] = {}
    for group in groups.values():
        best = max(group, key=lambda side: scores[side.id])
        found[best.id] = "best"
        paired = ((side, Lead.of([best], [side])) for side in group if side is not best)
        leads |= {side.id: lead for side, lead in paired if lead}
    corrected = holm_of([lead.p(len(leads)) if lead.leaves_out_zero else 1.0 for lead in leads.values()], len(leads))
    for (row, lead), p in zip(leads.items(), corrected, strict=True):
        found[row] = "behind" if p <= ALPHA and lead.difference.value > 0 else "level"
    return found


def holm_of(p: list[float], tests: int) -> list[float]:
    """Holm-corrected p of some of so many tests; those that were not carried out count as not rejected."""
    return [float(value) for value in holm(np.array([*p, *[1.0] * (tests - len(p))]))[: len(p)]]
