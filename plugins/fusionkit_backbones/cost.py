"""What a model gives and costs, without computing it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def trace(model: nn.Module, size: tuple[int, int]) -> tuple[tuple[int, ...], float]:
    """Pass one view through a model whose tensors have shapes but no values.

    The counter is ``torch.utils.flop_counter``: matrix products and convolutions, a multiplication and an addition
    being two. Attention is unfused meanwhile, since the counter takes the fused kernel of processors for nothing.

    Args:
        model: takes (B, 3, H, W).
        size: (height, width) in pixels.

    Returns:
        The output's shape for one view, and GFLOP.
    """
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    empty = {name: value.to("meta") for name, value in state.items()}
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        out = torch.func.functional_call(model, empty, (torch.empty(1, 3, *size, device="meta"),))
    return tuple(out.shape), counter.get_total_flops() / 1e9
