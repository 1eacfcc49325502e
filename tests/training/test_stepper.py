from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.cuda import _get_device_index  # what set_device makes of its argument

from fusionkit.errors import CellError
from fusionkit.training.batches import Batch
from fusionkit.training.processes import start_processes
from fusionkit.training.schedule import WarmupCosine
from fusionkit.training.stepper import Stepper

TENTH = WarmupCosine(0.1, 10)


class Line(torch.nn.Module):
    """Mean squared error of a line through given points; with optional noise."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.noise = noise

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        found = self.weight[0] * points[:, 0] + self.weight[1] + self.noise * torch.randn(len(points))
        return (found - points[:, 1]).square().mean()


def stepper(model: torch.nn.Module, schedule: WarmupCosine = TENTH, **options) -> Stepper:
    optimizer = torch.optim.SGD([{"params": [model.weight], "lr_scale": options.pop("lr_scale", 1.0)}], lr=9.0)
    return Stepper(start_processes("cpu", "float32"), model, optimizer, schedule, seed=0, **options)


def batch(points: np.ndarray) -> Batch:
    return Batch(np.arange(len(points)), (torch.from_numpy(points.astype(np.float32)),))


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(8, 2)) + 1


def test_a_step_is_gradient_descent_with_the_rate_of_the_schedule(points: np.ndarray) -> None:
    model = Line()
    taken = stepper(model, WarmupCosine(0.5, steps=8), lr_scale=0.1)
    loss = taken.take(4, [batch(points)])  # the middle of the cosine: half of 0.5, times 0.1
    x, y = points.astype(np.float32).astype(float).T
    assert loss == pytest.approx((y**2).mean())
    gradient = np.array([(-2 * x * y).mean(), (-2 * y).mean()])
    np.testing.assert_allclose(model.weight.detach().numpy(), -0.025 * gradient, rtol=1e-5)


def test_micro_batches_add_up_to_the_whole_batch(points: np.ndarray) -> None:
    whole, parts = Line(), Line()
    takes = stepper(whole), stepper(parts)
    for step in range(5):
        one = takes[0].take(step, [batch(points)])
        four = takes[1].take(step, [batch(piece) for piece in np.split(points, 4)])
        assert one == pytest.approx(four, rel=1e-6)
    np.testing.assert_allclose(parts.weight.detach().numpy(), whole.weight.detach().numpy(), rtol=1e-5)


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_weights(points: np.ndarray) -> None:
    model = Line()
    taken = stepper(model)
    taken.take(0, [batch(points)])
    before = model.weight.detach().clone()
    points[3, 1] = math.nan
    with pytest.raises(CellError, match=r"the loss is nan at step 1 .*learning rate"):
        taken.take(1, [batch(points)])
    assert torch.equal(model.weight, before)


def test_running_out_of_memory_is_reported_in_one_line(points: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Line()
    taken = stepper(model)
    monkeypatch.setattr(model, "forward", lambda _: torch.empty(2**60))
    with pytest.raises(CellError, match=r"memory ran out at step 2 .*run\.accumulation"):
        taken.take(2, [batch(points)])


def test_random_draws_depend_on_the_step_alone(points: np.ndarray) -> None:
    first = stepper(Line(noise=1.0), WarmupCosine(0.0, 10))
    losses = [first.take(step, [batch(points)]) for step in range(3)]
    torch.manual_seed(99)
    again = stepper(Line(noise=1.0), WarmupCosine(0.0, 10))
    assert again.take(2, [batch(points)]) == losses[2]
    assert len(set(losses)) == 3


def test_the_gradient_is_clipped(points: np.ndarray) -> None:
    model = Line()
    stepper(model, WarmupCosine(1.0, 10), clip=0.01).take(0, [batch(100 * points)])
    assert model.weight.norm().item() == pytest.approx(0.01, rel=1e-4)


def test_bfloat16_rounds_the_forward_pass_and_keeps_the_weights_whole() -> None:
    model = torch.nn.Linear(64, 64)
    accelerator = start_processes("cpu", "bfloat16")
    prepared = accelerator.prepare(model)
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    exact = torch.nn.functional.linear(x, model.weight, model.bias)
    assert not torch.equal(prepared(x), exact)
    torch.testing.assert_close(prepared(x), exact, rtol=0.05, atol=0.05)
    assert model.weight.dtype == torch.float32
    assert start_processes("cpu", "auto").mixed_precision == "no"


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:1", 1)])
def test_a_device_without_a_number_is_the_first_card(monkeypatch: pytest.MonkeyPatch, device: str, index: int) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda each: chosen.append(_get_device_index(each)))
    monkeypatch.setattr("accelerate.Accelerator", lambda **_: None)
    start_processes(device, "float32")
    assert chosen == [index]
