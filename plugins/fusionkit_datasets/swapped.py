"""Another data set plus synthetic training frames: composites with a region of another face of the same class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np

from fusionkit.contracts import UNLABELLED, Extractor, FaceDataset, FrameTable, Labels, Natural, Range
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS, EXTRACTORS, did_you_mean
from fusionkit_datasets.region_swap import BoxedFace, swap_region


class Swapped(FaceDataset):
    """A data set plus composites for rare classes: a face with a region of another face of its class.

    The donor's region is warped to the receiver's box, its colour is matched, its edge is soft; nothing is trained.
    Both faces should be aligned. Donor and receiver are train frames of one unit (subject or video), which the
    composite belongs to, so no composite shows a person of dev or test in any split. Composites are used for training
    only, in folds that train on their unit; dev and test are those of the source.

    Stills of unknown persons are units of one frame, which have no donor. Those of the chosen classes are put into
    groups of ``group``, and each group is one unit: the whole of it is in train or in dev. Compare results with those
    of ``copies=0``, which has the same groups and no composites.

    If a region is not found in a frame, its composites are frames without an image.

    Args:
        source: the data set, a SPEC or a dict with ``type``.
        classes: classes to make composites of: ``Fear``, ``[Fear,Disgust]`` or ``"Fear,Disgust"``.
        regions: regions to swap: ``mouth``; ``"eye,mouth"`` for one or the other; ``eye+mouth`` for both at once.
        copies: composites per frame of those classes, or as many as there are different ones.
        group: stills per group.
        feather: width of the soft edge, as a fraction of a box's shorter side.
        seed: seed of groups and pairs.
        extractor: extractor of the regions, a SPEC or a dict with ``type``.

    Raises:
        ConfigError: if a class or region is unknown, or the source has no images or has composites.
        DataError: if stills must be grouped and there is no official split: groups must not decide what is tested.

    Reference: after the training-free, CutMix-like synthesis of T.-H. Nguyen et al., Towards Robust Natural-Looking
    Mammography Lesion Synthesis on Ipsilateral Dual-Views Breast Cancer Analysis, ICCVW 2023, arXiv:2309.03506, by
    some of the paper's authors; its transfer to faces is ours. CutMix: S. Yun et al., ICCV 2019, arXiv:1905.04899.
    """

    nested: ClassVar[dict[str, str]] = {"source": "dataset", "extractor": "extractor"}
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "source": "synthetic:train=4,val=3,test=3,clips=4,clip_length=8",
            "classes": "Neutral",
            "regions": "eye,mouth",
        },
    )

    def __init__(
        self,
        source: str | dict[str, Any],
        classes: str | list[str],
        regions: str | list[str] = "mouth",
        copies: Natural = 1,
        group: Annotated[int, Range(least=2)] = 8,
        feather: Annotated[float, Range(least=0, most=0.5)] = 0.3,
        seed: Natural = 0,
        extractor: str | dict[str, Any] = "template",
    ) -> None:
        self._source: FaceDataset = DATASETS.build(source)
        if type(self._source).read is FaceDataset.read:
            raise ConfigError(f"swapped: source {source} must have images, not stored embeddings")
        if self._source.composed_of() is not None:
            raise ConfigError(f"swapped: source {source} already has composites")
        self._extractor: Extractor = EXTRACTORS.build(extractor)
        self._choices = [choice.split("+") for choice in _names("regions", regions)]
        for region in (region for choice in self._choices for region in choice):
            _check_known("region", region, self._extractor.regions)
        self._rare = _names("classes", classes)
        for name in self._rare:
            _check_known("class", name, self._source.classes)
        self._copies, self._group, self._seed, self._feather = copies, group, seed, float(feather)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the source."""
        return self._source.classes

    @cached_property
    def frames(self) -> FrameTable:
        """The source's table, then the composites: each a clip of one frame, with number and unit of its receiver.

        Raises:
            DataError: if stills must be grouped and there is no official split.
        """
        table, swaps = self._table, self._swaps
        receiver = table.take(swaps.receiver)
        copy = _counted(swaps.receiver)
        names = [
            f"{clip}~{number}~{index}"
            for clip, number, index in zip(receiver.clip.tolist(), receiver.number.tolist(), copy.tolist(), strict=True)
        ]
        video = np.where(receiver.video != "", receiver.video, receiver.clip)  # the clip is new, the unit stays
        composites = FrameTable.of(
            names, receiver.number, receiver.label, subject=receiver.subject, split=receiver.split, video=video
        )
        columns = FrameTable.__dataclass_fields__
        return FrameTable(
            **{name: np.concatenate([getattr(table, name), getattr(composites, name)]) for name in columns}
        )

    def labels(self, task: str) -> Labels | None:
        """Return the expressions; of other tasks those of the source, none of a composite.

        Composites have the class of both faces, but not their action units, valence or votes.
        """
        if task == "expression":
            return super().labels(task)
        found = self._source.labels(task)
        if found is None:
            return None
        values = found.values
        if values.ndim == 2:
            unlabelled = np.full((len(self._swaps), values.shape[1]), np.nan, np.float32)
        else:
            unlabelled = np.full(len(self._swaps), UNLABELLED)
        return Labels(found.names, np.concatenate([values, unlabelled]))

    def composed_of(self) -> np.ndarray:
        """Return (N, 2): receiver and donor of a composite, -1 for other frames."""
        composites = np.stack([self._swaps.receiver, self._swaps.donor], axis=1)
        return np.concatenate([np.full((len(self._table), 2), -1), composites])

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Return images of the source and composites; each frame that is needed is read once."""
        count = len(self._table)
        composites = rows[rows >= count] - count
        receivers, donors = self._swaps.receiver[composites], self._swaps.donor[composites]
        needed = np.unique(np.concatenate([rows[rows < count], receivers, donors]))
        images = dict(zip(needed.tolist(), self._source.images(needed), strict=True))
        boxes = self._located(images, np.unique([receivers, donors]))
        return [images[row] if row < count else self._composite(row - count, images, boxes) for row in rows.tolist()]

    def content(self) -> str:
        """Return the source's fingerprint without images, and a hash of all swaps."""
        state = hashlib.sha256()
        for column in (self._swaps.receiver, self._swaps.donor, self._swaps.choice):
            state.update(column.astype("<i8").tobytes())
        source = self._source.fingerprint(np.empty(0, np.int64))
        return json.dumps([source, self._choices, self._feather, state.hexdigest()])

    def image_files(self, rows: np.ndarray) -> Iterable[str]:
        """Return the source's files of these frames; for composites, those of receiver and donor."""
        count = len(self._table)
        composites = rows[rows >= count] - count
        parts = rows[rows < count], self._swaps.receiver[composites], self._swaps.donor[composites]
        return self._source.image_files(np.concatenate(parts))

    def where(self, row: int) -> str:
        """Return the source's name of a frame; for a composite, the names of receiver and donor."""
        index = row - len(self._table)
        if index < 0:
            return self._source.where(row)
        receiver, donor = int(self._swaps.receiver[index]), int(self._swaps.donor[index])
        regions = " and ".join(self._choices[self._swaps.choice[index]])
        return f"{self._source.where(receiver)} with {regions} of {self._source.where(donor)}"

    def has_image(self) -> np.ndarray | None:
        """Return that of the source if there are no composites; else None, since only reading finds their regions."""
        return None if len(self._swaps) else self._source.has_image()

    def problems(self) -> Sequence[str]:
        """Return those of the source."""
        return list(self._source.problems())

    @cached_property
    def _candidates(self) -> np.ndarray:
        """(n,) int64: rows that may be receivers and donors."""
        table, there = self._source.table(), self._source.has_image()
        wanted = np.isin(table.label, [self._source.classes.index(name) for name in self._rare])
        trained = table.split == ("train" if (table.split != "").any() else "")
        return np.flatnonzero(wanted & trained & (True if there is None else there))

    @cached_property
    def _table(self) -> FrameTable:
        """The source's table with groups of stills."""
        table = self._source.table()
        subject = group_stills(table, self._candidates, self.classes, self._group, self._seed)
        if (subject != table.subject).any() and not (table.split == "train").any():
            raise DataError(
                "swapped: the source has stills of unknown persons and no official split",
                hint="add folders train, val and test: groups of stills must not decide what is tested",
            )
        return replace(table, subject=subject)

    @cached_property
    def _swaps(self) -> Swaps:
        return draw_swaps(self._table, self._candidates, self._copies, len(self._choices), self._seed)

    def _located(self, images: dict[int, np.ndarray | None], rows: np.ndarray) -> dict[int, dict[str, np.ndarray]]:
        """Return row to region to box, for rows with an image."""
        frames = {row: image for row in rows.tolist() if (image := images[row]) is not None}
        if not frames:
            return {}
        found = self._extractor(list(frames.values())).boxes
        named = [dict(zip(self._extractor.regions, boxes, strict=True)) for boxes in found]
        return dict(zip(frames, named, strict=True))

    def _composite(
        self, index: int, images: dict[int, np.ndarray | None], boxes: dict[int, dict[str, np.ndarray]]
    ) -> np.ndarray | None:
        receiver, donor = int(self._swaps.receiver[index]), int(self._swaps.donor[index])
        image, other = images[receiver], images[donor]
        for region in self._choices[self._swaps.choice[index]]:
            if image is None or other is None:
                return None
            pair = boxes[receiver][region].astype(np.float64), boxes[donor][region].astype(np.float64)
            if np.isnan(pair).any():
                return None
            image = swap_region(BoxedFace(image, pair[0]), BoxedFace(other, pair[1]), self._feather)
        return image


