"""The state of an optimiser as named tensors and back, so that no checkpoint needs pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fusionkit.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

_PREFIX = "optimizer."


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, as ``optimizer.<number of the parameter>.<what>``.

    Learning rates and other options are not in it: they follow from the config.
    """
    import torch

    return {
        f"{_PREFIX}{number}.{name}": torch.as_tensor(value)
        for number, memory in optimizer.state_dict()["state"].items()
        for name, value in memory.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser its memory back; other tensors are passed over.

    Raises:
        DataError: if they are of other parameters than the optimiser's.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(_PREFIX):
            number, _, name = key.removeprefix(_PREFIX).partition(".")
            state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    numbers = {number for group in groups for number in group["params"]}
    if state and set(state) != numbers:
        raise DataError(f"the checkpoint holds the optimiser of {len(state)} parameters, not of {len(numbers)}")
    optimizer.load_state_dict({"state": state, "param_groups": groups})
