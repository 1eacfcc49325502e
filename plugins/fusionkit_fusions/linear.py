"""The reference row: the main view alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from fusionkit.contracts import Fusion


class Linear(Fusion):
    """The main view alone with a linear head; other views are not looked at.

    An absent main view stands in as its training mean.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.

    Reference: the linear probe, e.g. Alain and Bengio 2016, "Understanding intermediate layers using linear classifier
    probes" (https://arxiv.org/abs/1610.01644).
    """

    expected_failures: ClassVar[Mapping[str, str]] = {
        "gradient_reaches_every_view": "it is what other fusions are held against: the main view alone"
    }

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """The main view: (B, D_main)."""
        return views[self.main]
