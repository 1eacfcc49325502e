"""Plain fusions without weights of their own: concatenation, sum, mean and maximum of the views."""

from __future__ import annotations

import torch
from torch import Tensor

from fusionkit.contracts.fusion import Fusion, StackedFusion, Views
from fusionkit_fusions.masked_fusion import masked_mean, readable


class PlainConcat(Fusion):
    """The concatenated views, with a linear head.

    Absent views are replaced by their training mean. The order of the views only permutes columns of the head.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", early fusion
    (https://arxiv.org/abs/1705.09406).
    """

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Concatenate: (B, sum of D_v)."""
        return torch.cat([views[name] for name in self.in_dims], 1)


class PooledFusion(StackedFusion):
    """Base of fusions that pool the views that are present."""

    missing = "masked"
    examples = ({}, {"width": 8})


class PlainSum(PooledFusion):
    """The sum of the views, with a linear head.

    Unlike the mean, it grows with the number of views that are present. A frame without any view uses its main view's
    training mean.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", joint representations
    (https://arxiv.org/abs/1705.09406).
    """

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Sum the views that are present: (B, V, D) to (B, D)."""
        return views.masked_fill(~readable(present)[..., None], 0.0).sum(1)


class PlainMean(PooledFusion):
    """The mean of the views, with a linear head.

    Only views that are present count; a frame without any view uses its main view's training mean. The order of the
    views has no effect beyond their projections.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", joint representations
    (https://arxiv.org/abs/1705.09406).
    """

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Average the views that are present: (B, V, D) to (B, D)."""
        return masked_mean(views, readable(present))


class PlainMax(PooledFusion):
    """The largest value of each channel over the views, with a linear head.

    Only views that are present count; a frame without any view uses its main view's training mean. The order of the
    views has no effect beyond their projections.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", joint representations
    (https://arxiv.org/abs/1705.09406).
    """

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Take the maximum over the views that are present, channel by channel: (B, V, D) to (B, D)."""
        return views.masked_fill(~readable(present)[..., None], -torch.inf).amax(1)
