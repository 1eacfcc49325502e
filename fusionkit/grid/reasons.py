"""Reasons: why a piece of work will run, in words, from its record and those of what was made before.

Knows nothing of folders: records in, words out. One that is not of the form that is written today is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One thing in which a piece of work differs from one that was made before.

    Attributes:
        beneath: the same was asked for, but what lies beneath it has changed: code, data, a file.
    """

    text: str
    beneath: bool = False


Differences = list[Difference]


def nearest_head(wanted: Record, stored: Iterable[Record]) -> Differences | None:
    """How a head differs from the one most like it on the same data set and views, with a fusion of the same name.

    One of the same seed and fold goes before others; of equal ones the first. None where there is none.
    """

    def alike(other: Record) -> bool:
        return (
            other["data"]["name"] == wanted["data"]["name"]
            and list(other["views"]) == list(wanted["views"])
            and other["fusion"]["name"] == wanted["fusion"]["name"]
        )

    def distance(other: Record, found: Differences) -> tuple[int, ...]:
        elsewhere = (other["seed"] != wanted["seed"]) + (other["fold"]["name"] != wanted["fold"]["name"])
        return elsewhere, len(found)

    return _nearest(_as_read(wanted), stored, alike, head_differences, distance)


def nearest_embedding(wanted: Record, stored: Iterable[Record]) -> Differences | None:
    """How an embedding differs from the one most like it of the same data set and view, by a backbone of the same name.

    None where there is none; empty where there was the very same.
    """

    def alike(other: Record) -> bool:
        return (
            other["data"]["name"] == wanted["data"]["name"]
            and other["view"] == wanted["view"]
            and (other["backbone"] or {}).get("name") == (wanted["backbone"] or {}).get("name")
        )

    return _nearest(_as_read(wanted), stored, alike, embedding_differences, lambda _, found: (len(found),))


def nearest_cell(wanted: Record, stored: Iterable[Record]) -> Differences | None:
    """How the smoothing and scoring of a head differs from another of it, by a smoother of the same name."""

    def alike(other: Record) -> bool:
        return bool(other["smoother"]["name"] == wanted["smoother"]["name"])

    return _nearest(_as_read(wanted), stored, alike, cell_differences, lambda _, found: (len(found),))


def _nearest(
    wanted: Record,
    stored: Iterable[Record],
    alike: Callable[[Record], bool],
    differences: Callable[[Record, Record], Iterator[Difference]],
    distance: Callable[[Record, Differences], tuple[int, ...]],
) -> Differences | None:
    best: tuple[tuple[int, ...], Differences] | None = None
    for other in stored:
        try:
            if not alike(other):
                continue
            found = list(dict.fromkeys(differences(wanted, other)))
            far = distance(other, found)
        except (KeyError, TypeError, AttributeError):
            continue
        if best is None or far < best[0]:
            best = far, found
    return best[1] if best else None


def _as_read(record: Record) -> Record:
    """A record as it comes back from a file: tuples as lists."""
    plain: Record = json.loads(json.dumps(record))
    return plain


def head_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    """Everything in which two heads on views of the same names differ."""
    yield from _data_differences(wanted["data"], stored["data"])
    if wanted["fold"]["name"] != stored["fold"]["name"]:
        yield Difference(f"fold {wanted['fold']['name']} is new")
    elif wanted["fold"] != stored["fold"] and wanted["data"]["fingerprint"] == stored["data"]["fingerprint"]:
        yield Difference(f"split: fold {wanted['fold']['name']} holds other frames", beneath=True)
    for name, view in wanted["views"].items():
        yield from _view_differences(view, stored["views"][name])
    yield from component_differences("fusion", wanted["fusion"], stored["fusion"])
    yield from _changed("recipe: ", wanted["recipe"], stored["recipe"])
    yield from _changed("training: ", _only(wanted, "revision"), _only(stored, "revision"), beneath=True)
    if wanted["seed"] != stored["seed"]:
        yield Difference(f"seed {wanted['seed']} is new")
    yield from _changed("", _only(wanted, "device"), _only(stored, "device"))


