"""Interpolated attention between scalars against the sums themselves in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fusionkit_emotic import scalar_attention as module
from fusionkit_emotic.scalar_attention import SCALES, Kernel, Placed, scalar_attention

Given = tuple[Tensor, Tensor, Tensor]


def brute_force(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (query.double()[:, :, None] * key.double()[:, None]).softmax(2) @ value.double()[..., None]


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return brute_force(query, key, value)[..., 0]


def drawn(scale: float, rows: int = 40, keys: int = 256, queries: int = 300) -> Given:
    torch.manual_seed(round(1000 * scale))
    query = scale * torch.rand(rows, queries, dtype=torch.float64) * 2 - scale
    return query, torch.randn(rows, keys, dtype=torch.float64), torch.randn(rows, keys, dtype=torch.float64) + 3


def two_values(key: Tensor) -> Tensor:
    return (torch.arange(key.shape[1], dtype=key.dtype) % 2 * 2 - 1).expand_as(key).clone()


def outlier(key: Tensor) -> Tensor:
    return torch.cat([torch.full_like(key[:, :1], 1.0), 0.02 * key[:, 1:] - 0.9], 1)


def clusters(key: Tensor) -> Tensor:
    return 1 - 2 * 2.0 ** -(key.abs() * 3).floor()


KEYS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda key: key / 3,
    "two values": two_values,
    "outlier": outlier,
    "clusters": clusters,
}


@pytest.fixture(autouse=True)
def always_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW_PAIRS", 0)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 4e-7), (torch.float64, 4e-14)])
def test_the_kernel_is_interpolated_in_the_keys_relative_to_the_largest_term(
    scale: float, dtype: torch.dtype, error: float
) -> None:
    kernel = Kernel.of(scale, dtype)
    keys = torch.linspace(-1, 1, 2001, dtype=dtype)[:, None]
    moments = Placed(keys, kernel.keys, len(kernel.series)).moments([torch.ones_like(keys)])
    found = (moments.flatten(1) @ kernel.matrix).double()
    node = kernel.nodes.flatten().double()
    expected = (scale * (node * keys.double() - node.abs())).exp()
    assert (found - expected).abs().max() < error * max(1.0, math.sqrt(scale) / 4)


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("scale", [0.0, 1e-4, 0.02, 0.3, 1.9, 15.0, 130.0, 500.0])
def test_equals_the_sums_for_any_range_of_scores_and_kind_of_keys(kind: str, scale: float) -> None:
    query, key, value = drawn(scale)
    key = KEYS[kind](key)
    expected = attended(query, key, value)
    spread = value.std()
    assert (scalar_attention(query, key, value) - expected).abs().max() < 1e-9 * spread
    single = [x.float() for x in (query, key, value)]
    rounded = attended(*single)
    assert (scalar_attention(*single) - rounded).abs().max() < 1e-6 * spread * max(3.0, scale / 20)


@pytest.mark.parametrize("scale", [1e-3, 0.2, 3.0, 40.0, 300.0])
def test_float32_gradients_are_those_of_the_sums(scale: float) -> None:
    query, key, value = drawn(scale)
    given = [x.float().requires_grad_() for x in (query, key / 3, value)]
    exact = [x.detach().double().requires_grad_() for x in given]
    weight = torch.randn_like(given[0])
    (scalar_attention(*given) * weight).sum().backward()
    (attended(*exact) * weight.double()).sum().backward()
    for name, mine, theirs in zip(("query", "key", "value"), given, exact, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        # The derivative by a query is a covariance: its rounding is that of keys times values.
        size = max(theirs.grad.abs().max().item(), 0.1 if name == "query" else 0.0)
        assert (mine.grad - theirs.grad).abs().max() < 3e-5 * size, name


@pytest.mark.parametrize("scale", [0.1, 4.0, 60.0])
def test_gradcheck_with_queries_at_the_ends_of_cells_and_of_the_range(scale: float) -> None:
    query, key, value = drawn(scale, rows=2, keys=64, queries=12)
    reach = scale / key[0].abs().max()
    query[0] = torch.linspace(-reach, reach, 12, dtype=torch.float64)
    query[1, :6] = query[1, 6:]
    given = [x.requires_grad_() for x in (query, key, value)]
    assert torch.autograd.gradcheck(scalar_attention, given, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_equal_keys_equal_queries_and_no_queries_at_all() -> None:
    query, key, value = (x.requires_grad_() for x in drawn(1.0, rows=3))
    with torch.no_grad():
        key[0], query[1], query[2] = 0.7, -0.4, 0.0
    found = scalar_attention(query, key, value)
    torch.testing.assert_close(found, attended(query, key, value), rtol=0, atol=1e-12)
    (found**2).sum().backward()
    exact = [x.detach().clone().requires_grad_() for x in (query, key, value)]
    (attended(*exact) ** 2).sum().backward()
    for mine, theirs in zip((query, key, value), exact, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-10)


def test_a_row_gets_what_it_gets_alone() -> None:
    query, key, value = (x.float() for x in drawn(1.0, rows=24))
    query *= torch.logspace(-4, 3, 24)[:, None]
    together = scalar_attention(query, key, value)
    alone = [scalar_attention(*(x[row : row + 1] for x in (query, key, value))) for row in range(24)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_row_that_is_not_finite_stays_so_and_leaves_others_alone(which: int, bad: float) -> None:
    given = [x.float() for x in drawn(2.0, rows=4)]
    clean = scalar_attention(*given)
    given[which][2, 5] = bad
    found = scalar_attention(*given)
    assert not found[2].isfinite().all()
    others = [0, 1, 3]
    torch.testing.assert_close(found[others], clean[others], rtol=0, atol=1e-6)


def test_scores_beyond_the_largest_scale_are_computed_as_they_are() -> None:
    query, key, value = (x.float() for x in drawn(1e4, rows=4))
    assert torch.equal(scalar_attention(query, key, value), module.plain_attention(query, key, value))


def test_small_batches_few_keys_and_half_precision_are_computed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (x.float() for x in drawn(1.0, rows=2))
    for given in ([query, key[:, :63], value[:, :63]], [x.bfloat16() for x in (query, key, value)]):
        assert torch.equal(scalar_attention(*given), module.plain_attention(*given))
    monkeypatch.undo()
    assert torch.equal(scalar_attention(query, key, value), module.plain_attention(query, key, value))


def test_a_second_derivative_is_refused() -> None:
    given = [x.requires_grad_() for x in drawn(1.0, rows=2)]
    (slope,) = torch.autograd.grad((scalar_attention(*given) ** 2).sum(), given[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
