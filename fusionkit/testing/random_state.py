"""Search for components that set the seed of a global random generator, which changes what other code draws."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fusionkit.testing.case import require


def require_no_global_seed(run: Callable[[], object], what: str) -> None:
    """Raise :class:`CheckFailed` if a call sets the seed of a global generator of Python, NumPy or torch.

    A call that draws random numbers leaves another state after another seed; a call that sets the seed leaves the same.
    The states are restored afterwards.
    """
    before = _states()
    try:
        after = []
        for seed in (1, 2):
            _seed(seed)
            run()
            after.append(_states())
    finally:
        _restore(before)
    found = [name for name in after[0] if _same(after[0][name], after[1].get(name))]
    require(
        not found,
        f"{what}: sets the global seed ({', '.join(found)}), so that all later random numbers of the process are the "
        "same; expected a generator of its own (numpy.random.default_rng, torch.Generator, torch.random.fork_rng)",
    )


def _states() -> dict[str, Any]:
    states: dict[str, Any] = {"random.seed": random.getstate(), "numpy.random.seed": np.random.get_state()}  # noqa: NPY002
    if "torch" in sys.modules:
        import torch

        states["torch.manual_seed"] = torch.random.get_rng_state()
    return states


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if "torch" in sys.modules:
        import torch

        torch.default_generator.manual_seed(seed)


def _restore(states: dict[str, Any]) -> None:
    random.setstate(states["random.seed"])
    np.random.set_state(states["numpy.random.seed"])  # noqa: NPY002
    if "torch.manual_seed" in states:
        import torch

        torch.random.set_rng_state(states["torch.manual_seed"])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(_same, one, other))
    return bool(np.array_equal(one, other)) if hasattr(one, "shape") else bool(one == other)
