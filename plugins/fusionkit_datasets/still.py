"""One annotated image of a data set of stills."""

from __future__ import annotations

from typing import NamedTuple


class Still(NamedTuple):
    """One row, before classes are mapped.

    Attributes:
        clip: the clip's name; of a lone image, its own.
        label: number of the data set's own class; -1 is unlabelled.
        split: ``train``, ``val``, ``test`` or empty.
        line: the line of the annotation that brought it, from 1; 0 where it came from no line.
        source: the annotation's file; empty where there is none.
        number: frame number in the clip.
        subject: who it is, where that is known.
        video: what several clips were taken from, such as a photo of several people.
    """

    clip: str
    label: int
    split: str = ""
    line: int = 0
    source: str = ""
    number: int = 1
    subject: str = ""
    video: str = ""

    @property
    def origin(self) -> str:
        """File and line of the annotation."""
        return f"{self.source}:{self.line}" if self.line else self.source
