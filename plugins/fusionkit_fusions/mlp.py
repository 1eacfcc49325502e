"""One hidden layer on the concatenated views: a baseline for other fusions."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion
from fusionkit.contracts.option_types import Count, Range


class Mlp(Fusion):
    """One hidden layer on the concatenated views, with a linear head: a baseline for other fusions.

    Absent views are replaced by their training mean. The hidden layer is the joint embedding.

    Args:
        hidden: width of the hidden layer.
        activation: of the hidden layer.
        dropout: share of hidden units dropped in training.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", joint representations
    (https://arxiv.org/abs/1705.09406).
    """

    examples = ({"hidden": 8}, {"hidden": 8, "activation": "gelu", "dropout": 0.5})

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        hidden: Count = 256,
        activation: Literal["relu", "gelu"] = "relu",
        dropout: Annotated[float, Range(least=0, below=1)] = 0.0,
    ) -> None:
        super().__init__(in_dims, num_classes)
        layers = [nn.Linear(sum(in_dims.values()), hidden), nn.ReLU() if activation == "relu" else nn.GELU()]
        self.hidden = nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Return the hidden layer: (B, hidden)."""
        hidden: Tensor = self.hidden(torch.cat([views[name] for name in self.in_dims], 1))
        return hidden
