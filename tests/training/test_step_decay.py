from __future__ import annotations

import pytest
import torch

from fusionkit.training.finetune_config import FinetuneRecipe
from fusionkit.training.schedule import Schedule, StepDecay


def test_the_rate_of_the_authors_falls_once_after_sixteen_of_twenty_epochs() -> None:
    recipe = FinetuneRecipe(epochs=20, lr=1e-4, schedule="step", warmup_epochs=0)
    rates = recipe.rates(steps_per_epoch=7)
    assert rates == StepDecay(1e-4, 16 * 7, 0.1)
    assert [rates.at(step) for step in (0, 111, 112, 139)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


def test_it_is_torch_s_own() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.5)
    ours = StepDecay(0.3, 4, 0.5)
    for step in range(13):
        assert ours.at(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_the_cosine_has_its_warm_up_in_epochs() -> None:
    recipe = FinetuneRecipe(epochs=10, lr=0.2, warmup_epochs=2, min_lr=0.02)
    rates = recipe.rates(steps_per_epoch=5)
    assert rates == Schedule(0.2, 50, 10, 0.02)
    assert rates.at(5) == pytest.approx(0.1)
    assert rates.at(30) == pytest.approx(0.11)
