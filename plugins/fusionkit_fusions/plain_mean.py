"""Averaging: every view weighs the same."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from fusionkit.contracts import StackedFusion, require_count
from fusionkit_fusions.presence import readable


class PlainMean(StackedFusion):
    """The mean of the views, with a linear head.

    Only views that are present count; a frame without any view gives its imputed main view. The order of the views does
    not matter beyond their projections.

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

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: int | None = None) -> None:
        if width is not None:
            require_count("plain-mean: width", width)
        super().__init__(in_dims, num_classes, width)

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Average over the views that are present: (B, V, D) to (B, D)."""
        counted = readable(present)
        kept = views.masked_fill(~counted[..., None], 0.0)
        return kept.sum(1) / counted.sum(1, keepdim=True)
