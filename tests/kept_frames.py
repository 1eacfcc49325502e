"""Frames of the synthetic data set, drawn once: nearly all the time of a small run goes into its 600 frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import pytest

from fusionkit_synthetic.cast import Cast

drawn = lru_cache(2000)(Cast.frame)  # 38 kB each


def _frame(cast: Cast, clip: int, index: int) -> np.ndarray | None:
    image = drawn(cast, clip, index)
    return None if image is None else image.copy()


@contextmanager
def frames_kept() -> Iterator[None]:
    """Take frames that were drawn in an earlier test of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cast, "frame", _frame)
        yield
