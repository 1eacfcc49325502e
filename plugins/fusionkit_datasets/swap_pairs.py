"""Chooses whose region goes into whose face: always a frame of the same class and the same unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit.contracts import FrameTable


@dataclass(frozen=True, eq=False)
class Swaps:
    """M composites to make.

    Attributes:
        receiver: (M,) int64, rows that get a region.
        donor: (M,) int64, rows that give it.
        choice: (M,) int64, which of the region choices is swapped.
    """

    receiver: np.ndarray
    donor: np.ndarray
    choice: np.ndarray

    def __len__(self) -> int:
        return len(self.receiver)


def unite_stills(table: FrameTable, rows: np.ndarray, classes: tuple[str, ...], size: int, seed: int) -> np.ndarray:
    """Bring frames that stand alone into groups of one class, so that they have somebody to swap with.

    Alone is a frame of whom nothing is known, neither person nor video, in a clip of its own: its unit has no other.

    Args:
        table: of the data set.
        rows: (n,) int64, those that may be swapped.
        classes: names.
        size: frames a group; the last one of a class takes what is left.
        seed: deals them.

    Returns:
        (N,) str: the subjects of the table; members of a group have the group's name.
    """
    _, codes, counts = np.unique(table.unit, return_inverse=True, return_counts=True)
    alone = rows[(counts[codes[rows]] == 1) & (table.subject[rows] == "") & (table.video[rows] == "")]
    subject = table.subject.astype(object)
    random = np.random.default_rng([seed, 0])
    prefix, taken = "group", set(table.unit.tolist())
    while any(unit.startswith(f"{prefix} ") for unit in taken):
        prefix += "_"
    for label in np.unique(table.label[alone]).tolist():
        members = random.permutation(alone[table.label[alone] == label])
        groups = max(len(members) // size, 1)
        for place, group in enumerate(np.array_split(members, groups)):
            subject[group] = f"{prefix} {classes[label]} {place}"
    return subject.astype(np.str_)


def draw_swaps(table: FrameTable, rows: np.ndarray, copies: int, choices: int, seed: int) -> Swaps:
    """For each frame ``copies`` others of its class and unit, or as many as there are different composites.

    Donors come from other clips of the unit where there are such, else from other frames of the clip.

    Args:
        table: of the data set, units as they shall be.
        rows: (n,) int64, those that may be swapped.
        copies: composites a frame.
        choices: how many regions, or sets of them, there are to swap.
        seed: draws.
    """
    random = np.random.default_rng([seed, 1])
    _, codes = np.unique(table.unit[rows], return_inverse=True)
    keys = np.stack([codes, table.label[rows]])
    order = np.lexsort((rows, *keys))
    ends = np.flatnonzero((np.diff(keys[:, order], axis=1) != 0).any(0)) + 1
    parts = [_of_group(table.clip, rows[group], copies, choices, random) for group in np.split(order, ends)]
    return Swaps(*np.concatenate([np.empty((3, 0), np.int64), *parts], axis=1))


def _of_group(
    clips: np.ndarray, members: np.ndarray, copies: int, choices: int, random: np.random.Generator
) -> np.ndarray:
    """(3, m) receivers, donors and choices among frames of one class and unit, which stand in the table's order."""
    names = clips[members]
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]) if len(members) else np.empty(0, int)
    run = np.searchsorted(starts, np.arange(len(members)), side="right") - 1
    ends = np.r_[starts[1:], len(members)]
    found = []
    for place, receiver in enumerate(members.tolist()):
        first, last = (starts[run[place]], ends[run[place]]) if len(starts) > 1 else (place, place + 1)
        donors = len(members) - int(last - first)
        drawn = random.choice(donors * choices, size=min(copies, donors * choices), replace=False)
        donor = drawn // choices
        donor = np.where(donor < first, donor, donor + (last - first))
        found.append(np.stack([np.full(len(drawn), receiver), members[donor], drawn % choices]))
    return np.concatenate([np.empty((3, 0), np.int64), *found], axis=1)
