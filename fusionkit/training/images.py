"""Images to train on, of whatever source: by number, each with a name and all with a fingerprint."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from fusionkit.identity import digest


class Images(ABC):
    """N images by number. Reading is safe from several threads."""

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def read(self, index: int) -> np.ndarray | None:
        """RGB uint8 (H, W, 3) of any size; None where it cannot be read."""

    @abstractmethod
    def where(self, index: int) -> str:
        """How to name an image to a person."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identity of the images; the same wherever they lie."""


class JoinedImages(Images):
    """Several sources one after the other."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self.parts = list(parts)
        self.ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, index: int) -> np.ndarray | None:
        """The image of the part in which the number falls."""
        part, place = self._place(index)
        return part.read(place)

    def where(self, index: int) -> str:
        """As the part names it."""
        part, place = self._place(index)
        return part.where(place)

    @property
    def fingerprint(self) -> str:
        """Of the parts, in their order."""
        return digest([part.fingerprint for part in self.parts])

    def _place(self, index: int) -> tuple[Images, int]:
        number = bisect_right(self.ends, index)
        return self.parts[number], index - (self.ends[number - 1] if number else 0)


class CachedImages(Images):
    """Images that are kept decoded once they have been read, until a budget is used up; the others are read each time.

    Args:
        images: what is read.
        budget: bytes of memory.
    """

    def __init__(self, images: Images, budget: int) -> None:
        self.images = images
        self.left = budget
        self.kept: dict[int, np.ndarray] = {}
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> np.ndarray | None:
        """From memory where it is there."""
        if index in self.kept:
            return self.kept[index]
        image = self.images.read(index)
        if image is not None and image.nbytes <= self.left:
            with self.lock:
                if index not in self.kept and image.nbytes <= self.left:
                    self.kept[index] = image
                    self.left -= image.nbytes
        return image

    def where(self, index: int) -> str:
        """As the source names it."""
        return self.images.where(index)

    @property
    def fingerprint(self) -> str:
        """Of the source."""
        return self.images.fingerprint
