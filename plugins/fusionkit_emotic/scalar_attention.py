"""Attention between scalars, at a cost that is linear in their number.

With scalar queries, keys and values, the attention of a row is one function of a number, ``f(q) = sum_j exp(q k_j) v_j
/ sum_j exp(q k_j)``, and smooth. The range of the keys and that of the queries are divided into cells. The kernel
``exp(q k)`` is interpolated within the cells of the keys, so that a constant matrix takes the moments of the keys in
their cells to the sums at fixed nodes of q. Their quotient ``f`` is interpolated within the cells of the queries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.compiler import is_exporting
from torch.nn import functional

TERMS = {torch.float32: 8, torch.float64: 16}  # P, terms of a series in a cell
SCALES = (2.0**-10, 2.0**-4, 2.0, 128.0, 512.0)  # of a row: half the range of the scores of its largest query
_LEAST = 2.0**-20  # up to which the scores of a row are too small for a place in the cells
_KEY_PARTS, _QUERY_PARTS = 3, 5  # cells in an octave of distance
_FEW_KEYS, _FEW_PAIRS = 64, 2**20  # below which plain attention is as fast
_PIECE = 2**17  # queries computed at a time
_MANTISSA = {torch.float32: 23, torch.float64: 52}
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


def scalar_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend from scalars to scalars, with scale 1.

    Equal to ``scaled_dot_product_attention`` of tokens of one channel, to the rounding of float32. Plain attention is
    used for rows whose scores are not finite, reach more than 512 to either side of their middle or less than 2^-20,
    where there are fewer than 64 keys or 2^20 pairs, for other types than float32 and float64, on other devices than
    a CPU, where the order of sums would not be fixed, and in an exported graph, which cannot choose by value.

    Args:
        query: (B, M).
        key: (B, N).
        value: (B, N).

    Returns:
        (B, M). A second derivative raises an error.

    Reference: kernels by interpolation in cells as in Fong and Darve 2009, "The black-box fast multipole method"
        (https://doi.org/10.1016/j.jcp.2009.08.031); convergence of ``f``: Trefethen, Approximation Theory and
        Approximation Practice, SIAM 2013, theorem 8.2.
    """
    if query.dtype not in TERMS or query.device.type != "cpu" or key.shape[1] < _FEW_KEYS or is_exporting():
        return plain_attention(query, key, value)
    reach = (query.detach().abs().amax(1, keepdim=True) * _range(key.detach())[1])[:, 0]
    level = torch.bucketize(reach, torch.tensor((_LEAST, *SCALES), dtype=reach.dtype))  # NaN is above all
    sizes = level.bincount(minlength=len(SCALES) + 2).tolist()
    order = level.argsort(stable=True)
    parts = [
        _of_one_scale([x if size == len(order) else x.index_select(0, rows) for x in (query, key, value)], scale)
        for rows, size, scale in zip(torch.split(order, sizes), sizes, (None, *SCALES, None), strict=True)
        if size
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts).index_select(0, order.argsort())


