"""The count of floating-point operations, shared by fusions, backbones and whole networks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager


def gflops(forward: Callable[[], object]) -> float:
    """Return the GFLOP of a call: matrix products and convolutions, a multiplication and an addition being two.

    Counted by ``torch.utils.flop_counter``, also on tensors of the ``meta`` device. Fused attention is off meanwhile,
    because the counter takes the fused kernel of CPUs for zero.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    unfused: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    # With gradients: the counter's module hooks fail on views of parameters without.
    with torch.enable_grad(), unfused, counter:
        forward()
    return float(counter.get_total_flops()) / 1e9
