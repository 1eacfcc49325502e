"""The count of operations against formulas."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from fusionkit.contracts.flops import gflops


def test_a_multiplication_and_an_addition_are_two_also_without_values() -> None:
    for device in ("cpu", "meta"):
        a, b = torch.empty(3, 5, device=device), torch.empty(5, 7, device=device)
        assert gflops(lambda a=a, b=b: a @ b) == pytest.approx(2 * 3 * 5 * 7 / 1e9)


def test_attention_is_counted_though_the_fused_kernel_would_count_as_nothing() -> None:
    q, k = torch.randn(1, 1, 6, 4), torch.randn(1, 1, 9, 4)
    assert gflops(lambda: scaled_dot_product_attention(q, k, k)) == pytest.approx(2 * (2 * 6 * 9 * 4) / 1e9)


def test_a_module_that_takes_views_of_parameters_is_counted_without_gradients_outside() -> None:
    latents, read = torch.nn.Parameter(torch.randn(1, 2, 4)), torch.nn.Linear(4, 3)
    with torch.no_grad():
        assert gflops(lambda: read(latents.expand(5, -1, -1))) == pytest.approx(2 * 5 * 2 * 4 * 3 / 1e9)
