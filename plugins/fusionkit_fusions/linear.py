"""The baseline without fusion: the main view alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from fusionkit.contracts import Fusion


class Linear(Fusion):
    """The main view alone with a linear head; other views are ignored.

    An absent main view is replaced by its training mean.

    Reference: the linear probe, e.g. Alain and Bengio 2016, "Understanding intermediate layers using linear classifier
    probes" (https://arxiv.org/abs/1610.01644).
    """

    expected_failures: ClassVar[Mapping[str, str]] = {
        "gradient_reaches_every_view": "the baseline for other fusions uses the main view alone"
    }

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Return the main view: (B, D_main)."""
        return views[self.main]
