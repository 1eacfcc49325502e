"""The paper's idea with a block that is well scaled: auxiliary views ask, and what they know gets into the answer."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.contracts import Fusion, require_count, require_number
from fusionkit.errors import ConfigError

Views = dict[str, Tensor]


class ScaledAttention(Fusion):
    """The released block with four faults of its scaling mended; the roles of the views stay as they are.

    The released block reads 256 or 1024 channels as tokens of a single channel. Its scores nearly agree at the start,
    so that the attention is close to one mean over all channels; its values are the main view's alone, so that an
    auxiliary view decides at most how those are mixed; and there is no step in it that is not linear besides. Here

    - projected views are normalised: ``h_v = norm(W_v x_v + b_v)``;
    - tokens have ``token_width`` channels, and queries and keys are brought to length 1 and multiplied by a learned
      temperature that starts at ``temperature``, so that scores differ from the start;
    - keys and values both come from all views side by side;
    - a hidden layer with a GELU stands before the classifier.

    ``A = mean over the present auxiliary views a of attention(q(h_a), k(K [h]), v(V [h]))``, ``z = h_main + A``. A
    single view asks itself; an absent auxiliary view neither asks nor is part of keys and values; an absent main view
    stands in as its training mean. With ``width / token_width`` tokens instead of ``width`` the attention costs next to
    nothing.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every view is projected.
        hidden: width of the hidden layer.
        token_width: channels a token; must divide ``width``.
        temperature: of the scores at the start, above 0.

    Reference: the roles of Nguyen et al. 2024 (https://arxiv.org/abs/2403.13039), figure 2; queries and keys of length
    1 as in Henry et al. 2020, "Query-Key Normalization for Transformers" (https://arxiv.org/abs/2010.04245). The block
    is ours, not the paper's.
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "hidden": 6, "token_width": 2},)

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: int = 256,
        hidden: int = 256,
        token_width: int = 16,
        temperature: float = 8.0,
    ) -> None:
        super().__init__(in_dims, num_classes)
        for option, value in (("width", width), ("hidden", hidden), ("token_width", token_width)):
            require_count(f"scaled-attention: {option}", value)
        if width % token_width:
            raise ConfigError(f"scaled-attention: token_width={token_width} does not divide width={width}")
        require_number("scaled-attention: temperature", temperature, above=0)
        self.width, self.token_width = width, token_width
        self.project = nn.ModuleList([nn.Linear(dim, width) for dim in in_dims.values()])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in in_dims])
        self.key = nn.Linear(len(in_dims) * width, width)
        self.value = nn.Linear(len(in_dims) * width, width)
        self.query = nn.Linear(width, width)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))
        self.out = nn.Linear(width, width)
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())

    def fuse(self, views: Views, present: Views) -> Tensor:
        """The joint embedding (B, hidden)."""
        layers = zip(self.project, self.norms, self.in_dims, strict=True)
        projected = torch.stack([norm(layer(views[name])) for layer, norm, name in layers], 1)
        main = projected[:, 0]
        there = torch.stack([torch.ones_like(present[self.main]), *(present[name] for name in self.auxiliary)], 1)
        joint = projected.masked_fill(~there[..., None], 0.0).flatten(1)
        asking = there[:, 1:] if self.auxiliary else there
        answers = self._attend(projected[:, 1:] if self.auxiliary else projected, self.key(joint), self.value(joint))
        share = asking.to(main.dtype) / asking.sum(1, keepdim=True).clamp(min=1)
        fused: Tensor = self.hidden(main + torch.einsum("bq,bqd->bd", share, answers))
        return fused

    def _attend(self, asking: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Queries (B, Q, D), key and value (B, D), to answers (B, Q, D)."""
        rows, count, width = asking.shape
        tokens = width // self.token_width
        queries = functional.normalize(self.query(asking).view(rows, count * tokens, self.token_width), dim=2)
        keys = functional.normalize(key.view(rows, tokens, self.token_width), dim=2)
        scores = (self.temperature * queries @ keys.transpose(1, 2)).softmax(2)
        answers: Tensor = self.out((scores @ value.view(rows, tokens, self.token_width)).view(rows, count, width))
        return answers
