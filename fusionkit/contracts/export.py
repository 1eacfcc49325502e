"""How images of a data set are laid out when they are written anew, so that the same kind of data set reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Export:
    """A layout for n rows of a data set.

    Attributes:
        paths: where each row's image goes, below the new root, with ``/``. The ending says in which format: ``.jpg``,
            ``.jpeg`` or ``.png``; in place of another one the image becomes a ``.png``.
        annotated: (n,) bool: rows that an annotation file keeps in the table when they have no image. In place of the
            image of another row an empty file is written: without it the row would be lost, and nobody would miss it.
        files: annotation, path below the new root to the file that is copied there, byte for byte.
        options: which options the new root is read with, other than those of the source; None: without that option.
            Those that say where data lie are left out anyway, and ``root`` is set.
    """

    paths: Sequence[str]
    annotated: np.ndarray
    files: Mapping[str, Path] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
