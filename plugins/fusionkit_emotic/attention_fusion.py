"""The paper's attention block, shared by its four fusions, which differ in their key generator only."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, FusionOutput
from fusionkit_emotic.attention_options import AttentionOptions
from fusionkit_emotic.token_attention import TokenAttention

Views = dict[str, Tensor]


class AttentionFusion(Fusion):
    """Auxiliary views ask, a key made of all views decides, the main view answers and is added to the answer.

    With h_v = W_v x_v + b_v the projected views, and q, k, v, o the attention's own projections::

        key = generator(h_main, h_1, ..., h_A)
        A   = mean over the present auxiliary views a of  o(softmax(q(h_a) k(key)^T / sqrt(t)) v(h_main))
        z   = A + h_main
        y   = W4 (W3 z + b3) + b4

    The authors' release has one auxiliary view, tokens of width t = 1, a width of 1024 and the concatenation key.
    What goes beyond it is our reading: several auxiliary views share one attention and are averaged; an absent one
    neither asks nor enters the key; a frame without any gives z = h_main. A main view on its own asks itself. An absent
    main view stays in as its imputed features.

    A subclass builds ``key``, a module of :mod:`fusionkit_emotic.key_generators`, after the base's ``__init__``.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        options: the block's options.

    Reference: Nguyen et al. 2024, https://arxiv.org/abs/2403.13039, figure 2.
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    key: nn.Module

    def __init__(self, in_dims: dict[str, int], num_classes: int, options: AttentionOptions) -> None:
        super().__init__(in_dims, num_classes)
        self.project = nn.ModuleList([nn.Linear(dim, options.width) for dim in in_dims.values()])
        windows = {"self": None, "local": options.window}
        self.attention = nn.ModuleList(
            [TokenAttention(options.token_width, windows[kind], options.init_scale) for kind in options.kinds]
        )
        self.classifier = nn.Sequential(
            nn.Linear(options.width, options.hidden_width), nn.Linear(options.hidden_width, num_classes)
        )

    def fuse(self, views: Views, present: Views) -> FusionOutput:
        """Logits of a batch; the order of ``views`` does not matter, that of ``in_dims`` does.

        Args:
            views: (B, D_v) a view.
            present: (B,) bool a view.

        Returns:
            Logits (B, C).
        """
        projected, taking_part = self._project(views, present)
        main = projected[:, 0]
        if self.auxiliary:
            queries, asking = projected[:, 1:], taking_part[:, 1:]
        else:
            queries, asking = projected, taking_part
        key = self.key(projected, taking_part)
        answers = [attention(queries, key, main) for attention in self.attention]
        share = asking.to(main.dtype) / (len(answers) * asking.sum(1, keepdim=True).clamp(min=1))
        guidance = torch.einsum("bq,bqd->bd", share, sum(answers[1:], answers[0]))
        return FusionOutput(logits=self.classifier(main + guidance))

    def _project(self, views: Views, present: Views) -> tuple[Tensor, Tensor]:
        """Projected views (B, V, D), zero where a view takes no part, and who takes part (B, V)."""
        projected = torch.stack([layer(views[name]) for layer, name in zip(self.project, self.in_dims, strict=True)], 1)
        taking_part = torch.stack([torch.ones_like(present[self.main]), *(present[name] for name in self.auxiliary)], 1)
        return projected.masked_fill(~taking_part[..., None], 0.0), taking_part
