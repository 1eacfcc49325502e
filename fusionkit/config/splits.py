"""Who trains, who chooses and who is tested: splits by unit, drawn without regard to the seed of a cell."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.contracts.option_types import Range
from fusionkit.errors import DataError
from fusionkit.registry import did_you_mean
from fusionkit.registry.options import check_options
from fusionkit.registry.spec import Spec

Half = Annotated[float, Range(above=0, most=0.5)]

_RANDOM_STATE = 0
_FINEST = 20  # parts that units are dealt into at most: shares are met to a twentieth


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of the frames.

    Attributes:
        name: ``official``, ``holdout`` or ``kfold/0``.
        part: (N,) str: ``train``, ``dev``, ``test``, or empty for a frame that takes no part.
    """

    name: str
    part: np.ndarray

    def rows(self, part: str) -> np.ndarray:
        """(n,) int64: the rows of a part, unlabelled ones too, in table order."""
        return np.flatnonzero(self.part == part)

    @cached_property
    def digest(self) -> str:
        """Hash of the division (16 hex digits)."""
        return hashlib.sha256(self.part.astype("S5").tobytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Composites:
    """Frames that were made up of others. They have no say in how the real ones are divided.

    Attributes:
        rows: (M,) int64.
        units: (M, S) str: units of the frames that each was made of; empty where there are fewer than S.
    """

    rows: np.ndarray
    units: np.ndarray

    def join(self, fold: Fold, table: FrameTable, real: np.ndarray) -> Fold:
        """Put them into a fold of the real frames: in train where no unit of theirs is held out, else in no part."""
        part = np.full(len(table), "", dtype=fold.part.dtype)
        part[real] = fold.part
        held_out = np.unique(table.unit[(part == "dev") | (part == "test")])
        part[self.rows[~np.isin(self.units, held_out).any(1)]] = "train"
        return Fold(fold.name, part)


@dataclass(frozen=True)
class Auto:
    """``official`` where the data set has splits, else ``holdout``."""

    provided: ClassVar[tuple[str, ...]] = ()

    def folds(self, table: FrameTable) -> list[Fold]:
        """One fold."""
        chosen: Official | Holdout = Official() if (table.split != "").any() else Holdout()
        return chosen.folds(table)


@dataclass(frozen=True)
class Official:
    """The data set's own splits: with train, val and test, val is dev; with train and val, val is the test set.

    In the second case dev is carved from train, by unit.

    Args:
        dev: share of the train units that becomes dev where there is no test split.
    """

    provided: ClassVar[tuple[str, ...]] = ()
    dev: Half = 0.2

    def folds(self, table: FrameTable) -> list[Fold]:
        """One fold.

        Raises:
            DataError: if there is no train split, or nothing to test on.
        """
        named = set(np.unique(table.split).tolist())
        if "train" not in named or not named & {"val", "test"}:
            have = ", ".join(sorted(named - {""})) or "none"
            raise DataError(
                f"the data set has no official train split with val or test beside it (it has: {have})",
                hint="split = holdout carves them",
            )
        part = np.where(table.split == "train", "train", np.where(table.split == "", "", "test")).astype("<U5")
        if {"val", "test"} <= named:
            part[table.split == "val"] = "dev"
        else:
            part = carve(part, table, "dev", self.dev)
        return [Fold("official", part)]


@dataclass(frozen=True)
class Holdout:
    """One test and one dev set, carved out by unit, stratified by class; official splits are ignored.

    Args:
        test: share of the units that is tested.
        dev: share of the remaining units that is dev.
    """

    provided: ClassVar[tuple[str, ...]] = ()
    test: Half = 0.2
    dev: Half = 0.2

    def folds(self, table: FrameTable) -> list[Fold]:
        """One fold."""
        part = carve(np.full(len(table), "train", "<U5"), table, "test", self.test)
        return [Fold("holdout", carve(part, table, "dev", self.dev))]


@dataclass(frozen=True)
class KFold:
    """Each unit is tested once, in k folds that are stratified by class; dev is carved from what a fold trains on.

    Args:
        k: number of folds.
        dev: share of the train units that becomes dev.
    """

    provided: ClassVar[tuple[str, ...]] = ()
    k: Annotated[int, Range(least=2)] = 5
    dev: Half = 0.2

    def folds(self, table: FrameTable) -> list[Fold]:
        """The k folds."""
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
    """Everything that is wrong with a split's SPEC."""
    if spec.name not in SPLITS:
        return [f"unknown split {spec.name!r}{did_you_mean(spec.name, SPLITS)}; known: {', '.join(SPLITS)}"]
    found = check_options(SPLITS[spec.name], spec.options)
    return [f"split {spec.name!r}: {problem}" for problem in found]


def divide(
    spec: Spec, table: FrameTable, classes: tuple[str, ...], composites: Composites | None = None
) -> tuple[list[Fold], list[str]]:
    """The folds of a split, and warnings about them.

    Args:
        spec: the split.
        table: the frames.
        classes: their names.
        composites: which frames are made up: they may only be trained on. None: none is.

    Raises:
        DataError: if the labels cannot serve: none, of one class only, or a class without training frames.
    """
    labelled = table.label[table.label != UNLABELLED]
    if not len(labelled):
        raise DataError("no frame is labelled")
    if len(np.unique(labelled)) < 2:
        raise DataError(f"every labelled frame is {classes[labelled[0]]!r}: there is nothing to tell apart")
    splitter = SPLITS[spec.name](**spec.options)
    if composites is None:
        folds = splitter.folds(table)
    else:
        real = np.setdiff1d(np.arange(len(table)), composites.rows)
        folds = [composites.join(fold, table, real) for fold in splitter.folds(table.take(real))]
    notes: list[str] = []
    for fold in folds:
        counts = {part: _class_counts(table, fold, part, len(classes)) for part in ("train", "dev", "test")}
        absent = [classes[c] for c in np.flatnonzero(counts["train"] == 0)]
        if absent:
            raise DataError(f"split {fold.name}: no training frame of class {', '.join(map(repr, absent))}")
        if not counts["test"].sum():
            raise DataError(f"split {fold.name}: no labelled frame to test on")
        if not counts["dev"].sum():
            raise DataError(f"split {fold.name}: no labelled dev frame to choose on")
        absent = [classes[c] for c in np.flatnonzero(counts["dev"] == 0)]
        if absent:
            notes.append(
                f"split {fold.name}: dev has no frame of class {', '.join(absent)}; choices made on it are blind to it"
            )
        notes += _leaks(table, fold)
    return folds, notes


def _class_counts(table: FrameTable, fold: Fold, part: str, classes: int) -> np.ndarray:
    labels = table.label[fold.rows(part)]
    return np.bincount(labels[labels != UNLABELLED], minlength=classes)


def _leaks(table: FrameTable, fold: Fold) -> list[str]:
    units = {part: set(table.unit[fold.rows(part)].tolist()) for part in ("train", "dev", "test")}
    notes: list[str] = []
    for part, done in (("train", "trained on"), ("dev", "chosen on")):
        shared = sorted(units[part] & units["test"])
        if shared:
            notes.append(f"split {fold.name}: {len(shared)} unit(s), {shared[0]!r} for one, are both {done} and tested")
    return notes


def carve(part: np.ndarray, table: FrameTable, name: str, share: float) -> np.ndarray:
    """Turn about a share of the units of the ``train`` part into part ``name``, stratified by class.

    Raises:
        DataError: if there are too few units.
    """
    units = len(np.unique(table.unit[(part == "train") & (table.label != UNLABELLED)]))
    dealt = Fraction(share).limit_denominator(max(min(_FINEST, units), 1))
    if not 0 < dealt < 1:
        raise DataError(f"{units} unit(s) with labels are too few to carve {share:g} of them out as {name}")
    groups = _group_folds(part, table, dealt.denominator)
    out = part.copy()
    out[(groups >= 0) & (groups < dealt.numerator)] = name
    return out


def _group_folds(part: np.ndarray, table: FrameTable, k: int) -> np.ndarray:
    """(N,) int: the fold 0..k-1 of each ``train`` row; -1 for other rows and for units without a label."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    rows = np.flatnonzero((part == "train") & (table.label != UNLABELLED))
    units, codes = np.unique(table.unit[rows], return_inverse=True)
    if len(units) < k:
        raise DataError(f"{len(units)} unit(s) with labels are too few for {k} parts")
    if np.bincount(table.label[rows]).max() < k:
        raise DataError(f"no class has the {k} labelled frames that {k} parts need")
    # The grouped splitter walks over groups in Python; where every unit is one frame the plain one serves and is fast.
    alone = len(units) == len(rows)
    kind = StratifiedKFold if alone else StratifiedGroupKFold
    splitter = kind(n_splits=k, shuffle=True, random_state=_RANDOM_STATE)
    by_unit = np.zeros(len(units), dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes rarer than k: judged by our own checks of the parts
        for index, (_, test) in enumerate(splitter.split(rows, table.label[rows], codes)):
            by_unit[codes[test]] = index
    fold_of = dict(zip(units.tolist(), by_unit.tolist(), strict=True))
    out = np.full(len(table), -1)
    chosen = np.flatnonzero(part == "train")
    out[chosen] = [fold_of.get(unit, -1) for unit in table.unit[chosen].tolist()]
    return out
