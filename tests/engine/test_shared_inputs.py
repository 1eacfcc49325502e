"""Heads on the same features do not affect each other, whatever a fusion does to its input."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_components import Forest, Learned, Sum, carry_out, registered, toy_house, toy_plan  # noqa: F401
from toy_features import made
from toy_tasks import expression

from fusionkit.config.recipe import Recipe
from fusionkit.contracts.fusion import Fusion, FusionOutput
from fusionkit.engine.features import FeaturesInMemory, FoldFeatures
from fusionkit.engine.fit import fit
from fusionkit.errors import PluginError
from fusionkit.registry import FUSIONS, SMOOTHERS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")

RECIPE = Recipe(epochs=3, lr=0.05)


class Beside(Fusion):
    """A linear head on all views, with a place to misbehave in."""

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        self.misbehave(views)
        return torch.cat([views[name] for name in self.in_dims], 1)

    def misbehave(self, views: dict[str, Tensor]) -> None:
        pass


class WritesInEvaluation(Beside):
    def misbehave(self, views: dict[str, Tensor]) -> None:
        if not self.training:
            for value in views.values():
                value.div_(value.norm())


class WritesInTraining(Beside):
    def misbehave(self, views: dict[str, Tensor]) -> None:
        if self.training:
            views["eye"].mul_(2)


class WritesDataInTraining(Beside):
    def misbehave(self, views: dict[str, Tensor]) -> None:
        if self.training:
            views["eye"].data.mul_(2)


class WritesUnseen(Beside):
    """Writes as torch does not count it, in large batches of evaluation only, which no check compares."""

    def misbehave(self, views: dict[str, Tensor]) -> None:
        if not self.training and len(views["eye"]) > 2:
            for value in views.values():
                value.data.mul_(5)


class WritesTheTarget(Beside):
    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        target.clamp_(max=1)
        return super().loss(output, target)


def bits(features: FoldFeatures) -> list[np.ndarray]:
    parts = [part for part in (features.train, features.dev, features.test) if isinstance(part, FeaturesInMemory)]
    assert len(parts) == 3
    return [value.copy() for part in parts for value in [*part.views.values(), *part.present.values()]]


@pytest.mark.parametrize(
    ("cls", "named"),
    [
        (WritesInEvaluation, "face, eye"),
        (WritesInTraining, "eye"),
        (WritesDataInTraining, "eye"),
        (WritesTheTarget, "target"),
    ],
)
def test_a_write_ends_the_head_and_names_fusion_and_view(cls: type[Fusion], named: str) -> None:
    features, rows = made(missing=0.0)
    before = bits(features)
    with (
        registered(FUSIONS, "toy-writes", cls),
        pytest.raises(PluginError, match=f"changes its input: {named} ") as found,
    ):
        fit(features, rows, expression(3), Spec("toy-writes"), RECIPE, 0, "cpu")
    assert any(name in str(found.value) for name in ("toy-writes", cls.__name__))
    for value, expected in zip(bits(features), before, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("recipe", [RECIPE, Recipe(epochs=3, lr=0.05, view_heads=0.5, view_dropout=0.2)])
def test_a_write_that_nothing_counts_does_not_reach_other_heads(recipe: Recipe) -> None:
    features, rows = made()
    before = bits(features)
    with registered(FUSIONS, "toy-beside", Beside), registered(FUSIONS, "toy-unseen", WritesUnseen):
        alone = fit(features, rows, expression(3), Spec("toy-beside"), recipe, 0, "cpu")
        fit(features, rows, expression(3), Spec("toy-unseen"), recipe, 0, "cpu")
        after = fit(features, rows, expression(3), Spec("toy-beside"), recipe, 0, "cpu")
    for value, expected in zip(bits(features), before, strict=True):
        np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(after.test_logits, alone.test_logits)


def test_the_inner_fusion_of_view_heads_is_watched_too() -> None:
    features, rows = made(missing=0.0)
    with (
        registered(FUSIONS, "toy-writes", WritesInTraining),
        pytest.raises(PluginError, match="changes its input: eye"),
    ):
        fit(features, rows, expression(3), Spec("toy-writes"), Recipe(epochs=1, view_heads=0.5), 0, "cpu")


@pytest.mark.parametrize("method", ["fit", "predict_proba"])
def test_arrays_of_a_fitted_fusion_are_read_only(method: str) -> None:
    class Centring(Forest):
        pass

    def write(self: Forest, views: dict[str, np.ndarray], *rest: Any) -> Any:
        views["eye"] -= views["eye"].mean(0)
        return getattr(Forest, method)(self, views, *rest)

    setattr(Centring, method, write)
    features, rows = made(missing=0.0)
    before = bits(features)
    with (
        registered(FUSIONS, "toy-centring", Centring),
        pytest.raises(PluginError, match=r"fusion toy-centring on views face .*read-only.*write to a copy"),
    ):
        fit(features, rows, expression(3), Spec("toy-centring"), RECIPE, 0, "cpu")
    for value, expected in zip(bits(features), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_labels_and_units_of_a_fitted_fusion_are_read_only() -> None:
    flags = []

    class Looking(Forest):
        def fit(self, views: dict[str, np.ndarray], y: np.ndarray, groups: np.ndarray, seed: int) -> None:
            flags.extend([y.flags.writeable, groups.flags.writeable])
            super().fit(views, y, groups, seed)

    features, rows = made()
    with registered(FUSIONS, "toy-looking", Looking):
        fit(features, rows, expression(3), Spec("toy-looking"), RECIPE, 0, "cpu")
    assert flags == [False, False]


def test_a_smoother_is_fitted_on_read_only_clips(tmp_path: Any) -> None:
    class Shaking(Learned):
        given: ClassVar[list[Any]] = []

        def fit(self, clips: Any, labels: Any, seed: int) -> None:
            labels[0][:] = 0
            super().fit(clips, labels, seed)

    with registered(SMOOTHERS, "toy-shaking", Shaking):
        outcome, _ = carry_out(toy_plan(smoothers=["toy-shaking", "toy-plain"], seeds=1), tmp_path / "run")
    assert {name.split("/")[2] for name in outcome.failed} == {"toy-shaking"}
    assert all("smoother Shaking failed" in text and "read-only" in text for text in outcome.failed.values())


def test_a_grid_with_a_writing_fusion_leaves_the_rows_of_others_as_they_are_alone(tmp_path: Any) -> None:
    with registered(FUSIONS, "toy-writes", WritesInEvaluation):
        outcome, mixed = carry_out(toy_plan(fusions=["toy-writes", "toy-sum"], reference="none"), tmp_path / "mixed")
    _, alone = carry_out(toy_plan(fusions=["toy-sum"], reference="none"), tmp_path / "alone")
    assert {name.split("/")[1] for name in outcome.failed} == {"toy-writes"}
    assert all("changes its input" in text for text in outcome.failed.values())
    scores = {row.axes.fusion: row.score for row in mixed.rows}
    assert scores["toy-sum"] == alone.rows[0].score
    assert scores["toy-writes"] is None
