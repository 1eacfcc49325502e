"""Maximum: in each channel the strongest view speaks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from fusionkit.contracts import StackedFusion, require_count
from fusionkit_fusions.presence import readable


class PlainMax(StackedFusion):
    """The largest value of each channel over the views, with a linear head.

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
            require_count("plain-max: width", width)
        super().__init__(in_dims, num_classes, width)

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Take the channel-wise maximum over the views that are present: (B, V, D) to (B, D)."""
        return views.masked_fill(~readable(present)[..., None], -torch.inf).amax(1)
