"""Splits into train, dev and test by unit (subject or video). They do not depend on the seed of a cell."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Annotated

import numpy as np

from fusionkit.config.section import Section
from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.contracts.option_types import Range
from fusionkit.contracts.task import Task
from fusionkit.errors import DataError
from fusionkit.registry import did_you_mean
from fusionkit.registry.spec import Spec

Half = Annotated[float, Range(above=0, most=0.5)]

_RANDOM_STATE = 0
_MAX_GROUPS = 20  # groups of units from which a share is taken: it is exact to a twentieth


@dataclass(frozen=True, eq=False)
class Fold:
    """One split of the frames.

    Attributes:
        name: ``official``, ``holdout`` or ``kfold/0``.
        part: (N,) str: ``train``, ``dev``, ``test``, or empty for a frame that is not used.
    """

    name: str
    part: np.ndarray

    def rows(self, part: str) -> np.ndarray:
        """Return the rows of a part, with unlabelled ones, in table order: (n,) int64."""
        return np.flatnonzero(self.part == part)

    @cached_property
    def digest(self) -> str:
        """Hash of the parts (16 hex digits)."""
        return hashlib.sha256(self.part.astype("S5").tobytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Composites:
    """Composite frames: frames made of others. They do not affect the split of the real ones.

    Attributes:
        rows: (M,) int64.
        units: (M, S) str: units of the source frames of each; padded with empty texts.
    """

    rows: np.ndarray
    units: np.ndarray

    def join(self, fold: Fold, table: FrameTable, real: np.ndarray) -> Fold:
        """Add them to a fold of the real frames: to train if none of their units is in dev or test, else to no part."""
        part = np.full(len(table), "", dtype=fold.part.dtype)
        part[real] = fold.part
        held_out = np.unique(table.unit[(part == "dev") | (part == "test")])
        part[self.rows[~np.isin(self.units, held_out).any(1)]] = "train"
        return Fold(fold.name, part)


@dataclass(frozen=True)
class Auto(Section):
    """``official`` if the data set has splits, else ``holdout``."""

    def folds(self, table: FrameTable) -> list[Fold]:
        """Return one fold."""
        chosen: Official | Holdout = Official() if (table.split != "").any() else Holdout()
        return chosen.folds(table)


@dataclass(frozen=True)
class Official(Section):
    """The splits of the data set. With train, val and test, val is dev. With train and val, val is test.

    In the second case dev is a part of train, by unit.

    Args:
        dev: share of the train units that becomes dev if there is no test split.
    """

    dev: Half = 0.2

    def folds(self, table: FrameTable) -> list[Fold]:
        """Return one fold.

        Raises:
            DataError: if there is no train split, or neither val nor test.
        """
        named = set(np.unique(table.split).tolist())
        if "train" not in named or not named & {"val", "test"}:
            have = ", ".join(sorted(named - {""})) or "none"
            raise DataError(
                f"the data set needs official splits train, and val or test; it has: {have}", hint="use split = holdout"
            )
        part = np.where(table.split == "train", "train", np.where(table.split == "", "", "test")).astype("<U5")
        if {"val", "test"} <= named:
            part[table.split == "val"] = "dev"
        else:
            part = carve(part, table, "dev", self.dev)
        return [Fold("official", part)]


@dataclass(frozen=True)
class Holdout(Section):
    """One test and one dev set, drawn by unit and stratified by class. Official splits are ignored.

    Args:
        test: share of the units that becomes test.
        dev: share of the remaining units that becomes dev.
    """

    test: Half = 0.2
    dev: Half = 0.2

    def folds(self, table: FrameTable) -> list[Fold]:
        """Return one fold."""
        part = carve(np.full(len(table), "train", "<U5"), table, "test", self.test)
        return [Fold("holdout", carve(part, table, "dev", self.dev))]


@dataclass(frozen=True)
class KFold(Section):
    """k folds by unit, stratified by class: each unit is tested once. Dev is a part of a fold's train units.

    Args:
        k: number of folds.
        dev: share of the train units that becomes dev.
    """

    k: Annotated[int, Range(least=2)] = 5
    dev: Half = 0.2

    def folds(self, table: FrameTable) -> list[Fold]:
        """Return the k folds."""
        everything = np.full(len(table), "train", "<U5")
        groups = _group_folds(everything, table, self.k)
        return [
            Fold(
                f"kfold/{index}",
                carve(np.where(groups == index, "test", everything).astype("<U5"), table, "dev", self.dev),
            )
            for index in range(self.k)
        ]


SPLITS: dict[str, type[Auto | Official | Holdout | KFold]] = {
    "auto": Auto,
    "official": Official,
    "holdout": Holdout,
    "kfold": KFold,
}


def split_problems(spec: Spec) -> list[str]:
    """List everything that is wrong with the SPEC of a split."""
    if spec.name not in SPLITS:
        return [f"unknown split {spec.name!r}{did_you_mean(spec.name, SPLITS)}; known: {', '.join(SPLITS)}"]
    return [f"split {spec.name!r}: {problem}" for problem in SPLITS[spec.name].problems(spec.options)]


def divide(
    spec: Spec, table: FrameTable, task: Task, values: np.ndarray, composites: Composites | None = None
) -> tuple[list[Fold], list[str]]:
    """Return the folds of a split, and warnings about them.

    Args:
        spec: the split.
        table: the frames.
        task: whose strata have equal shares in all parts, as far as units allow.
        values: (N, ...) labels of the task.
        composites: composite frames, which are used for training only. Default: none.

    Raises:
        DataError: if the labels are not sufficient: none, of one class only, or in each fold a part of the task (such
            as a class) without training frames. If only some folds lack one, their cells fail.
    """
    table = replace(table, label=task.strata(values))
    labelled = table.label[table.label != UNLABELLED]
    if not len(labelled):
        raise DataError("no frame is labelled")
    if task.exclusive and len(np.unique(labelled)) < 2:
        raise DataError(f"every labelled frame is {task.names[labelled[0]]!r}; at least two classes are needed")
    splitter = SPLITS[spec.name](**spec.options)
    if composites is None:
        folds = splitter.folds(table)
    else:
        real = np.setdiff1d(np.arange(len(table)), composites.rows)
        folds = [composites.join(fold, table, real) for fold in splitter.folds(table.take(real))]
    labels = [{part: values[_labelled(table, fold, part)] for part in ("train", "dev", "test")} for fold in folds]
    return folds, _check_folds(spec, folds, labels, task) + [leak for fold in folds for leak in _leaks(table, fold)]


def check_training_labels(
    fold: str, task: Task, values: np.ndarray, others: Mapping[str, np.ndarray] | None = None
) -> None:
    """Check that every part of a task (such as a class) is in the training frames of a fold.

    Args:
        fold: its name.
        task: the task.
        values: (n, ...) labels of its labelled training frames.
        others: labels of its other parts, dev and test, to say which of them have the absent ones. Default: unknown.

    Raises:
        DataError: with the absent parts.
    """
    if absent := task.absent(values):
        there = [part for part, found in (others or {}).items() if absent[0] not in task.absent(found)]
        where = f": those of {absent[0]!r} are in {' and '.join(there)}" if there else ""
        ways = [f"drop it with class_map={{{absent[0]}:null}}", "merge it with another"] if task.exclusive else []
        ways += ["use fewer folds"] if fold.startswith("kfold") else []
        ways += [] if fold.startswith("holdout") else ["use the stratified split holdout"]
        problem = f"split {fold}: no training frame of {task.part} {_quoted(absent)}{where}"
        raise DataError(problem, hint=", or ".join(ways))


def _check_folds(spec: Spec, folds: Sequence[Fold], labels: Sequence[dict[str, np.ndarray]], task: Task) -> list[str]:
    """Return warnings about absent parts of the task.

    Raises:
        DataError: if dev or test of a fold has no labelled frame, or each fold lacks a part in train.
    """
    notes: list[str] = []
    faults: list[DataError] = []
    for fold, label in zip(folds, labels, strict=True):
        try:
            check_training_labels(fold.name, task, label["train"], {part: label[part] for part in ("dev", "test")})
        except DataError as error:
            faults.append(error)
        for part in ("test", "dev"):
            if not len(label[part]):
                raise faults[-1] if faults else DataError(f"split {fold.name}: no labelled {part} frame")
        if absent := task.absent(label["dev"]):
            listed = _quoted(absent)
            notes.append(f"split {fold.name}: dev has no frame of {task.part} {listed}, so choices on dev ignore it")
    if len(faults) == len(folds):  # no cell could be trained
        raise faults[0]
    if absent := task.absent(np.concatenate([label["test"] for label in labels])):
        means = f"scores are means over the other {task.parts}"
        notes.insert(0, f"split {spec}: test has no frame of {task.part} {_quoted(absent)}; {means}")
    return [*(f"{fault}; the cells of this fold fail" for fault in faults), *notes]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _labelled(table: FrameTable, fold: Fold, part: str) -> np.ndarray:
    rows = fold.rows(part)
    found: np.ndarray = rows[table.label[rows] != UNLABELLED]
    return found


def _leaks(table: FrameTable, fold: Fold) -> list[str]:
    units = {part: set(table.unit[fold.rows(part)].tolist()) for part in ("train", "dev", "test")}
    pairs = (("train", "test"), ("dev", "test"), ("train", "dev"))
    return [
        f"split {fold.name}: {len(names)} unit(s) are in both {one} and {other}, for example {names[0]!r}"
        for one, other in pairs
        if (names := sorted(units[one] & units[other]))
    ]


def carve(part: np.ndarray, table: FrameTable, name: str, share: float) -> np.ndarray:
    """Move about a share of the units of the ``train`` part to part ``name``, stratified by class.

    Raises:
        DataError: if there are too few units.
    """
    units = len(np.unique(table.unit[(part == "train") & (table.label != UNLABELLED)]))
    exact = Fraction(share).limit_denominator(max(min(_MAX_GROUPS, units), 1))
    if not 0 < exact < 1:
        raise DataError(f"{units} labelled unit(s) are too few to use {share:g} of them as {name}")
    groups = _group_folds(part, table, exact.denominator)
    out = part.copy()
    out[(groups >= 0) & (groups < exact.numerator)] = name
    return out


def _group_folds(part: np.ndarray, table: FrameTable, k: int) -> np.ndarray:
    """Return the fold 0..k-1 of each ``train`` row: (N,) int; -1 for other rows and for units without a label."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    rows = np.flatnonzero((part == "train") & (table.label != UNLABELLED))
    units, codes = np.unique(table.unit[rows], return_inverse=True)
    if len(units) < k:
        raise DataError(f"{len(units)} labelled unit(s) are too few for {k} groups")
    if np.bincount(table.label[rows]).max() < k:
        raise DataError(f"no class has the {k} labelled frames that {k} groups need")
    # The grouped splitter loops over groups in Python; if every unit is one frame, the plain one is equal and fast.
    kind = StratifiedKFold if len(units) == len(rows) else StratifiedGroupKFold
    splitter = kind(n_splits=k, shuffle=True, random_state=_RANDOM_STATE)
    by_unit = np.zeros(len(units), dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes rarer than k: _check_fold reports them
        for index, (_, test) in enumerate(splitter.split(rows, table.label[rows], codes)):
            by_unit[codes[test]] = index
    fold_of = dict(zip(units.tolist(), by_unit.tolist(), strict=True))
    out = np.full(len(table), -1)
    chosen = np.flatnonzero(part == "train")
    out[chosen] = [fold_of.get(unit, -1) for unit in table.unit[chosen].tolist()]
    return out
