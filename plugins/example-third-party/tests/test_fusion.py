"""Checks of every fusion, and tests of this one."""

from collections.abc import Callable

import torch

from example_third_party.fusion import ExampleGate
from fusionkit.registry import FUSIONS
from fusionkit.testing import parametrize_checks


@parametrize_checks(ExampleGate)
def test_contract(check: Callable[[], None]) -> None:
    check()


def test_it_is_registered() -> None:
    assert FUSIONS.get("example-gate") is ExampleGate


def test_the_present_view_with_the_highest_gate_gets_all_weight() -> None:
    model = ExampleGate({"face": 2, "eye": 2}, num_classes=3, temperature=0.01)
    torch.nn.init.ones_(model.gate.weight)
    views = torch.tensor([[[1.0, 0.0], [4.0, 5.0]]])
    both, alone = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    torch.testing.assert_close(model.combine(views, both), views[:, 1])
    torch.testing.assert_close(model.combine(views, alone), views[:, 0])
