"""The key generators, in which the paper's four fusions differ: all projected views in, one attention key out.

Each takes ``views`` (B, V, D), in which an absent view is zero, and ``present`` (B, V) bool, and gives (B, D). An
absent view is left out of the key: it is zero in a concatenation and does not count in a mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import require_choice, require_number

Combine = Literal["concat", "mean"]
Scope = Literal["joint", "per_view"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU}


def combine_views(how: Combine, views: Tensor, present: Tensor) -> Tensor:
    """Concatenate to (B, V*D) or average over the present views to (B, D); absent views must be zero."""
    if how == "concat":
        return views.flatten(1)
    return views.sum(1) / present.sum(1, keepdim=True)


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
    """The mean of the present views, with a linear layer behind it if asked for.

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
        combine: how the views become one: ``concat`` or ``mean``.
        views: V.
        width: D.
        ratio: the up-projection makes its input this many times as wide.
        activation: a name in ``ACTIVATIONS``.
        scope: ``joint``: combine, go up, come down. ``per_view``: each view goes up, combine, come down.

    Raises:
        ConfigError: if ``ratio``, ``activation`` or ``scope`` cannot be used.
    """

    def __init__(self, combine: Combine, views: int, width: int, ratio: float, activation: str, scope: Scope) -> None:
        require_number(f"updown-{combine}: ratio", ratio, least=1)
        require_choice(f"updown-{combine}: activation", activation, ACTIVATIONS)
        require_choice(f"updown-{combine}: scope", scope, ("joint", "per_view"))
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
