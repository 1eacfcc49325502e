"""Look up a row or a cell of a run folder by id, or by name or an unambiguous part of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from fusionkit.errors import ConfigError
from fusionkit.grid.axes import RANDOM_MARK, Axes
from fusionkit.registry import did_you_mean

_ID = re.compile(r"[0-9a-f]{4,}")  # as in git, fewer than four characters are no id
_SHORT = 7
_LISTED = 8
_HINT = "an id, or views/fusion/smoother[/seed], or a part of it that matches one row only"


@dataclass(frozen=True, eq=False)
class RowMatch:
    """A row or a cell that was found.

    Attributes:
        entry: the row as in ``grid.json``.
        cell: id of the cell, if it was looked up by its id; else None.
        seed: None for all seeds.
        fold: fold of ``cell``; None for all folds.
    """

    entry: dict[str, Any]
    cell: str | None = None
    seed: int | None = None
    fold: str | None = None

    @property
    def axes(self) -> Axes:
        """Axis values of the row."""
        return Axes(**self.entry["axes"])

    @property
    def id(self) -> str:
        """First seven characters of the id."""
        full: str = self.cell or self.entry["id"]
        return full[:_SHORT]

    @property
    def name(self) -> str:
        """``views/fusion/smoother[/seed]``; for a cell of several folds with the fold."""
        name = self.axes.name if self.seed is None else f"{self.axes.name}/{self.seed}"
        several = len({cell["fold"] for cell in self.entry["cells"]}) > 1
        return f"{name} {self.fold}" if self.fold and several else name


def find_row(grid: dict[str, Any], text: str) -> RowMatch:
    """Return the row or cell that a text matches.

    Names take precedence over ids. They match in this order: as written; with auxiliary views in any order, or without
    the main view; with components named without their options.

    Args:
        grid: content of ``grid.json``.
        text: at least four characters of an id, or consecutive parts of ``views/fusion/smoother[/seed]``.

    Raises:
        ConfigError: if the text matches no row or cell, or more than one.
    """
    text, entries = text.strip(), grid["rows"]
    for match in (_exact, _reordered, _without_options, _by_id):
        found = [row for entry in entries for row in match(entry, text)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"{text!r} matches several rows: {_listed(found)}", hint=_HINT)
    names = list(dict.fromkeys(RowMatch(entry).name for entry in entries))
    shown = "; ".join(names[:_LISTED]) + _rest(len(names))
    raise ConfigError(f"no row matches {text!r}{did_you_mean(text, names)}; available rows: {shown}", hint=_HINT)


def label(match: RowMatch, other: RowMatch) -> str:
    """Return the name, with the axes that differ from another row of the same name, and a mark of random weights."""
    mark = RANDOM_MARK if match.entry["random_weights"] else ""
    if match.name != other.name:
        return f"{match.name}{mark}"
    own, others = match.entry["axes"], other.entry["axes"]
    differing = [f"{axis} {own[axis]}" for axis in own if own[axis] != others[axis]]
    return f"{match.name} ({', '.join(differing) or match.id}){mark}"


def _exact(entry: dict[str, Any], text: str) -> Iterator[RowMatch]:
    return _matches(entry, [text], lambda component: [component])


def _reordered(entry: dict[str, Any], text: str) -> Iterator[RowMatch]:
    return _matches(entry, _spellings(entry, text), lambda component: [component])


def _without_options(entry: dict[str, Any], text: str) -> Iterator[RowMatch]:
    return _matches(entry, _spellings(entry, text), lambda component: [component, component.partition(":")[0]])


def _matches(entry: dict[str, Any], texts: Sequence[str], forms: Callable[[str], list[str]]) -> Iterator[RowMatch]:
    """The row, if a text is consecutive parts of its name; its cells of one seed, if the text ends with the seed."""
    axes = RowMatch(entry).axes
    views, fusions, smoothers = [axes.views], forms(axes.fusion), forms(axes.smoother)
    to_the_end = [*product(views, fusions, smoothers), *product(fusions, smoothers), *product(smoothers)]
    inner = [*product(views, fusions), *product(views), *product(fusions)]
    if any("/".join(parts) in texts for parts in (*to_the_end, *inner)):
        yield RowMatch(entry)
    for seed in sorted({cell["seed"] for cell in entry["cells"]}):
        if any("/".join((*parts, str(seed))) in texts for parts in to_the_end):
            yield RowMatch(entry, seed=seed)


def _spellings(entry: dict[str, Any], text: str) -> list[str]:
    """The text; also with the row's order of views, if the text starts with the same views in another order."""
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
    """Names and ids, with further axes that differ."""
    axes = [match.entry["axes"] for match in found]
    further = [axis for axis in axes[0] if axis not in ("views", "fusion", "smoother")]
    varying = [axis for axis in further if len({each[axis] for each in axes}) > 1]
    shown = []
    for match in found[:_LISTED]:
        known = [match.id, *(f"{axis} {match.entry['axes'][axis]}" for axis in varying)]
        shown.append(f"{match.name} ({', '.join(known)})")
    return "; ".join(shown) + _rest(len(found))


def _rest(count: int) -> str:
    return f" and {count - _LISTED} more" if count > _LISTED else ""
