"""How a person points at a row or a cell of a run folder: by short id, or by name or an unambiguous part of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from fusionkit.errors import ConfigError
from fusionkit.grid.axes import Axes
from fusionkit.registry import did_you_mean

_ID = re.compile(r"[0-9a-f]{4,}")  # as in git, fewer than four characters are no id
_SHORT = 7
_LISTED = 8
_HINT = "an id, or views/fusion/smoother[/seed], or a part of it that fits one row only"


@dataclass(frozen=True, eq=False)
class RowMatch:
    """What was pointed at.

    Attributes:
        entry: the row, as ``grid.json`` holds it.
        cell: id of the one cell that was pointed at by its id; else None.
        seed: None for all seeds.
        fold: name of the fold of ``cell``; None for all folds.
    """

    entry: dict[str, Any]
    cell: str | None = None
    seed: int | None = None
    fold: str | None = None

    @property
    def axes(self) -> Axes:
        """Where its row stands in the grid."""
        return Axes(**self.entry["axes"])

    @property
    def id(self) -> str:
        """The id, as long as it takes to type it."""
        full: str = self.cell or self.entry["id"]
        return full[:_SHORT]

    @property
    def name(self) -> str:
        """``views/fusion/smoother[/seed]``; with the fold of a cell where there are several."""
        name = self.axes.name if self.seed is None else f"{self.axes.name}/{self.seed}"
        several = len({cell["fold"] for cell in self.entry["cells"]}) > 1
        return f"{name} {self.fold}" if self.fold and several else name


def find_row(grid: dict[str, Any], text: str) -> RowMatch:
    """The row or cell that a text stands for.

    A name goes before an id. Names fit, in this order: as they are written; with auxiliary views in any order, or
    without the main view; with components named without their options.

    Args:
        grid: the contents of ``grid.json``.
        text: at least four characters of an id, or a run of parts of ``views/fusion/smoother[/seed]``.

    Raises:
        ConfigError: if it stands for nothing, or for more than one row or cell.
    """
    text, rows = text.strip(), grid["rows"]
    for read in (_as_written, _rearranged, _without_options, _by_id):
        found = [match for entry in rows for match in read(entry, text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"{text!r} could be any of {_listed(found)}", hint=_HINT)
    names = list(dict.fromkeys(RowMatch(entry).name for entry in rows))
    shown = "; ".join(names[:_LISTED]) + _rest(len(names))
    raise ConfigError(f"nothing is called {text!r}{did_you_mean(text, names)}; there is {shown}", hint=_HINT)


def label(match: RowMatch, other: RowMatch) -> str:
    """The name, with what tells it from the other where the name alone does not."""
    if match.name != other.name:
        return match.name
    own, others = match.entry["axes"], other.entry["axes"]
    differing = [f"{axis} {own[axis]}" for axis in own if own[axis] != others[axis]]
    return f"{match.name} ({', '.join(differing) or match.id})"


def _as_written(entry: dict[str, Any], text: str) -> Iterator[RowMatch]:
    return _fitting(entry, [text], lambda component: [component])


def _rearranged(entry: dict[str, Any], text: str) -> Iterator[RowMatch]:
    return _fitting(entry, _spellings(entry, text), lambda component: [component])


def _without_options(entry: dict[str, Any], text: str) -> Iterator[RowMatch]:
    return _fitting(entry, _spellings(entry, text), lambda component: [component, component.partition(":")[0]])


def _fitting(entry: dict[str, Any], texts: Sequence[str], written: Callable[[str], list[str]]) -> Iterator[RowMatch]:
    """The row where a text is a run of its parts; or its cells of one seed, where the seed stands at the end."""
    axes = RowMatch(entry).axes
    views, fusions, smoothers = [axes.views], written(axes.fusion), written(axes.smoother)
    to_the_end = [*product(views, fusions, smoothers), *product(fusions, smoothers), *product(smoothers)]
    inner = [*product(views, fusions), *product(views), *product(fusions)]
    if any("/".join(parts) in texts for parts in (*to_the_end, *inner)):
        yield RowMatch(entry)
    for seed in sorted({cell["seed"] for cell in entry["cells"]}):
        if any("/".join((*parts, str(seed))) in texts for parts in to_the_end):
            yield RowMatch(entry, seed=seed)


def _spellings(entry: dict[str, Any], text: str) -> list[str]:
    """The text, and the text with the views of the row where it starts with the same ones in another order."""
    axes = RowMatch(entry).axes
    start, slash, rest = text.partition("/")
    views = axes.views.split(",")
    auxiliary = views if axes.main == "none" else views[1:]
    same = sorted(start.split(",")) in (sorted(views), sorted(auxiliary))
    return [text, axes.views + slash + rest] if same else [text]


def _by_id(entry: dict[str, Any], text: str) -> Iterator[RowMatch]:
    if not _ID.fullmatch(text):
        return
    if entry["id"].startswith(text):
        yield RowMatch(entry)
    for cell in entry["cells"]:
        if cell["id"].startswith(text):
            yield RowMatch(entry, cell["id"], cell["seed"], cell["fold"])


def _listed(found: Sequence[RowMatch]) -> str:
    """Names and ids, with the axes besides in which they differ."""
    axes = [match.entry["axes"] for match in found]
    besides = [axis for axis in axes[0] if axis not in ("views", "fusion", "smoother")]
    varying = [axis for axis in besides if len({each[axis] for each in axes}) > 1]
    shown = []
    for match in found[:_LISTED]:
        known = [match.id, *(f"{axis} {match.entry['axes'][axis]}" for axis in varying)]
        shown.append(f"{match.name} ({', '.join(known)})")
    return "; ".join(shown) + _rest(len(found))


def _rest(count: int) -> str:
    return f" and {count - _LISTED} more" if count > _LISTED else ""
