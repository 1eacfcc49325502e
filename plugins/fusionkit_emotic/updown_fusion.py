"""What the paper's two updown fusions share: a key that goes through a wider layer."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from fusionkit_emotic.attention_fusion import AttentionFusion
from fusionkit_emotic.key_generators import Combine, UpDownKey


class UpDownFusion(AttentionFusion):
    """Attention with a key projected up and down.

    Args:
        ratio: how many times as wide as its input the up-projection is; 1 or more.
        activation: between up and down: ``gelu``, ``relu`` or ``none``, which leaves one linear map in two factors.
        scope: ``joint``: combine the views, go up, come down. ``per_view``: each view goes up by a layer of its own,
            combine, come down.

    Attributes:
        combine: how the views become one.

    Reference: Nguyen et al. 2024, https://arxiv.org/abs/2403.13039, figure 2.
    """

    combine: ClassVar[Combine]
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8},
        {"width": 8, "attention": "both", "window": 2, "token_width": 2, "scope": "per_view"},
    )

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        ratio: float = 2.0,
        activation: str = "gelu",
        scope: Literal["joint", "per_view"] = "joint",
        **options: Any,
    ) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.key = UpDownKey(self.combine, len(in_dims), self.width, ratio, activation, scope)
