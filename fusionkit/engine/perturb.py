"""Perturbed views: the test features of a trained cell with some views shuffled, blanked or removed.

A draw depends on the seed, its number and the frames only, so every head and every cell is tested under the same
perturbations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.engine.features import Arrays, FeaturesInMemory, FrameFeatures, Scaling, aligned
from fusionkit.engine.smooth import clips

Pattern = Literal["frame", "run", "unit"]
PATTERNS: tuple[Pattern, ...] = ("frame", "run", "unit")


class Perturbation(ABC):
    """A change of the views of a fold's test frames."""

    @abstractmethod
    def views(self, table: FrameTable, present: Arrays) -> dict[str, ViewChange]:
        """Return the change of each view; a view that is not named stays unchanged.

        Args:
            table: (n,) test frames of a fold.
            present: (n,) bool by view.
        """


@dataclass(frozen=True)
class Intact(Perturbation):
    """No change."""

    def views(self, table: FrameTable, present: Arrays) -> dict[str, ViewChange]:
        """Change nothing."""
        return {}


@dataclass(frozen=True)
class Shuffle(Perturbation):
    """Permute a view's embeddings among the test frames of the fold that have it."""

    view: str
    seed: int
    draw: int

    def views(self, table: FrameTable, present: Arrays) -> dict[str, ViewChange]:
        """Draw the permutation; a frame that lacks the view still lacks it."""
        there = np.flatnonzero(present[self.view])
        source = np.arange(len(table))
        source[there] = np.random.default_rng([self.seed, self.draw]).permutation(there)
        return {self.view: Shuffled(source)}


@dataclass(frozen=True)
class Zero(Perturbation):
    """Set a view to its training mean (zero where features are standardised) and keep it marked as present."""

    view: str

    def views(self, table: FrameTable, present: Arrays) -> dict[str, ViewChange]:
        """Set the view to its mean."""
        return {self.view: Blank()}


@dataclass(frozen=True)
class Without(Perturbation):
    """Remove some views from every frame."""

    removed: tuple[str, ...]

    def views(self, table: FrameTable, present: Arrays) -> dict[str, ViewChange]:
        """Remove the views."""
        return dict.fromkeys(self.removed, Missing(np.ones(len(table), bool)))


@dataclass(frozen=True)
class Occlusion(Perturbation):
    """Remove some views, all together, from a fraction of the test frames.

    Attributes:
        level: the fraction, 0..1. Frames removed at one level are removed at all higher levels, except for ``run``.
        pattern: ``frame``: single frames; ``run``: one run of frames in every clip, its length the fraction of the
            clip's, rounded at random; ``unit``: all frames of some units (subjects or videos), as many units as come
            nearest to the fraction.
    """

    removed: tuple[str, ...]
    level: float
    pattern: Pattern
    seed: int
    draw: int

    def views(self, table: FrameTable, present: Arrays) -> dict[str, ViewChange]:
        """Remove the views."""
        return dict.fromkeys(self.removed, Missing(self.frames(table)))

    def frames(self, table: FrameTable) -> np.ndarray:
        """Draw the frames that lose the views, (n,) bool."""
        draw = {"frame": self._frames, "run": self._runs, "unit": self._units}[self.pattern]
        return draw(table, np.random.default_rng([self.seed, self.draw]))

    def _frames(self, table: FrameTable, rng: np.random.Generator) -> np.ndarray:
        lost = np.zeros(len(table), bool)
        lost[rng.permutation(len(table))[: round(self.level * len(table))]] = True
        return lost

    def _runs(self, table: FrameTable, rng: np.random.Generator) -> np.ndarray:
        lost = np.zeros(len(table), bool)
        for clip in clips(table):
            position, rounding = rng.random(2)
            frames = clip.stop - clip.start
            length = int(self.level * frames + rounding)
            start = clip.start + int(position * (frames - length + 1))
            lost[start : start + length] = True
        return lost

    def _units(self, table: FrameTable, rng: np.random.Generator) -> np.ndarray:
        units, codes, sizes = np.unique(table.unit, return_inverse=True, return_counts=True)
        order = rng.permutation(len(units))
        reached = np.concatenate([[0], np.cumsum(sizes[order])])
        count = int(np.abs(reached - self.level * len(table)).argmin())
        found: np.ndarray = np.isin(codes, order[:count])
        return found


