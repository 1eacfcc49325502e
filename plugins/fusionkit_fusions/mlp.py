"""One hidden layer on the concatenation: the baseline that a fusion has to beat."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, require_choice, require_count
from fusionkit.errors import ConfigError

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class Mlp(Fusion):
    """One hidden layer on the views side by side: the baseline that a fusion has to beat.

    Absent views stand in as their training mean. The hidden layer is the joint embedding; a linear head stands on it.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        hidden: width of the hidden layer.
        activation: ``relu`` or ``gelu``.
        dropout: share of hidden units dropped while training, 0 or more and below 1.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", joint representations
    (https://arxiv.org/abs/1705.09406).
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"hidden": 8},
        {"hidden": 8, "activation": "gelu", "dropout": 0.5},
    )

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        hidden: int = 256,
        activation: Literal["relu", "gelu"] = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_dims, num_classes)
        require_count("mlp: hidden", hidden)
        require_choice("mlp: activation", activation, _ACTIVATIONS)
        if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0.0 <= dropout < 1.0:
            raise ConfigError(f"mlp: dropout={dropout!r} is not a share from 0 to below 1")
        layers = [nn.Linear(sum(in_dims.values()), hidden), _ACTIVATIONS[activation]()]
        self.hidden = nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """The hidden layer: (B, hidden)."""
        hidden: Tensor = self.hidden(torch.cat([views[name] for name in self.in_dims], 1))
        return hidden
