"""The contract of a layout: a function that writes faces to disk as a known data set lays out its files.

A plugin joins by an entry point of the group ``fusionkit.layouts``; ``fusionkit data synth`` calls it with drawn faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fusionkit.contracts.dataset import FaceDataset


class Layout(Protocol):
    """Writes a data set's images and labels in a layout."""

    def __call__(self, folder: Path, faces: FaceDataset, *, faults: bool) -> Iterator[int]:
        """Write all clips of all splits, the same bytes for the same faces.

        Args:
            folder: empty; it is put in its place, or removed, by the caller.
            faces: the images, with labels and the splits train, val and test.
            faults: write what is wrong in the real data too, so that readers can be tried.

        Yields:
            How many frames were done since last time, now and then; they add up to the frames of ``faces``.

        Raises:
            DataError: if the faces do not fit the layout.
        """
        ...
