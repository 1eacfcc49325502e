"""Summing: every view adds what it has."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from fusionkit.contracts import StackedFusion
from fusionkit_fusions.presence import readable


class PlainSum(StackedFusion):
    """The sum of the views, with a linear head.

    Unlike the mean, it grows with the number of views that are present. A frame without any view gives its imputed
    main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: project every view to this width; where it is not given, views are projected, to the widest, only if
            their widths differ.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", joint representations
    (https://arxiv.org/abs/1705.09406).
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"width": 8})

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Add up the views that are present: (B, V, D) to (B, D)."""
        return views.masked_fill(~readable(present)[..., None], 0.0).sum(1)
