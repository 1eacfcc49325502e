"""Checks of every fusion, and tests of this one."""

from collections.abc import Callable

import torch

from example_third_party.clip_fusion import ExampleMemory
from fusionkit.registry import FUSIONS
from fusionkit.testing import parametrize_checks


@parametrize_checks(ExampleMemory)
def test_contract(check: Callable[[], None]) -> None:
    check()


def test_it_is_registered() -> None:
    assert FUSIONS.get("example-memory") is ExampleMemory


def test_a_frame_one_half_life_old_has_half_the_weight() -> None:
    model = ExampleMemory({"face": 1}, num_classes=3)
    torch.nn.init.constant_(model.half_life, 2.0)
    half_life = torch.nn.functional.softplus(model.half_life)
    views, number = torch.tensor([[[6.0], [3.0]]]), torch.tensor([[1, 3]])
    there = torch.ones(1, 2, dtype=torch.bool)
    found = model.fuse_clip({"face": views}, {"face": there}, number, there)
    weight = 0.5 ** (2 / half_life)
    torch.testing.assert_close(found[0, 0], torch.tensor([6.0, 6.0]))
    torch.testing.assert_close(found[0, 1], torch.stack([torch.tensor(3.0), (3 + 6 * weight) / (1 + weight)]))
