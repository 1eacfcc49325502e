"""What a reader of a data set of stills has found: annotated images, and where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fusionkit_datasets.still import Still


class Images(Protocol):
    """Where the images of the rows are: files, or pixels in a table."""

    def read(self, row: int) -> np.ndarray | None:
        """RGB uint8 (H, W, 3), or None where there is no readable image."""

    def where(self, row: int) -> str:
        """The file, and the line in it where it has lines."""

    def content(self) -> str:
        """What decides the images, without the root's path."""

    def there(self) -> np.ndarray | None:
        """(N,) bool: which rows have a file with something in it; None where only reading tells."""

    def problems(self) -> Iterator[tuple[int, str]]:
        """(row, what is wrong) of each image that has something."""


@dataclass(frozen=True)
class Listing:
    """The rows of a data set before classes are mapped.

    Attributes:
        stills: the rows.
        images: their images, in the same order.
        annotation: hash of the annotation's bytes; empty where folders are the annotation.
        dropped: how many images were passed over on purpose, by reason.
        faults: what is wrong in the annotation, ``path:line: what``; the rows are not to be trusted where there is any.
    """

    stills: Sequence[Still]
    images: Images
    annotation: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    faults: Sequence[str] = ()
