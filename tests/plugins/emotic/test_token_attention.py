"""Attention over tokens against PyTorch's own multi-head attention, and its initialisation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from fusionkit_emotic.token_attention import TokenAttention


def as_multihead(attention: TokenAttention) -> nn.MultiheadAttention:
    mha = nn.MultiheadAttention(attention.token_width, num_heads=1, batch_first=True).double()
    with torch.no_grad():
        layers = (attention.query, attention.key, attention.value)
        mha.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
        mha.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
    mha.out_proj.load_state_dict(attention.out.state_dict())
    return mha


def build(token_width: int, window: int | None) -> TokenAttention:
    torch.manual_seed(token_width)
    attention = TokenAttention(token_width, window).double()
    with torch.no_grad():
        for value in attention.parameters():
            value.add_(torch.randn_like(value))
    return attention


@pytest.mark.parametrize("token_width", [1, 4])
@pytest.mark.parametrize("window", [None, 1, 3, 6])
def test_equals_multi_head_attention_within_each_window_for_each_query(token_width: int, window: int | None) -> None:
    attention = build(token_width, window)
    queries = torch.randn(5, 3, 6 * token_width, dtype=torch.float64)
    key, value = torch.randn(2, 5, 6 * token_width, dtype=torch.float64)
    mha, length = as_multihead(attention), (window or 6) * token_width
    answers = attention(queries, key, value)
    for number in range(3):
        for start in range(0, 6 * token_width, length):
            part = slice(start, start + length)
            tokens = (x[:, part].reshape(5, -1, token_width) for x in (queries[:, number], key, value))
            expected = mha(*tokens)[0].reshape(5, -1)
            torch.testing.assert_close(answers[:, number, part], expected, rtol=1e-9, atol=1e-11)


def test_a_window_of_one_token_passes_the_value_on() -> None:
    attention = build(1, 1)
    queries, value = torch.randn(2, 1, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    expected = attention.out(attention.value(value[..., None]))[..., 0]
    torch.testing.assert_close(attention(queries, queries[:, 0], value)[:, 0], expected)


def test_init_scale_multiplies_query_and_key_weights_and_nothing_else() -> None:
    torch.manual_seed(3)
    plain = TokenAttention(4).state_dict()
    torch.manual_seed(3)
    scaled = TokenAttention(4, init_scale=2.5).state_dict()
    for name, value in plain.items():
        factor = 2.5 if name in ("query.weight", "key.weight") else 1.0
        assert torch.equal(scaled[name], factor * value), name


def test_weights_start_in_the_range_of_multi_head_attention_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    width = 64
    state = {name: value.numpy() for name, value in TokenAttention(width).state_dict().items()}
    glorot = math.sqrt(6 / (width + 3 * width))
    for name in ("query", "key", "value"):
        assert np.abs(state[f"{name}.weight"]).max() <= glorot
        np.testing.assert_allclose(state[f"{name}.weight"].std(), glorot / math.sqrt(3), rtol=0.03)
    np.testing.assert_allclose(state["out.weight"].std(), 1 / math.sqrt(3 * width), rtol=0.03)
    assert all((state[f"{name}.bias"] == 0).all() for name in ("query", "key", "value", "out"))
