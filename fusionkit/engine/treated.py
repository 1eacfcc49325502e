"""Features of some frames as they would be with some of their views shuffled, blank or missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fusionkit.engine.part import Arrays, Part, Presence, aligned
from fusionkit.engine.scaling import Scaling
from fusionkit.engine.streamed import StreamedPart


class Treatment(ABC):
    """What is done to one view of n frames."""

    def present(self, there: np.ndarray) -> np.ndarray:
        """(n,) bool: which frames have the view afterwards, of those that have it."""
        return there

    @abstractmethod
    def values(self, own: np.ndarray, rows: np.ndarray, of: Untreated, blank: np.ndarray) -> np.ndarray:
        """The features of some frames afterwards.

        Args:
            own: (b, D) or (b, K, D) float32, theirs.
            rows: (b,) which frames.
            of: gives the features of any others.
            blank: (D,) what a missing view holds: the training mean.
        """


@dataclass(frozen=True, eq=False)
class Untreated:
    """One view of all frames, untreated."""

    part: Part | StreamedPart
    name: str

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(b, D) or (b, K, D) float32."""
        return self.part.take(rows).views[self.name]


@dataclass(frozen=True, eq=False)
class Shuffled(Treatment):
    """Each frame gets the features of another one: ``source`` (n,) says whose."""

    source: np.ndarray

    def values(self, own: np.ndarray, rows: np.ndarray, of: Untreated, blank: np.ndarray) -> np.ndarray:
        """Those of the sources."""
        return of.take(self.source[rows])


class Blank(Treatment):
    """Every frame gets the training mean, and is said to have the view if it had it before."""

    def values(self, own: np.ndarray, rows: np.ndarray, of: Untreated, blank: np.ndarray) -> np.ndarray:
        """The mean."""
        found: np.ndarray = np.broadcast_to(blank, own.shape)
        return found


@dataclass(frozen=True, eq=False)
class Lost(Treatment):
    """Some frames lose the view, as where it had never been found: ``frames`` (n,) bool says which."""

    frames: np.ndarray

    def present(self, there: np.ndarray) -> np.ndarray:
        """Those that have not lost it."""
        kept: np.ndarray = there & ~self.frames
        return kept

    def values(self, own: np.ndarray, rows: np.ndarray, of: Untreated, blank: np.ndarray) -> np.ndarray:
        """The mean where it is lost."""
        lost = self.frames[rows].reshape(-1, *[1] * (own.ndim - 1))
        found: np.ndarray = np.where(lost, blank, own)
        return found


@dataclass(frozen=True, eq=False)
class TreatedPart(Presence):
    """Features that are treated when they are asked for.

    Attributes:
        present: (n,) bool by view, after treatment.
        part: before it.
        treatments: by view; a view that is not named stays as it is.
        blank: (D,) by view: what a missing view holds.
        asked: the fusion is asked about frames that have no view left, too; else they are imputed, as all frames are
            that never had one.
    """

    present: Arrays
    part: Part | StreamedPart
    treatments: Mapping[str, Treatment]
    blank: Arrays
    asked: bool = False

    @classmethod
    def of(
        cls,
        part: Part | StreamedPart,
        treatments: Mapping[str, Treatment],
        scaling: Mapping[str, Scaling],
        *,
        asked: bool = False,
    ) -> TreatedPart:
        """The features of a part that was scaled as told."""
        present = dict(part.present)
        for name, treatment in treatments.items():
            present[name] = treatment.present(present[name])
        return cls(present, part, treatments, {name: _blank(scaling[name]) for name in treatments}, asked)

    @property
    def seen(self) -> np.ndarray:
        """(n,) bool: the frames that the fusion is asked about."""
        return self.part.seen if self.asked else super().seen

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(n, D_v) or (n, K, D_v) by view, main view first."""
        return self.part.shapes

    def take(self, rows: np.ndarray) -> Part:
        """Some of the frames."""
        found = self.part.take(rows)
        views: Arrays = {}
        for name, own in found.views.items():
            views[name] = aligned(own.shape)
            treatment = self.treatments.get(name)
            values = treatment.values(own, rows, Untreated(self.part, name), self.blank[name]) if treatment else own
            views[name][:] = values
        return Part(views, {name: flags[rows] for name, flags in self.present.items()})

    def batches(self, batches: Iterable[np.ndarray]) -> Iterator[Part]:
        """Frames batch by batch: (b,) frames each."""
        return (self.take(rows) for rows in batches)


def _blank(scaling: Scaling) -> np.ndarray:
    """What the scaling makes of a view that is missing."""
    row = np.full((1, len(scaling.mean)), np.nan, np.float32)
    scaling.apply(row)
    found: np.ndarray = row[0]
    return found
