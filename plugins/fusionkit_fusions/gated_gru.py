"""A recurrent network over time whose input is a gated sum of the views."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fusionkit.contracts import ClipFusion
from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.gated import Gated


class GatedGru(ClipFusion):
    """Gated multimodal units fuse the views of each frame, and a gated recurrent unit runs over the frames.

    The fused views x_t are those of the fusion ``gated`` with its default gate. The input of the recurrent unit is x_t
    and the logarithm of one plus the number of frames that are missing since the frame before. A frame's embedding is
    the state h_t beside x_t.

    Args:
        width: D of the fused views and of the state.
        window: frames of a window.
        causal: run forward in time only. If False, a second unit runs backward, and its state is part of the embedding.

    Reference: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", section 2.3
    (https://arxiv.org/abs/1406.1078); gates of views by Arevalo et al. 2017 (https://arxiv.org/abs/1702.01992).
    """

    missing = "masked"
    examples = ({"width": 8, "window": 4}, {"width": 8, "causal": False})

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: Count = 128,
        window: Count = 32,
        causal: bool = True,
    ) -> None:
        super().__init__(in_dims, num_classes)
        self.window, self.causal = window, causal
        self.gated = Gated(in_dims, num_classes, width)
        self.recurrent = nn.GRU(width + 1, width, batch_first=True, bidirectional=not causal)

    def fuse_clip(self, views: Views, present: Views, number: Tensor, mask: Tensor) -> Tensor:
        """Return states and fused views: (B, T, 2 D), or (B, T, 3 D) if it runs in both directions."""
        shape = mask.shape
        frames = {name: value.flatten(0, 1) for name, value in views.items()}
        fused = self.gated.fuse(frames, {name: value.flatten() for name, value in present.items()}).unflatten(0, shape)
        missing = (number.diff(dim=1, prepend=number[:, :1]) - 1).clamp(min=0)
        x = torch.cat([fused, missing.to(fused.dtype).log1p()[..., None]], 2)
        if self.causal:
            states = self.recurrent(x)[0]
        else:
            packed = pack_padded_sequence(x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
            states = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)[0]
        return torch.cat([states, fused], 2)
