"""A well-scaled variant of the paper's attention block: auxiliary views also contribute to the values."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count, Positive
from fusionkit.errors import ConfigError
from fusionkit_fusions.masked_fusion import MaskedFusion, with_main


class ScaledAttention(MaskedFusion):
    """The released block with four faults of its scaling corrected; the roles of the views stay the same.

    The released block treats 256 or 1024 channels as tokens of a single channel. Its scores are nearly equal at the
    start, so that the attention is close to one mean over all channels. Its values are the main view's alone, so that
    an auxiliary view only decides how those are mixed. It has no other non-linear step. Here

    - projected views are normalised: ``h_v = norm(W_v x_v + b_v)``;
    - tokens have ``token_width`` channels, and queries and keys are scaled to length 1 and multiplied by a learned
      temperature that starts at ``temperature``, so that scores differ from the start;
    - keys and values both come from the concatenation of all views;
    - a hidden layer with a GELU precedes the classifier.

    ``A = mean over the present auxiliary views a of attention(q(h_a), k(K [h]), v(V [h]))``, ``z = h_main + A``. A
    single view gives its own queries. An absent auxiliary view gives no query and enters neither keys nor values. An
    absent main view is replaced by its training mean. With ``width / token_width`` tokens instead of ``width``, the
    cost of the attention is negligible.

    Args:
        width: D, to which every view is projected.
        hidden: width of the hidden layer.
        token_width: channels in a token; must divide ``width``.
        temperature: initial factor on the scores.

    Reference: the roles of Nguyen et al. 2024 (https://arxiv.org/abs/2403.13039), figure 2; queries and keys of length
    1 as in Henry et al. 2020, "Query-Key Normalization for Transformers" (https://arxiv.org/abs/2010.04245). The block
    is ours, not the paper's.
    """

    examples = ({"width": 8, "hidden": 6, "token_width": 2},)

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: Count = 256,
        hidden: Count = 256,
        token_width: Count = 16,
        temperature: Positive = 8.0,
    ) -> None:
        super().__init__(in_dims, num_classes)
        if width % token_width:
            raise ConfigError(f"fusion ScaledAttention: option token_width = {token_width} must divide width = {width}")
        self.width, self.token_width = width, token_width
        self.project = self.linear_per_view(width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in in_dims])
        self.key = nn.Linear(len(in_dims) * width, width)
        self.value = nn.Linear(len(in_dims) * width, width)
        self.query = nn.Linear(width, width)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))
        self.out = nn.Linear(width, width)
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Return the joint embedding (B, hidden)."""
        projected = torch.stack(
            [norm(h) for norm, h in zip(self.norms, self.each(self.project, views), strict=True)], 1
        )
        main = projected[:, 0]
        visible = with_main(self.flags(present))
        joint = projected.masked_fill(~visible[..., None], 0.0).flatten(1)
        queries, querying = (projected[:, 1:], visible[:, 1:]) if self.auxiliary else (projected, visible)
        attended = self._attend(queries, self.key(joint), self.value(joint))
        share = querying.to(main.dtype) / querying.sum(1, keepdim=True).clamp(min=1)
        fused: Tensor = self.hidden(main + torch.einsum("bq,bqd->bd", share, attended))
        return fused

    def _attend(self, queries: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from queries (B, Q, D) to a key and a value (B, D): (B, Q, D)."""
        rows, count, width = queries.shape
        tokens = width // self.token_width
        q = functional.normalize(self.query(queries).view(rows, count * tokens, self.token_width), dim=2)
        k = functional.normalize(key.view(rows, tokens, self.token_width), dim=2)
        weights = (self.temperature * q @ k.transpose(1, 2)).softmax(2)
        attended: Tensor = self.out((weights @ value.view(rows, tokens, self.token_width)).view(rows, count, width))
        return attended
