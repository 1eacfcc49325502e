"""The paper's attention block, shared by its four fusions, which differ in their key generator only."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, FusionOutput, require_choice, require_count, require_number
from fusionkit.errors import ConfigError
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
        width: D, to which every view is projected. The authors' is 1024; at 256 the attention costs a sixteenth.
        hidden: width between the classifier's two layers, which have no activation between them; half of ``width``
            where it is not given, as the authors' 512.
        attention: ``self``: each token attends to all tokens, as in the release. ``local``: to the tokens of its own
            window, windows standing side by side; the paper names a local attention without a definition that we know,
            and this is our reading. ``both``: the mean of the two, each with its own projections.
        window: tokens in a window of the local attention; must divide ``width / token_width``.
        token_width: t, channels a token; must divide ``width``. The authors' tokens are single channels.
        init_scale: multiplies the query and key weights at initialisation. At 1, as released, the scores nearly agree
            and the attention starts close to one mean over all channels; larger values let it tell channels apart.

    Attributes:
        name: of the fusion, as errors give it.

    Reference: Nguyen et al. 2024, https://arxiv.org/abs/2403.13039, figure 2.
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8},
        {"width": 8, "attention": "both", "window": 2, "token_width": 2},
    )
    name: ClassVar[str]
    key: nn.Module

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: int = 256,
        hidden: int | None = None,
        attention: Literal["self", "local", "both"] = "self",
        window: int = 16,
        token_width: int = 1,
        init_scale: float = 1.0,
    ) -> None:
        super().__init__(in_dims, num_classes)
        for option, value in (("width", width), ("window", window), ("token_width", token_width)):
            require_count(f"{self.name}: {option}", value)
        if hidden is not None:
            require_count(f"{self.name}: hidden", hidden)
        require_choice(f"{self.name}: attention", attention, ("self", "local", "both"))
        require_number(f"{self.name}: init_scale", init_scale, above=0)
        if width % token_width:
            raise ConfigError(
                f"{self.name}: token_width={token_width} does not divide width={width}: tokens must be of equal width"
            )
        tokens = width // token_width
        if attention != "self" and tokens % window:
            raise ConfigError(
                f"{self.name}: window={window} does not divide the {tokens} tokens of width={width}, "
                f"token_width={token_width}: windows must be of equal length"
            )
        self.width = width
        self.project = nn.ModuleList([nn.Linear(dim, width) for dim in in_dims.values()])
        windows = {"self": [None], "local": [window], "both": [None, window]}[attention]
        self.attention = nn.ModuleList([TokenAttention(token_width, each, init_scale) for each in windows])
        between = hidden or max(1, width // 2)
        self.classifier = nn.Sequential(nn.Linear(width, between), nn.Linear(between, num_classes))

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