class ViewChange(ABC):
    """The change of one view of n frames."""

    def present(self, there: np.ndarray) -> np.ndarray:
        """Return (n,) bool: frames that have the view after the change."""
        return there

    @abstractmethod
    def values(self, own: np.ndarray, rows: np.ndarray, source: ViewFeatures, blank: np.ndarray) -> np.ndarray:
        """Return the features of some frames after the change.

        Args:
            own: (b, D) or (b, K, D) float32, before the change.
            rows: (b,) frame numbers.
            source: gives the unchanged features of any frame.
            blank: (D,) the value of a missing view: the training mean.
        """


@dataclass(frozen=True, eq=False)
class ViewFeatures:
    """Unchanged features of one view."""

    features: FrameFeatures
    name: str

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the features of some frames: (b, D) or (b, K, D) float32."""
        return self.features.take(rows).views[self.name]


@dataclass(frozen=True, eq=False)
class Shuffled(ViewChange):
    """Frame i gets the features of frame ``source[i]``; ``source`` is (n,)."""

    source: np.ndarray

    def values(self, own: np.ndarray, rows: np.ndarray, source: ViewFeatures, blank: np.ndarray) -> np.ndarray:
        """Return the features of the source frames."""
        return source.take(self.source[rows])


class Blank(ViewChange):
    """Every frame gets the training mean and keeps its presence flag."""

    def values(self, own: np.ndarray, rows: np.ndarray, source: ViewFeatures, blank: np.ndarray) -> np.ndarray:
        """Return the mean."""
        found: np.ndarray = np.broadcast_to(blank, own.shape)
        return found


@dataclass(frozen=True, eq=False)
class Missing(ViewChange):
    """Some frames lose the view, as if it had never been found: ``frames`` is (n,) bool."""

    frames: np.ndarray

    def present(self, there: np.ndarray) -> np.ndarray:
        """Return the frames that keep the view."""
        kept: np.ndarray = there & ~self.frames
        return kept

    def values(self, own: np.ndarray, rows: np.ndarray, source: ViewFeatures, blank: np.ndarray) -> np.ndarray:
        """Return the mean where the view is lost."""
        lost = self.frames[rows].reshape(-1, *[1] * (own.ndim - 1))
        found: np.ndarray = np.where(lost, blank, own)
        return found


@dataclass(frozen=True, eq=False)
class Replaced(ViewChange):
    """Every row gets other features of the view, and their presence: of a clip that was pooled from fewer frames."""

    view: ViewFeatures

    def present(self, there: np.ndarray) -> np.ndarray:
        """Return the presence of the other features."""
        return self.view.features.present[self.view.name]

    def values(self, own: np.ndarray, rows: np.ndarray, source: ViewFeatures, blank: np.ndarray) -> np.ndarray:
        """Return the other features."""
        return self.view.take(rows)


@dataclass(frozen=True, eq=False)
class PerturbedFeatures(FrameFeatures):
    """Features that are perturbed when asked for.

    Attributes:
        present: (n,) bool by view, after the change.
        features: before the change.
        changes: by view; a view that is not named stays unchanged.
        blank: (D,) by view: the value of a missing view.
        predict_empty: run the fusion on frames that have lost every view. If False they are imputed, like all frames
            that never had a view.
    """

    present: Arrays
    features: FrameFeatures
    changes: Mapping[str, ViewChange]
    blank: Arrays
    predict_empty: bool = False

    @classmethod
    def of(
        cls,
        features: FrameFeatures,
        changes: Mapping[str, ViewChange],
        scaling: Mapping[str, Scaling],
        *,
        predict_empty: bool = False,
    ) -> PerturbedFeatures:
        """Perturb features that were scaled with ``scaling``."""
        present = dict(features.present)
        for name, change in changes.items():
            present[name] = change.present(present[name])
        return cls(present, features, changes, {name: _blank(scaling[name]) for name in changes}, predict_empty)

    @property
    def seen(self) -> np.ndarray:
        """(n,) bool: frames that the fusion predicts."""
        return self.features.seen if self.predict_empty else super().seen

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(n, D_v) or (n, K, D_v) by view, main view first."""
        return self.features.shapes

    def take(self, rows: np.ndarray) -> FeaturesInMemory:
        """Return the perturbed features of some frames."""
        found = self.features.take(rows)
        views: Arrays = {}
        for name, own in found.views.items():
            views[name] = aligned(own.shape)
            change = self.changes.get(name)
            source = ViewFeatures(self.features, name)
            views[name][:] = change.values(own, rows, source, self.blank[name]) if change else own
        return FeaturesInMemory(views, {name: flags[rows] for name, flags in self.present.items()})


def _blank(scaling: Scaling) -> np.ndarray:
    """Return the scaled value of a missing view."""
    row = np.full((1, len(scaling.mean)), np.nan, np.float32)
    scaling.apply(row)
    found: np.ndarray = row[0]
    return found
