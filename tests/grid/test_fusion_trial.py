"""A fusion that is too large for the machine is refused when the grid is planned."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from toy_components import registered, toy_house, toy_plan  # noqa: F401

from fusionkit.contracts import Count, Fusion
from fusionkit.errors import ConfigError
from fusionkit.registry import FUSIONS

pytestmark = pytest.mark.usefixtures("toy_house")


class Sized(Fusion):
    """A linear layer of any width, a chain of any length, and a buffer of any size."""

    weights: list[Tensor]

    def __init__(self, in_dims: dict[str, int], num_classes: int, wide: Count = 1, long: Count = 1, fixed: Count = 1):
        super().__init__(in_dims, num_classes)
        self.first = nn.Linear(sum(in_dims.values()), wide)
        self.chain = nn.ModuleList(nn.Linear(1, 1) for _ in range(long))
        self.register_buffer("table", torch.ones(fixed))
        Sized.weights.append(self.first.weight.detach())

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return self.first(torch.cat([views[name] for name in self.in_dims], 1))


@pytest.fixture(autouse=True)
def sized() -> Iterator[None]:
    Sized.weights = []
    with registered(FUSIONS, "sized", Sized):
        yield


@pytest.mark.parametrize("options", ["wide=99999999999", "fixed=99999999999"])
def test_more_memory_than_there_is_is_refused_before_anything_runs(options: str) -> None:
    with pytest.raises(ConfigError, match=r"fusions: fusion sized:\w+=\d+ (needs at least|cannot be built in the)"):
        toy_plan(fusions=[f"sized:{options}"])


def test_training_is_counted_as_four_times_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_plan(fusions=["sized:wide=100000"])
    width = Sized.weights[-1].shape[1]
    needed = 4 * 4 * (100_000 * width + 100_000)  # bytes of the wide layer; the chain has 2 values more
    memory = type("Memory", (), {"total": needed + 4 * 4 * 2, "available": 2**40})
    monkeypatch.setattr("fusionkit.grid.fusion_trial.psutil.virtual_memory", lambda: memory)
    toy_plan(fusions=["sized:wide=100000"])
    memory.total -= 1
    with pytest.raises(ConfigError, match=r"fusion sized:wide=100000 needs at least 0 GiB to be trained"):
        toy_plan(fusions=["sized:wide=100000"])


def test_layers_without_end_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fusion sized:long=99999999999 has more than 10,000 learned tensors"):
        toy_plan(fusions=["sized:long=99999999999"])


def test_all_that_is_too_large_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        toy_plan(fusions=["sized:wide=99999999999", "sized:long=20000", "toy-sum"])
    assert len(caught.value.problems) == 2


def test_a_trial_leaves_the_random_state_and_later_modules_as_they_are() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    toy_plan(fusions=["sized:wide=100000"])
    assert torch.equal(torch.rand(2), expected)
    drawn = nn.Linear(200, 200).weight
    assert drawn.std() > 0.01, "outside of a trial, parameters are drawn"
