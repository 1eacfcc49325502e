"""The paper's concat fusion: attention whose key is generated from the concatenated views."""

from __future__ import annotations

from typing import Any, ClassVar

from fusionkit_emotic.attention_fusion import AttentionFusion
from fusionkit_emotic.key_generators import ConcatKey


class Concat(AttentionFusion):
    """Attention with a key from the concatenated views (the paper's released block).

    The auxiliary views ask, the main view answers, and the key is a linear layer on the concatenation of all projected
    views. With one auxiliary view, ``width=1024`` and the other defaults this is the authors' released block.

    The order of the auxiliary views says only which of the key's columns belong to which view: the same views in
    another order are the same family of functions.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039), figure 2; the block is that of the
    authors' release (https://github.com/hT-1893/ABAW_6th_EXPR).
    """

    name: ClassVar[str] = "concat"

    def __init__(self, in_dims: dict[str, int], num_classes: int, **options: Any) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.key = ConcatKey(len(in_dims), self.width)
