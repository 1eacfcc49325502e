"""Late fusion: a classifier per view, and the mean of what they say."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, FusionOutput
from fusionkit_fusions.presence import readable


class LogitMean(Fusion):
    """A linear classifier per view; the logits of the views that are present are averaged.

    The loss is the base's, on the mean alone: the classifiers learn together, and where no view is ever absent their
    mean is a linear layer on the concatenation. Each view's own logits are given as ``view_logits``. A frame without
    any view gives the logits of its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.

    Reference: Kittler et al. 1998, "On combining classifiers", the sum rule (https://doi.org/10.1109/34.667881), here
    on logits.
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.classifiers = nn.ModuleList([nn.Linear(dim, num_classes) for dim in in_dims.values()])

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """Mean logits (B, C), and those of each view.

        Args:
            views: (B, D_v) a view.
            present: (B,) bool a view.
        """
        single = {name: layer(views[name]) for name, layer in zip(self.in_dims, self.classifiers, strict=True)}
        counted = readable(torch.stack([present[name] for name in self.in_dims], 1))
        kept = torch.stack(list(single.values()), 1).masked_fill(~counted[..., None], 0.0)
        return FusionOutput(logits=kept.sum(1) / counted.sum(1, keepdim=True), view_logits=single)
