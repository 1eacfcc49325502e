"""A head or smoother that cannot be restored from what is stored of it fails, with the likely cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_components import Forest, Learned, carry_out, registered, toy_house, toy_plan  # noqa: F401
from toy_features import made
from toy_tasks import expression

from fusionkit.config.recipe import Recipe
from fusionkit.contracts.fusion import Fusion
from fusionkit.engine.features import FeaturesInMemory
from fusionkit.engine.fit import Head, fit
from fusionkit.engine.restore import check_restored_fusion, leading_frames, restored_fusion
from fusionkit.errors import PluginError
from fusionkit.grid.folder import RunFolder
from fusionkit.registry import FUSIONS, SMOOTHERS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")

WIDTHS = {"face": 4, "eye": 3}


class LowRank(Fusion):
    """Product of low-rank factors, registered or in a plain list."""

    def __init__(self, in_dims: dict[str, int], num_classes: int, registered: bool = False) -> None:
        super().__init__(in_dims, num_classes)
        factors = [nn.Parameter(torch.randn(dim, 5) / dim) for dim in in_dims.values()]
        self.factors = nn.ParameterList(factors) if registered else factors

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        found = torch.ones(len(views[self.main]), 5)
        for factor, name in zip(self.factors, self.in_dims, strict=True):
            found = found * (views[name] @ factor)
        return found


class Centred(Fusion):
    """Keeps the mean of its training batches as a number, which is not stored."""

    level = 0.0

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        if self.training:
            self.level = views["face"].mean().item()
        return views["face"] - self.level


class Noisy(Fusion):
    """Random in evaluation."""

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return views["face"] + torch.randn_like(views["face"])


class Forgetful(Forest):
    """Stores its coefficients rounded."""

    def state(self) -> dict[str, np.ndarray]:
        return {name: value.round(2) for name, value in super().state().items()}


class Shy(Learned):
    """A learned smoother whose state is that of another fit."""

    def state(self) -> dict[str, np.ndarray]:
        return {"share": self.share[::-1].copy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.share = state["share"]


def checked(spec: str, **recipe: Any) -> Head:
    features, rows = made()
    head = fit(features, rows, expression(3), Spec.parse(spec), Recipe(epochs=2, lr=0.05, **recipe), 0, "cpu")
    check_restored_fusion(Spec.parse(spec), head, features.dev, rows.timeline(rows.dev), WIDTHS, 0, "cpu")
    return head


@pytest.mark.parametrize("recipe", [{}, {"view_heads": 0.5}])
def test_a_head_with_registered_weights_is_restored(recipe: dict[str, Any]) -> None:
    with registered(FUSIONS, "toy-low-rank", LowRank):
        head = checked("toy-low-rank:registered=true", **recipe)
        model = restored_fusion(Spec.parse("toy-low-rank:registered=true"), head.state, WIDTHS, 3, "cpu")
    features, _ = made()
    assert isinstance(model, Fusion)
    assert isinstance(features.test, FeaturesInMemory)
    views, present = (
        {name: torch.from_numpy(value) for name, value in values.items()}
        for values in (features.test.views, features.test.present)
    )
    with torch.no_grad():
        logits = model(views, present).logits.numpy()
    seen = features.test.seen
    np.testing.assert_array_equal(logits[seen], head.test_logits[seen])


def test_fitted_fusions_are_restored() -> None:
    checked("toy-forest")


@pytest.mark.parametrize(
    ("cls", "cause"),
    [
        (LowRank, r"self\.factors\[0\], self\.factors\[1\] must be parameters or buffers"),
        (Centred, "neither a parameter nor a buffer"),
        (Noisy, "its predictions are random"),
        (Forgetful, r"state\(\) must return everything that fit\(\) learns"),
    ],
)
def test_a_head_that_is_not_restored_fails_with_the_likely_cause(cls: type, cause: str) -> None:
    with registered(FUSIONS, "toy-lossy", cls), pytest.raises(PluginError, match=cause) as found:
        checked("toy-lossy")
    assert "fusion toy-lossy gives other logits after its stored state is restored" in str(found.value)


def test_unregistered_weights_of_an_inner_fusion_are_named() -> None:
    with registered(FUSIONS, "toy-low-rank", LowRank), pytest.raises(PluginError, match=r"self\.inner\.factors\[0\]"):
        checked("toy-low-rank", view_heads=0.5)


def test_the_check_draws_no_random_number_of_the_caller() -> None:
    torch.manual_seed(4)
    before = torch.random.get_rng_state()
    checked("toy-recorder")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_lossy_head_is_not_stored_and_others_are(tmp_path: Path) -> None:
    with registered(FUSIONS, "toy-low-rank", LowRank):
        plan = toy_plan(fusions=["toy-low-rank", "toy-sum"], reference="none", seeds=1)
        outcome, _ = carry_out(plan, tmp_path)
    assert {name.split("/")[1] for name in outcome.failed} == {"toy-low-rank"}
    folder = RunFolder(tmp_path)
    assert {head.fusion.name for head in plan.heads.values() if folder.has_head(head.id)} == {"toy-sum"}


def test_a_smoother_whose_state_is_incomplete_fails_its_cells_only(tmp_path: Path) -> None:
    with registered(SMOOTHERS, "toy-shy", Shy):
        outcome, _ = carry_out(toy_plan(smoothers=["toy-shy", "toy-plain"], seeds=1), tmp_path)
    assert {name.split("/")[2] for name in outcome.failed} == {"toy-shy"}
    assert all("smoother toy-shy gives other probabilities" in text for text in outcome.failed.values())


def test_leading_frames_are_whole_clips() -> None:
    clip = np.repeat(["a", "b", "c"], [600, 600, 600])
    np.testing.assert_array_equal(leading_frames(clip), np.arange(1200))
    np.testing.assert_array_equal(leading_frames(clip[:5]), np.arange(5))
    assert len(leading_frames(clip[:0])) == 0