def _of_one_scale(given: Sequence[Tensor], scale: float | None) -> Tensor:
    query, key, _ = given
    if scale is None or query.numel() * key.shape[1] < _FEW_PAIRS:
        return plain_attention(*given)
    rows = max(1, _PIECE // query.shape[1])
    learned = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    pieces = zip(*(torch.split(x, rows) for x in given), strict=True)
    return torch.cat([_Interpolated.apply(*piece, scale, learned) for piece in pieces])


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend as :func:`scalar_attention` does, by torch's attention over tokens of one channel."""
    q, k, v = (x[:, None, :, None] for x in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v)[:, 0, :, 0]


def _range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the middle and half the range of each row: (B, 1) each."""
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)  # together 16 times as fast as aminmax
    return (low + high) / 2, (high - low) / 2


# -- cells -------------------------------------------------------------------------------------------------------------


class Cells(NamedTuple):
    """Cells of -1..1 that widen with the distance from the middle (queries) or from the nearer end (keys).

    The cell of a distance is read off the bits of ``distance + offset``, which are piecewise linear in its logarithm:
    widths start at about ``offset / parts`` and become proportional to the distance.

    Attributes:
        centre: (2 G,), cells of the positive side, then of the negative one.
        half: (2 G,), half their widths.
    """

    from_ends: bool
    parts: int
    offset: float
    centre: Tensor
    half: Tensor

    @classmethod
    def of(cls, rate: float, dtype: torch.dtype, parts: int, *, from_ends: bool) -> Cells:
        """Return cells in which P terms interpolate ``exp(-r d)`` to ``eps / 4`` for all r up to ``rate``.

        In a cell from d to d + w the error is at most ``2 (r w / 4)^P exp(-r d) / P!``, largest at ``r = P / d`` or at
        the rate. Hence w may be ``c / rate`` up to ``d = P / rate``, and ``c e d / P`` from there.

        Reference: Trefethen, Approximation Theory and Approximation Practice, SIAM 2013, chapters 4 and 11.
        """
        terms = TERMS[dtype]
        c = 4 * (torch.finfo(dtype).eps / 8 * math.factorial(terms)) ** (1 / terms)
        offset = parts * min(1.0, c / rate, (c * math.e - terms / parts) / rate)
        count = int(_steps(torch.tensor([1.001 + offset], dtype=dtype), offset, parts)) + 1
        bits = (torch.arange(count + 1) * 2 ** _MANTISSA[dtype] + parts - 1) // parts
        edges = (bits + int(_bits(offset, dtype))).to(_BITS[dtype]).view(dtype).double() - offset
        middle, half = (edges[1:] + edges[:-1]) / 2, edges.diff() / 2
        centre = 1 - middle if from_ends else middle
        tables = (torch.cat(x).to(dtype) for x in ((centre, -centre), (half, half)))
        return cls(from_ends, parts, offset, *tables)

    def points(self, nodes: Tensor) -> Tensor:
        """Return the places of nodes (P,) of -1..1 in all cells: (P, 2 G) float64."""
        return self.centre.double() + self.half.double() * nodes[:, None]


def _bits(number: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor(number, dtype=dtype).view(_BITS[dtype])


def _steps(shifted: Tensor, offset: float, parts: int) -> Tensor:
    """Return the number of cells from ``offset`` to each of some larger numbers."""
    from_offset = shifted.view(_BITS[shifted.dtype]).sub(int(_bits(offset, shifted.dtype)))
    return from_offset.mul_(parts).bitwise_right_shift_(_MANTISSA[shifted.dtype])


class Placed:
    """Scalars x, (B, M) in -1..1, in cells.

    Attributes:
        cell: (B, M) int64.
        polynomials: (count, B, M): Chebyshev polynomials of the place within the cell.
    """

    def __init__(self, x: Tensor, cells: Cells, count: int) -> None:
        self.cells = cells
        side = len(cells.centre) // 2
        distance = 1 - x.abs() if cells.from_ends else x.abs()
        cell = _steps(distance.add_(cells.offset), cells.offset, cells.parts).clamp_(0, side - 1)
        self.cell = cell.add_(x < 0, alpha=side).long()
        centre, half = (table.index_select(0, self.cell.view(-1)).view_as(x) for table in (cells.centre, cells.half))
        self.polynomials = _chebyshev((x - centre).div_(half), count)

    def moments(self, columns: Sequence[Tensor | None]) -> Tensor:
        """Sum columns (B, M), None for ones, times each polynomial, over each cell: (B, len(columns), count, 2 G)."""
        count, rows, _ = self.polynomials.shape
        found = self.polynomials.new_zeros(rows, len(columns), count, len(self.cells.centre))
        cell = self.cell[:, None].expand(-1, count, -1)
        for sums, column in zip(found.unbind(1), columns, strict=True):
            terms = self.polynomials if column is None else self.polynomials * column
            sums.scatter_add_(2, cell, terms.transpose(0, 1))
        return found

    def times_x(self, moments: Tensor) -> Tensor:
        """Return all moments but the last of the columns times x, by ``2 t T_d(t) = T_(d+1)(t) + T_|d-1|(t)``."""
        below = torch.cat([moments[:, :, 1:2], moments[:, :, :-2]], 2)
        return self.cells.centre * moments[:, :, :-1] + self.cells.half / 2 * (moments[:, :, 1:] + below)

    def series(self, coefficients: Tensor) -> Sequence[Tensor]:
        """Evaluate C series of P terms, (B, C, P, 2 G), each scalar that of its cell: C tensors (B, M)."""
        cell = self.cell[:, None, None].expand(-1, *coefficients.shape[1:3], -1)
        total, *others = coefficients.gather(3, cell).unbind(2)
        for term, polynomial in zip(others, self.polynomials.unbind(0)[1:], strict=False):
            total.addcmul_(term, polynomial[:, None])
        return total.unbind(1)


def _chebyshev(t: Tensor, count: int) -> Tensor:
    """Return the Chebyshev polynomials of degree 0 to count - 1 at t (B, M): (count, B, M)."""
    found = t.new_empty(count, *t.shape)
    of_degree = found.unbind(0)
    of_degree[0].fill_(1.0)
    of_degree[1].copy_(t)
    doubled = 2 * t
    for below, last, polynomial in zip(of_degree, of_degree[1:], of_degree[2:], strict=False):
        torch.mul(doubled, last, out=polynomial).sub_(below)
    return found


# -- attention ---------------------------------------------------------------------------------------------------------


class Kernel(NamedTuple):
    """``exp(scale (u k - |u|))`` for u and k in -1..1: a series in each cell of k, at P Chebyshev nodes of each of u.

    Attributes:
        nodes: (P, 2 G_u) of u.
        series: (P, P), values at the nodes of a cell to coefficients.
        matrix: (P 2 G_k, P 2 G_u), moments of the keys to sums over the keys at the nodes of u.
    """

    queries: Cells
    keys: Cells
    nodes: Tensor
    series: Tensor
    matrix: Tensor

    @staticmethod
    @cache
    def of(scale: float, dtype: torch.dtype) -> Kernel:
        """Make the tables of a scale, which take a few milliseconds and a megabyte."""
        terms = TERMS[dtype]
        queries = Cells.of(2 * scale, dtype, _QUERY_PARTS, from_ends=False)
        keys = Cells.of(scale, dtype, _KEY_PARTS, from_ends=True)
        angle = (torch.arange(terms, dtype=torch.float64) + 0.5) * (math.pi / terms)
        series = torch.cos(torch.arange(terms)[:, None] * angle) * (2 / terms)
        series[0] /= 2
        u, k = queries.points(angle.cos()), keys.points(angle.cos())
        values = torch.exp(scale * (u * k[..., None, None] - u.abs()))
        matrix = torch.einsum("da,akbu->dkbu", series, values).reshape(k.numel(), u.numel())
        return Kernel(queries, keys, *(x.to(dtype) for x in (u, series, matrix)))


class _Interpolated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, learned: bool) -> Tensor:
        kernel, terms = Kernel.of(scale, query.dtype), TERMS[query.dtype]
        (middle, half), (value_middle, _) = _range(key), _range(value)
        value = value - value_middle
        keys = Placed((key - middle).div_(half), kernel.keys, terms + 1)
        queries = Placed(query * (half / scale), kernel.queries, terms)
        moments = keys.moments([None, value])
        columns = [moments[:, :, :-1], *([keys.times_x(moments)] if learned else [])]
        sums = _product(torch.cat(columns, 1), kernel.matrix, *kernel.nodes.shape)
        inverse = 1 / sums[:, 0]  # a sum is at least 1, the largest term
        at_nodes, *by_key = (sums[:, 1:] * inverse[:, None]).unbind(1)
        functions = [at_nodes, *([by_key[1] - by_key[0] * at_nodes] if learned else [])]
        attended, *slope = queries.series(kernel.series @ torch.stack(functions, 1))
        if learned:
            ctx.slope = slope[0] * half
            ctx.parts = kernel, queries, keys, value, inverse, at_nodes, scale / half
        return attended + value_middle

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernel, queries, keys, value, inverse, at_nodes, unit = ctx.parts
        moments = queries.moments([gradient])[:, 0]
        of_sum = (kernel.series.T @ moments).mul_(inverse)
        of_score = of_sum * kernel.nodes * unit[..., None]
        columns = torch.stack([of_sum, of_score, of_score * at_nodes], 1)
        sums = _product(columns, kernel.matrix.T, len(kernel.series), len(kernel.keys.centre))
        of_value, by_value, by_mean = keys.series(sums)
        return gradient * ctx.slope, by_value * value - by_mean, of_value, None, None


def _product(columns: Tensor, matrix: Tensor, terms: int, cells: int) -> Tensor:
    """Multiply (B, C, P, 2 G) by a matrix: (B, C, terms, cells)."""
    return (columns.flatten(2) @ matrix).view(*columns.shape[:2], terms, cells)