def embedding_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    """Everything in which two embeddings of the same view differ."""
    yield from _data_differences(wanted["data"], stored["data"])
    yield from _view_differences(wanted, stored)


def cell_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    """Everything in which two ways to smooth and score differ."""
    yield from component_differences("smoother", wanted["smoother"], stored["smoother"])
    for stage, revision in wanted["revisions"].items():
        was = {"revision": stored["revisions"][stage]}
        yield from _changed(f"{stage}: ", {"revision": revision}, was, beneath=True)
    yield from _changed("", _only(wanted, "recipe", "impute"), stored)


def _view_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    yield from component_differences("extractor", wanted["extractor"], stored["extractor"])
    yield from component_differences("backbone", wanted["backbone"], stored["backbone"])
    yield from _changed("embedding: ", _only(wanted, "revision"), _only(stored, "revision"), beneath=True)
    how = "tokens", "precision", "device"
    yield from _changed("", _only(wanted, *how), _only(stored, *how))


def _data_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    name = f"data set {wanted['name']}"
    found = list(component_differences("data set", wanted, stored))
    yield from found
    if wanted["fingerprint"] == stored["fingerprint"]:
        return
    counts = f"{stored['frames']} -> {wanted['frames']} frames"
    if any(record["frames"] != record["of"] for record in (wanted, stored)):
        yield Difference(f"{name}: limited otherwise, {counts}")
    elif not found:
        more = f" ({counts})" if wanted["frames"] != stored["frames"] else ""
        yield Difference(f"{name}: its data changed{more}", beneath=True)


def component_differences(kind: str, wanted: Record | None, stored: Record | None) -> Iterator[Difference]:
    """Everything in which two records of components of one kind differ; None stands for no component."""
    if wanted is None or stored is None or wanted["name"] != stored["name"]:
        if wanted is not stored:
            yield Difference(f"{kind} {_name(stored)} -> {_name(wanted)}")
        return
    name, files = f"{kind} {wanted['name']}", wanted["files"]
    for option, value in wanted["options"].items():
        was = stored["options"].get(option, _ABSENT)
        if option in files and value and was and was is not _ABSENT and value != was:
            which = "" if option == "weights" else f" ({option})"
            yield Difference(f"{name}: weights file changed{which}", beneath=True)
        elif value != was:
            after = "a file" if option in files and value else _text(value)
            before = "a file" if option in files and isinstance(was, str) else _text(was)
            yield Difference(f"{name}: {option} {before} -> {after}", beneath=was is _ABSENT)
    for option in (name for name in stored["options"] if name not in wanted["options"]):
        yield Difference(f"{name}: option {option} is gone", beneath=True)
    brought = [record["distribution"] for record in (stored, wanted)]
    by = f" ({' -> '.join(_shortened(*brought))})" if all(brought) and brought[0] != brought[1] else ""
    if wanted["revision"] != stored["revision"]:  # its source has then changed as well, if only by that number
        yield Difference(f"{name}: revision {stored['revision']} -> {wanted['revision']}{by}", beneath=True)
    elif wanted["source"] != stored["source"]:
        yield Difference(f"{name}: its source changed{by}", beneath=True)


class _Absent:
    """Stands for an option that there was not."""


_ABSENT = _Absent()


def _shortened(before: str, after: str) -> tuple[str, str]:
    """``my_pkg 0.1`` and ``0.2``: the distribution is named once where it is the same."""
    name, _, version = after.rpartition(" ")
    return before, version if before.rpartition(" ")[0] == name else after


def _only(record: Record, *names: str) -> dict[str, Any]:
    return {name: record[name] for name in names if name in record}


def _changed(prefix: str, wanted: Record, stored: Record, *, beneath: bool = False) -> Iterator[Difference]:
    for name, value in wanted.items():
        was = stored.get(name, _ABSENT)
        if value != was:
            yield Difference(f"{prefix}{name} {_text(was)} -> {_text(value)}", beneath)


def _name(record: Record | None) -> str:
    return record["name"] if record else "none"


def _text(value: Any) -> str:
    if value is _ABSENT:
        return "(not there)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
