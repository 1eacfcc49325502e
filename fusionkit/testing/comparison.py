"""Arrays that should be the same: what to say where they are not."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusionkit.testing.check import CheckFailed, require


def as_array(value: Any) -> np.ndarray:
    """An array of a tensor or whatever else becomes one."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def require_same(found: Any, wanted: Any, what: str) -> None:
    """Same shape, same bits; NaN is NaN.

    Raises:
        CheckFailed: with ``what`` and how far they are apart.
    """
    a, b = as_array(found), as_array(wanted)
    require(a.shape == b.shape, f"{what}: shape {a.shape} against {b.shape}")
    equal = np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")
    require(equal, f"{what}{_apart(a, b)}")


def require_close(found: Any, wanted: Any, what: str, *, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Same shape, same values up to rounding; NaN is NaN.

    Raises:
        CheckFailed: with ``what`` and how far they are apart.
    """
    a, b = as_array(found), as_array(wanted)
    require(a.shape == b.shape, f"{what}: shape {a.shape} against {b.shape}")
    require(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True), f"{what}{_apart(a, b)}")


def is_close(found: Any, wanted: Any) -> bool:
    """Whether :func:`require_close` would go on."""
    try:
        require_close(found, wanted, "")
    except CheckFailed:
        return False
    return True


def require_finite(value: Any, what: str) -> None:
    """No NaN and no infinity.

    Raises:
        CheckFailed: with ``what`` and how many there are.
    """
    array = as_array(value)
    bad = int((~np.isfinite(array)).sum())
    require(bad == 0, f"{what}: {bad} of {array.size} values are not finite")


def _apart(a: np.ndarray, b: np.ndarray) -> str:
    if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return ""
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return f" (by up to {np.nanmax(gap):.3g})" if gap.size and np.isfinite(gap).any() else ""
