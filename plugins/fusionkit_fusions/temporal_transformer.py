"""A transformer over the views of neighbouring frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.contracts import ClipFusion
from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError
from fusionkit_fusions.masked_fusion import masked_mean, readable
from fusionkit_fusions.token_fusion import learned


class TemporalTransformer(ClipFusion):
    """A transformer whose tokens are the views of all frames of a window; a frame's embedding is the mean of its views.

    Each view is projected, and carries a learned embedding of its name. Attention scores are lowered in proportion to
    the distance in time between two frames, by their frame numbers, with another slope for each head. Tokens of absent
    views are masked; a frame without any view uses its main view's training mean.

    Args:
        width: D, to which every view is projected.
        heads: attention heads; must divide ``width``.
        depth: transformer layers.
        window: frames of a window.
        causal: attend to earlier frames only.

    Reference: joint attention over views and time as in model 1 of Arnab et al. 2021, "ViViT: A Video Vision
    Transformer" (https://arxiv.org/abs/2103.15691); scores by distance as in Press et al. 2022, "Train Short, Test
    Long: Attention with Linear Biases" (https://arxiv.org/abs/2108.12409), here in both directions.
    """

    missing = "masked"
    examples = ({"width": 8, "heads": 2, "window": 4}, {"width": 8, "heads": 2, "depth": 1, "causal": True})

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: Count = 128,
        heads: Count = 4,
        depth: Count = 2,
        window: Count = 32,
        causal: bool = False,
    ) -> None:
        super().__init__(in_dims, num_classes)
        if width % heads:
            raise ConfigError(f"fusion {type(self).__name__}: option heads = {heads} must divide width = {width}")
        self.window, self.causal = window, causal
        self.project = nn.ModuleList([nn.Linear(dim, width) for dim in in_dims.values()])
        self.marks = learned(len(in_dims), width)
        self.layers = nn.ModuleList([_Layer(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.slopes: Tensor
        self.register_buffer("slopes", 2.0 ** (-8 * torch.arange(1, heads + 1) / heads))

    def fuse_clip(self, views: Views, present: Views, number: Tensor, mask: Tensor) -> Tensor:
        """Return the embedding of each frame: (B, T, D)."""
        each = [layer(views[name]) for name, layer in zip(self.in_dims, self.project, strict=True)]
        tokens = torch.stack(each, 2) + self.marks
        shape = tokens.shape[:3]
        visible = readable(torch.stack([present[name] for name in self.in_dims], 2).flatten(0, 1)).view(shape)
        bias = self._bias(number, visible & mask[..., None])
        sequence = tokens.flatten(1, 2)
        for layer in self.layers:
            sequence = layer(sequence, bias)
        frames = sequence.view(tokens.shape)
        mean: Tensor = masked_mean(frames.flatten(0, 1), visible.flatten(0, 1)).view(*shape[:2], -1)
        normed: Tensor = self.norm(mean)
        return normed

    def _bias(self, number: Tensor, visible: Tensor) -> Tensor:
        """Return what is added to attention scores, (B, heads, T V, T V), from (B, T) and (B, T, V)."""
        time = number.repeat_interleave(visible.shape[2], 1)
        past = time[:, :, None] - time[:, None, :]  # of the key, as seen from the query
        hidden = ~visible.flatten(1)[:, None, :]
        if self.causal:
            hidden = hidden | (past < 0)
        hidden = hidden & ~torch.eye(time.shape[1], dtype=torch.bool, device=time.device)  # never none at all
        bias = -self.slopes[:, None, None] * past[:, None].abs().to(self.slopes.dtype)
        return bias.masked_fill(hidden[:, None], -torch.inf)


class _Layer(nn.Module):
    """A pre-norm transformer layer, four times as wide inside.

    Args:
        width: D.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.inner_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Transform (B, N, D); ``bias`` (B, heads, N, N) is added to attention scores."""
        split = self.queries_keys_values(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(split[0], split[1], split[2], attn_mask=bias)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        transformed: Tensor = x + self.inner(self.inner_norm(x))
        return transformed
