"""Key generators of the paper's four fusions: all projected views in, one attention key out.

Each takes ``views`` (B, V, D), in which an absent view is zero, and ``present`` (B, V) bool, and returns (B, D). An
absent view does not enter the key: it is zero in a concatenation and is not counted in a mean.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["none", "relu", "gelu"]
Combine = Literal["concat", "mean"]
Scope = Literal["joint", "per_view"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU}


class ConcatKey(nn.Module):
    """A linear layer on the concatenated views: the authors' released key.

    Args:
        views: V.
        width: D.
    """

    def __init__(self, views: int, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(views * width, width)

    def forward(self, views: Tensor, present: Tensor) -> Tensor:
        """(B, V, D) to (B, D)."""
        key: Tensor = self.layer(combine_views("concat", views, present))
        return key


class MeanKey(nn.Module):
    """The mean of the present views, optionally followed by a linear layer.

    Args:
        width: D.
        linear: put a linear layer (D to D) behind the mean.
    """

    def __init__(self, width: int, linear: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width) if linear else nn.Identity()

    def forward(self, views: Tensor, present: Tensor) -> Tensor:
        """(B, V, D) to (B, D)."""
        key: Tensor = self.layer(combine_views("mean", views, present))
        return key


class UpDownKey(nn.Module):
    """An up-projection, an activation and a down-projection, on the combined views or around the combination.

    Args:
        combine: how the views are combined.
        views: V.
        width: D.
        ratio: output width over input width of the up-projection.
        activation: a name in ``ACTIVATIONS``.
        scope: ``joint``: combine, project up, project down. ``per_view``: project each view up, combine, project down.
    """

    def __init__(
        self, combine: Combine, views: int, width: int, ratio: float, activation: Activation, scope: Scope
    ) -> None:
        super().__init__()
        self.combine: Combine = combine
        combined = views if combine == "concat" else 1
        if scope == "joint":
            source, inner = combined * width, round(ratio * combined * width)
            self.up: nn.Module = nn.Linear(source, inner)
            self.down = nn.Linear(inner, width)
        else:
            inner = round(ratio * width)
            self.up = nn.ModuleList([nn.Linear(width, inner) for _ in range(views)])
            self.down = nn.Linear(combined * inner, width)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, views: Tensor, present: Tensor) -> Tensor:
        """(B, V, D) to (B, D)."""
        if isinstance(self.up, nn.ModuleList):
            raised = torch.stack([up(view) for up, view in zip(self.up, views.unbind(1), strict=True)], 1)
            # The bias of its up-projection would let an absent view back in.
            active = self.activation(raised).masked_fill(~present[..., None], 0.0)
            key: Tensor = self.down(combine_views(self.combine, active, present))
        else:
            key = self.down(self.activation(self.up(combine_views(self.combine, views, present))))
        return key


def combine_views(how: Combine, views: Tensor, present: Tensor) -> Tensor:
    """Concatenate to (B, V*D), or average over the present views to (B, D); absent views must be zero."""
    if how == "concat":
        return views.flatten(1)
    return views.sum(1) / present.sum(1, keepdim=True)
