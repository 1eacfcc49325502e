"""Under which conditions a trained cell is tested: what is done to the views of its test frames, drawn from a seed.

A draw depends on the seed, its number and the frames alone: every head and every cell is tested under the same ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.engine.part import Arrays
from fusionkit.engine.smooth import clips
from fusionkit.engine.treated import Blank, Lost, Shuffled, Treatment

Pattern = Literal["frame", "run", "unit"]
PATTERNS: tuple[Pattern, ...] = ("frame", "run", "unit")


class Condition(ABC):
    """What is done to the views of a fold's test frames."""

    @abstractmethod
    def treatments(self, table: FrameTable, present: Arrays) -> dict[str, Treatment]:
        """What is done to each view; one that is not named stays as it is.

        Args:
            table: (n,) the test frames of a fold.
            present: (n,) bool by view.
        """


@dataclass(frozen=True)
class Intact(Condition):
    """Nothing is done."""

    def treatments(self, table: FrameTable, present: Arrays) -> dict[str, Treatment]:
        """None."""
        return {}


@dataclass(frozen=True)
class Shuffle(Condition):
    """A view's embeddings change places among the test frames of the fold that have it."""

    view: str
    seed: int
    draw: int

    def treatments(self, table: FrameTable, present: Arrays) -> dict[str, Treatment]:
        """Whose embedding each frame gets; a frame that lacks the view goes on lacking it."""
        there = np.flatnonzero(present[self.view])
        source = np.arange(len(table))
        source[there] = np.random.default_rng([self.seed, self.draw]).permutation(there)
        return {self.view: Shuffled(source)}


@dataclass(frozen=True)
class Zero(Condition):
    """A view holds its training mean, zero where features are standardised, and is said to be there."""

    view: str

    def treatments(self, table: FrameTable, present: Arrays) -> dict[str, Treatment]:
        """The mean."""
        return {self.view: Blank()}


@dataclass(frozen=True)
class Without(Condition):
    """Some views are missing in every frame."""

    views: tuple[str, ...]

    def treatments(self, table: FrameTable, present: Arrays) -> dict[str, Treatment]:
        """All of them lost."""
        return dict.fromkeys(self.views, Lost(np.ones(len(table), bool)))


@dataclass(frozen=True)
class Occlusion(Condition):
    """Some views are missing, all of them together, in a fraction of the test frames.

    Attributes:
        level: the fraction, 0..1. What is lost at one level is lost at all higher ones, but for ``run``.
        pattern: ``frame``: each frame by itself; ``run``: in every clip one run of frames, of a length that is the
            fraction of the clip's, rounded up or down by chance; ``unit``: all frames of some units, as many of them
            as come nearest to the fraction.
    """

    views: tuple[str, ...]
    level: float
    pattern: Pattern
    seed: int
    draw: int

    def treatments(self, table: FrameTable, present: Arrays) -> dict[str, Treatment]:
        """Which frames lose the views."""
        lost = {"frame": self._frames, "run": self._runs, "unit": self._units}[self.pattern]
        return dict.fromkeys(self.views, Lost(lost(table, np.random.default_rng([self.seed, self.draw]))))

    def _frames(self, table: FrameTable, rng: np.random.Generator) -> np.ndarray:
        lost = np.zeros(len(table), bool)
        lost[rng.permutation(len(table))[: round(self.level * len(table))]] = True
        return lost

    def _runs(self, table: FrameTable, rng: np.random.Generator) -> np.ndarray:
        lost = np.zeros(len(table), bool)
        for clip in clips(table):
            place, rounding = rng.random(2)
            frames = clip.stop - clip.start
            length = int(self.level * frames + rounding)
            start = clip.start + int(place * (frames - length + 1))
            lost[start : start + length] = True
        return lost

    def _units(self, table: FrameTable, rng: np.random.Generator) -> np.ndarray:
        units, codes, sizes = np.unique(table.unit, return_inverse=True, return_counts=True)
        order = rng.permutation(len(units))
        reached = np.concatenate([[0], np.cumsum(sizes[order])])
        count = int(np.abs(reached - self.level * len(table)).argmin())
        found: np.ndarray = np.isin(codes, order[:count])
        return found
