"""The paper's mean fusion: attention whose key is the mean of the views."""

from __future__ import annotations

from typing import Any, ClassVar

from fusionkit.contracts import require_switch
from fusionkit_emotic.attention_fusion import AttentionFusion
from fusionkit_emotic.key_generators import MeanKey


class Mean(AttentionFusion):
    """Attention whose key is the mean of the views (the paper's mean).

    As ``concat``, but the key is the mean of the projected views that are present. The paper names this key without
    details that we know: the bare mean is our reading, and ``linear`` the other one.

    The order of the auxiliary views does not matter beyond each view's own projection.

    Args:
        linear: put a linear layer behind the mean, as the concat key has one.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039), figure 2.
    """

    name: ClassVar[str] = "mean"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8},
        {"width": 8, "attention": "both", "window": 2, "token_width": 2, "linear": True},
    )

    def __init__(self, in_dims: dict[str, int], num_classes: int, linear: bool = False, **options: Any) -> None:
        require_switch("mean: linear", linear)
        super().__init__(in_dims, num_classes, **options)
        self.key = MeanKey(self.width, linear)
