"""A trained cell as a network: the views of a frame to the logits of each head, or, for clips, to embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import FittedFusion, Fusion, FusionOutput, Views
from fusionkit.engine.features import Scaling

_LEAST = 1e-12  # least probability of a fitted fusion, as where heads are evaluated


class BackbonesNetwork(nn.Module):
    """Backbones of some views.

    Args:
        backbones: network of each view; None where the input is an embedding.
        tokens: of each view (K,) tokens, the grid (H, W) of a map, or () for one pooled embedding.
    """

    def __init__(self, backbones: Mapping[str, nn.Module | None], tokens: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.names = tuple(backbones)
        self.tokens = tuple(tokens[name] for name in self.names)
        self.backbones = nn.ModuleList([module or nn.Identity() for module in backbones.values()])
        self.embeds = tuple(module is not None for module in backbones.values())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the embedding of each view, (B, D) or (B, K, D) float32, rounded as stored ones are.

        Args:
            inputs: of each view (B, H, W, 3) uint8 RGB, or its embedding.
        """
        found = []
        for column, view in enumerate(inputs):
            value = view
            if self.embeds[column]:
                value = _placed(self.backbones[column](view), self.tokens[column])
                value = value.half().float()  # embeddings are stored as float16, and heads trained on them
            found.append(value)
        return tuple(found)


class CellNetwork(nn.Module):
    """Backbones, fusions and heads of a cell.

    Args:
        backbones: of its views, main view first.
        heads: the S heads.
    """

    def __init__(self, backbones: BackbonesNetwork, heads: Sequence[HeadNetwork]) -> None:
        super().__init__()
        self.backbones = backbones
        self.heads = nn.ModuleList(heads)

    def forward(self, present: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits and probabilities.

        Args:
            present: (B, V) bool: whether a frame has a view, in the order of ``inputs``.
            inputs: of each view (B, H, W, 3) uint8 RGB, or its embedding (B, D), (B, K, D) or (B, H, W, D)
                float32.

        Returns:
            (B, S, C) logits of each head, and (B, C) probabilities, their mean over heads; both float32, not smoothed.
        """
        names = self.backbones.names
        values: Views = dict(zip(names, self.backbones(*inputs), strict=True))
        there = {name: present[:, column] for column, name in enumerate(names)}
        logits = torch.stack([head(values, there) for head in self.heads], 1)
        return logits, logits.softmax(2).mean(1)


class HeadNetwork(nn.Module):
    """Scaling, fusion and linear head of one seed.

    Args:
        model: the trained fusion; of a fitted one the network.
        scaling: of the features, by view, main view first.
        columns: of the task in the logits.
    """

    def __init__(self, model: Fusion | FittedFusion, scaling: Mapping[str, Scaling], columns: slice) -> None:
        super().__init__()
        self.columns = columns
        self.is_fitted = isinstance(model, FittedFusion)
        self.model = model.as_network() if isinstance(model, FittedFusion) else model
        self.names = tuple(scaling)
        self.standardize = tuple(item.standardize for item in scaling.values())
        for index, item in enumerate(scaling.values()):
            self.register_buffer(f"mean_{index}", torch.from_numpy(np.array(item.mean, np.float32)))
            self.register_buffer(f"scale_{index}", torch.from_numpy(np.array(item.scale, np.float32)))

    def forward(self, values: Views, present: Views) -> Tensor:
        """Return the logits (B, C) of unscaled embeddings."""
        scaled: Views = {}
        for index, name in enumerate(self.names):
            mean, scale = self.get_buffer(f"mean_{index}"), self.get_buffer(f"scale_{index}")
            there = present[name].reshape(-1, *[1] * (values[name].ndim - 1))
            value = torch.where(there, values[name], mean)
            scaled[name] = (value - mean) / scale if self.standardize[index] else value
        if self.is_fitted:
            probs: Tensor = self.model(scaled)
            return probs.clamp(min=_LEAST).log().float()
        output: FusionOutput = self.model(scaled, {name: present[name] for name in self.names})
        assert output.logits is not None
        return output.logits[:, self.columns].float()


def _placed(tokens: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Average runs of neighbouring tokens, as :func:`fusionkit.contracts.backbone.pool_tokens`, or lay out a grid."""
    if len(shape) != 1:
        return tokens.reshape(-1, *shape, tokens.shape[-1]) if shape else tokens
    edges = np.linspace(0, tokens.shape[1], shape[0] + 1).round().astype(int).tolist()
    return torch.stack([tokens[:, start:stop].mean(1) for start, stop in pairwise(edges)], 1)
