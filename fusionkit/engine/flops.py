"""What a forward pass costs in operations, counted alike for heads and for whole networks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager


def gflops(forward: Callable[[], object]) -> float:
    """GFLOP of a call, by torch's flop counter with fused attention off, which it counts as nothing."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    written_out: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    # With gradients: the counter follows modules by hooks on them, and fails on views of parameters without.
    with torch.enable_grad(), written_out, counter:
        forward()
    return float(counter.get_total_flops()) / 1e9
