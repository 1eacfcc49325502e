from __future__ import annotations

import math

import pytest
import torch

from fusionkit.training.finetune_config import FinetuneRecipe
from fusionkit.training.schedule import StepDecay, WarmupCosine


def test_warm_up_is_a_line_and_the_rest_half_a_cosine() -> None:
    schedule = WarmupCosine(peak=0.8, steps=12, warmup=4, floor=0.2)
    assert [schedule.at(step) for step in range(5)] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert schedule.at(8) == pytest.approx(0.5)  # half way down
    assert schedule.at(6) == pytest.approx(0.2 + 0.6 * (1 + math.sqrt(0.5)) / 2)
    assert schedule.at(10) == pytest.approx(0.2 + 0.6 * (1 - math.sqrt(0.5)) / 2)
    assert schedule.at(12) == pytest.approx(0.2)


def test_without_warm_up_it_starts_at_the_peak() -> None:
    assert WarmupCosine(peak=3.0, steps=2).at(0) == 3.0
    assert WarmupCosine(peak=3.0, steps=2).at(1) == pytest.approx(1.5)


def test_the_rate_of_the_authors_falls_once_after_sixteen_of_twenty_epochs() -> None:
    recipe = FinetuneRecipe(epochs=20, lr=1e-4, schedule="step", warmup_epochs=0)
    schedule = recipe.schedule_of(steps_per_epoch=7)
    assert schedule == StepDecay(1e-4, 16 * 7, 0.1)
    assert [schedule.at(step) for step in (0, 111, 112, 139)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


def test_step_decay_equals_torchs() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.5)
    ours = StepDecay(0.3, 4, 0.5)
    for step in range(13):
        assert ours.at(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_the_warm_up_of_the_cosine_is_given_in_epochs() -> None:
    recipe = FinetuneRecipe(epochs=10, lr=0.2, warmup_epochs=2, min_lr=0.02)
    schedule = recipe.schedule_of(steps_per_epoch=5)
    assert schedule == WarmupCosine(0.2, 50, 10, 0.02)
    assert schedule.at(5) == pytest.approx(0.1)
    assert schedule.at(30) == pytest.approx(0.11)
