"""Another data set with made-up training frames: a region is swapped between faces of one class. Nothing is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import Extractor, FaceDataset, FrameTable
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS, EXTRACTORS, did_you_mean
from fusionkit_datasets.region_swap import BoxedFace, swap_region
from fusionkit_datasets.swap_pairs import Swaps, draw_swaps, unite_stills


class Swapped(FaceDataset):
    """A data set, and behind its frames composites of rare classes: a face with a region of another one of its class.

    The donor's box is brought to the receiver's, its colour matched, its edge made soft. Both faces should be aligned.
    Donor and receiver are of the train split and of one unit, which the composite belongs to, so that whatever split is
    made, no composite shows somebody who is tested or chosen on. Composites are trained on only, and only where their
    unit is; dev and test are those of the source, frame for frame.

    Stills of which nobody knows whom they show are units of one frame, with nobody to swap with. Those of the classes
    that are swapped are dealt into groups of ``group``, and each group is one unit from then on: it is in train or in
    dev as a whole. So hold results against those with ``copies=0``, which has the same groups and no composites.

    A frame of which a region is not found gives and gets none: its composites are frames without an image.

    Args:
        source: the data set, a SPEC or a dict with ``type``.
        classes: names of the classes to make frames of: ``Fear``, ``[Fear,Disgust]`` or ``"Fear,Disgust"``.
        regions: what is swapped: ``mouth``; ``"eye,mouth"`` for one or the other; ``eye+mouth`` for both at once.
        copies: composites for each frame of those classes, fewer where there are not as many different ones.
        group: stills a group, 2 or more.
        feather: width of the soft edge, as a share of a box's shorter side, 0..0.5.
        seed: draws groups and pairs.
        extractor: says where the regions are.

    Raises:
        ConfigError: if an option is wrong, or the source has no images.
        DataError: if stills without official splits would have to be united: who is tested must not depend on it.

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
        copies: int = 1,
        group: int = 8,
        feather: float = 0.3,
        seed: int = 0,
        extractor: str | dict[str, Any] = "template",
    ) -> None:
        for name, value, least in (("copies", copies, 0), ("group", group, 2), ("seed", seed, 0)):
            if value < least:
                raise ConfigError(f"swapped: {name}={value} must be {least} or more")
        if not 0 <= feather <= 0.5:
            raise ConfigError(f"swapped: feather={feather} must lie in 0..0.5")
        self._source: FaceDataset = DATASETS.build(source)
        if type(self._source).read is FaceDataset.read:
            raise ConfigError(f"swapped: source {source} has ready embeddings and no images")
        if self._source.composed_of() is not None:
            raise ConfigError(f"swapped: source {source} makes frames up already")
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
        """Those of the source."""
        return self._source.classes

    @cached_property
    def frames(self) -> FrameTable:
        """The source's table, then the composites: each a clip of one frame, with the number and unit of its receiver.

        Raises:
            DataError: if there are stills to unite, and no official split.
        """
        table, swaps = self._table, self._swaps
        got = table.take(swaps.receiver)
        copy = _counted(swaps.receiver)
        names = [
            f"{clip}~{number}~{place}"
            for clip, number, place in zip(got.clip.tolist(), got.number.tolist(), copy.tolist(), strict=True)
        ]
        video = np.where(got.video != "", got.video, got.clip)  # the clip is new, the unit stays
        made = FrameTable.of(names, got.number, got.label, subject=got.subject, split=got.split, video=video)
        columns = {name: np.concatenate([getattr(table, name), getattr(made, name)]) for name in vars(got)}
        return FrameTable(**{name: columns[name] for name in FrameTable.__dataclass_fields__})

    def composed_of(self) -> np.ndarray:
        """(N, 2): of a composite, receiver and donor."""
        made = np.stack([self._swaps.receiver, self._swaps.donor], axis=1)
        return np.concatenate([np.full((len(self._table), 2), -1), made])

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """The source's images; composites are made when they are asked for, each frame that they need is read once."""
        count = len(self._table)
        made = rows[rows >= count] - count
        needed = np.unique(np.concatenate([rows[rows < count], self._swaps.receiver[made], self._swaps.donor[made]]))
        images = dict(zip(needed.tolist(), self._source.images(needed), strict=True))
        boxes = self._located(images, np.unique([self._swaps.receiver[made], self._swaps.donor[made]]))
        return [images[row] if row < count else self._composite(row - count, images, boxes) for row in rows.tolist()]

    def content(self) -> str:
        """The source's fingerprint, and what is swapped with what."""
        state = hashlib.sha256()
        for column in (self._swaps.receiver, self._swaps.donor, self._swaps.choice):
            state.update(column.astype("<i8").tobytes())
        return json.dumps([self._source.fingerprint(), self._choices, self._feather, state.hexdigest()])

    def where(self, row: int) -> str:
        """The source's name of a frame; of a composite, those of both."""
        place = row - len(self._table)
        if place < 0:
            return self._source.where(row)
        receiver, donor = int(self._swaps.receiver[place]), int(self._swaps.donor[place])
        regions = " and ".join(self._choices[self._swaps.choice[place]])
        return f"{self._source.where(receiver)} with {regions} of {self._source.where(donor)}"

    def has_image(self) -> np.ndarray | None:
        """As the source says where there are no composites; whether their regions are found only reading tells."""
        return None if len(self._swaps) else self._source.has_image()

    def problems(self) -> Sequence[str]:
        """The source's."""
        return list(self._source.problems())

    @cached_property
    def _candidates(self) -> np.ndarray:
        """(n,) int64: the rows that may give and get a region."""
        table, there = self._source.table(), self._source.has_image()
        wanted = np.isin(table.label, [self._source.classes.index(name) for name in self._rare])
        trained = table.split == ("train" if (table.split != "").any() else "")
        return np.flatnonzero(wanted & trained & (True if there is None else there))

    @cached_property
    def _table(self) -> FrameTable:
        """The source's table, lone stills united."""
        table = self._source.table()
        subject = unite_stills(table, self._candidates, self.classes, self._group, self._seed)
        if (subject != table.subject).any() and not (table.split == "train").any():
            raise DataError(
                "swapped: the source has stills of unknown people and no official split",
                hint="who is tested must not depend on the groups: give it train, val and test folders",
            )
        return FrameTable.of(
            table.clip, table.number, table.label, subject=subject, split=table.split, video=table.video
        )

    @cached_property
    def _swaps(self) -> Swaps:
        return draw_swaps(self._table, self._candidates, self._copies, len(self._choices), self._seed)

    def _located(self, images: dict[int, np.ndarray | None], rows: np.ndarray) -> dict[int, dict[str, np.ndarray]]:
        """Boxes by region, by row, of those that have an image."""
        frames = {row: image for row in rows.tolist() if (image := images[row]) is not None}
        if not frames:
            return {}
        found = self._extractor(list(frames.values())).boxes
        named = [dict(zip(self._extractor.regions, boxes, strict=True)) for boxes in found]
        return dict(zip(frames, named, strict=True))

    def _composite(
        self, place: int, images: dict[int, np.ndarray | None], boxes: dict[int, dict[str, np.ndarray]]
    ) -> np.ndarray | None:
        receiver, donor = int(self._swaps.receiver[place]), int(self._swaps.donor[place])
        image, other = images[receiver], images[donor]
        for region in self._choices[self._swaps.choice[place]]:
            if image is None or other is None:
                return None
            pair = boxes[receiver][region].astype(np.float64), boxes[donor][region].astype(np.float64)
            if np.isnan(pair).any():
                return None
            image = swap_region(BoxedFace(image, pair[0]), BoxedFace(other, pair[1]), self._feather)
        return image


def _names(option: str, value: str | Sequence[str]) -> list[str]:
    """Names from a list, or from text with commas between them.

    Raises:
        ConfigError: if there is none, or one stands twice.
    """
    names = [name.strip() for name in (value.strip("[]").split(",") if isinstance(value, str) else value)]
    if not names or not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"swapped: {option}={value!r} is not a list of different names")
    return names


def _check_known(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ConfigError(f"swapped: there is no {what} {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")


def _counted(rows: np.ndarray) -> np.ndarray:
    """(M,) int64: of each row, which of those with its value it is, from 1; equal values stand together."""
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]]) if len(rows) else np.empty(0, int)
    return np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)])) + 1