@dataclass(frozen=True, eq=False)
class Swaps:
    """M composites.

    Attributes:
        receiver: (M,) int64, rows that get a region.
        donor: (M,) int64, rows that the region is taken from.
        choice: (M,) int64, index of the choice of regions.
    """

    receiver: np.ndarray
    donor: np.ndarray
    choice: np.ndarray

    def __len__(self) -> int:
        return len(self.receiver)


def group_stills(table: FrameTable, rows: np.ndarray, classes: tuple[str, ...], size: int, seed: int) -> np.ndarray:
    """Put stills of unknown persons into groups of one class, so that each has a donor.

    These are frames without subject and video that are the only frame of their clip.

    Args:
        table: table of the data set.
        rows: (n,) int64, candidates.
        classes: class names.
        size: frames per group, or slightly more.
        seed: seed of the groups.

    Returns:
        (N,) str: subjects of the table; members of a group have its name.
    """
    _, codes, counts = np.unique(table.unit, return_inverse=True, return_counts=True)
    single = rows[(counts[codes[rows]] == 1) & (table.subject[rows] == "") & (table.video[rows] == "")]
    subject = table.subject.astype(object)
    random = np.random.default_rng([seed, 0])
    prefix, taken = "group", set(table.unit.tolist())
    while any(unit.startswith(f"{prefix} ") for unit in taken):
        prefix += "_"
    for label in np.unique(table.label[single]).tolist():
        members = random.permutation(single[table.label[single] == label])
        for number, group in enumerate(np.array_split(members, max(len(members) // size, 1))):
            subject[group] = f"{prefix} {classes[label]} {number}"
    return subject.astype(np.str_)


def draw_swaps(table: FrameTable, rows: np.ndarray, copies: int, choices: int, seed: int) -> Swaps:
    """Draw donors of the same class and unit for each frame: ``copies``, or as many as there are different composites.

    Donors are from other clips of the unit if there are any, else from other frames of the clip.

    Args:
        table: table of the data set, with final units.
        rows: (n,) int64, candidates.
        copies: composites per frame.
        choices: number of choices of regions.
        seed: seed of the pairs.
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
    """Return (3, m) receivers, donors and choices for frames of one class and unit, in the order of the table."""
    names = clips[members]
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]) if len(members) else np.empty(0, int)
    run = np.searchsorted(starts, np.arange(len(members)), side="right") - 1
    ends = np.r_[starts[1:], len(members)]
    found = []
    for index, receiver in enumerate(members.tolist()):
        first, last = (starts[run[index]], ends[run[index]]) if len(starts) > 1 else (index, index + 1)
        donors = len(members) - int(last - first)
        drawn = random.choice(donors * choices, size=min(copies, donors * choices), replace=False)
        donor = drawn // choices
        donor = np.where(donor < first, donor, donor + (last - first))
        found.append(np.stack([np.full(len(drawn), receiver), members[donor], drawn % choices]))
    return np.concatenate([np.empty((3, 0), np.int64), *found], axis=1)


def _names(option: str, value: str | Sequence[str]) -> list[str]:
    """Return names of a list, or of text with commas.

    Raises:
        ConfigError: if there is none, or a name is repeated.
    """
    names = [name.strip() for name in (value.strip("[]").split(",") if isinstance(value, str) else value)]
    if not names or not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"swapped: {option}={value!r} must be a list of different names")
    return names


def _check_known(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ConfigError(f"swapped: unknown {kind} {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")


def _counted(rows: np.ndarray) -> np.ndarray:
    """Return (M,) int64: for each row its index, from 1, among adjacent equal values."""
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]]) if len(rows) else np.empty(0, int)
    return np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)])) + 1
