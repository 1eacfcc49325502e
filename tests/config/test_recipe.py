"""Recipes: defaults, layers over them, sweeps, and what is refused."""

from typing import Any

import pytest

from fusionkit.config.recipe import Recipe, sweep_text
from fusionkit.errors import ConfigError
from fusionkit.storage.identity import digest


def test_the_documented_defaults() -> None:
    assert Recipe().describe() == {
        "standardize": True,
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "batch_size": "auto",
        "epochs": 30,
        "patience": 5,
        "class_weights": "balanced",
        "loss": "cross-entropy",
        "focal_gamma": 2.0,
        "label_smoothing": 0.0,
        "logit_adjustment": 0.0,
        "view_dropout": 0.0,
        "view_heads": 0.0,
        "gradient_modulation": 0.0,
        "task_weighting": "equal",
    }
    assert str(Recipe()) == "default"


def test_later_layers_override_earlier_ones() -> None:
    recipe = Recipe.sweep({"lr": 0.1, "epochs": 3}, {"lr": 0.2})[0]
    assert (recipe.lr, recipe.epochs, recipe.batch_size) == (0.2, 3, "auto")
    assert str(recipe) == "lr=0.2,epochs=3"


def test_a_value_that_is_the_default_changes_nothing() -> None:
    assert Recipe.sweep({"lr": 1e-3}, {"patience": 5}) == (Recipe(),)
    assert digest(Recipe.of({"weight_decay": 0}).describe()) == digest(Recipe.of({"weight_decay": 0.0}).describe())


def test_every_wrong_value_is_reported() -> None:
    given = {
        "lr": 0,
        "batch_size": -1,
        "epochs": 0,
        "weight_decay": -0.1,
        "patience": -1,
        "optimizer": "sgd",
        "class_weights": True,
        "standardize": "yes",
        "learning_rate": 1,
        3: 4,
    }
    assert Recipe.problems(given) == [
        "option lr = 0 must be above 0",
        "option batch_size = -1 must be at least 1",
        "option epochs = 0 must be at least 1",
        "option weight_decay = -0.1 must be at least 0",
        "option patience = -1 must be at least 0",
        "option optimizer = 'sgd' must be one of: adamw, adam",
        "option class_weights = True must be one of: balanced, none",
        "option standardize = 'yes' must be bool (write true)",
        f"unknown option 'learning_rate' (known options: {', '.join(Recipe().describe())})",
        f"unknown option 3 (known options: {', '.join(Recipe().describe())})",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_rate_that_is_not_finite_is_refused(value: float) -> None:
    assert Recipe.problems({"lr": value}) == [f"option lr = {value!r} must be finite"]


def test_all_problems_of_the_layers_are_reported() -> None:
    with pytest.raises(ConfigError) as refused:
        Recipe.sweep({"lrr": 1}, {"epochs": "3"})
    assert refused.value.problems == [
        "recipe: unknown option 'lrr' (did you mean 'lr'?)",
        "recipe: option epochs = '3' must be int >= 1 (write 3)",
    ]


@pytest.mark.parametrize(
    ("frames", "batch", "steps"),
    [(5, 8, 1), (150, 8, 19), (160, 8, 20), (800, 40, 20), (5119, 255, 21), (5120, 256, 20), (30_000, 256, 118)],
)
def test_automatic_batches_make_20_steps_an_epoch_of_256_frames_at_most(frames: int, batch: int, steps: int) -> None:
    assert Recipe().batch_of(frames) == batch
    assert -(-frames // batch) == steps
    assert Recipe(batch_size=300).batch_of(frames) == 300


def test_zero_patience_and_decay_are_allowed() -> None:
    assert Recipe.problems({"patience": 0, "weight_decay": 0.0}) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"label_smoothing": 1.0}, "option label_smoothing = 1.0 must be at least 0 and below 1"),
        ({"label_smoothing": -0.1}, "option label_smoothing = -0.1 must be at least 0 and below 1"),
        ({"view_dropout": 1.0}, "option view_dropout = 1.0 must be at least 0 and below 1"),
        ({"view_heads": -1.0}, "option view_heads = -1.0 must be at least 0"),
        (
            {"gradient_modulation": 0.5},
            "option gradient_modulation = 0.5 has no effect without view_heads (write view_heads=1)",
        ),
        ({"logit_adjustment": -1}, "option logit_adjustment = -1 must be at least 0"),
        ({"focal_gamma": -2.0}, "option focal_gamma = -2.0 must be at least 0"),
        ({"loss": "ce"}, "option loss = 'ce' must be one of: cross-entropy, focal"),
        (
            {"focal_gamma": 3},
            "option focal_gamma = 3.0 has no effect with loss = 'cross-entropy' (write loss=focal)",
        ),
        (
            {"loss": "focal", "label_smoothing": 0.1},
            "option label_smoothing = 0.1 does not go with loss = 'focal' (write loss=cross-entropy)",
        ),
        (
            {"logit_adjustment": 1},
            (
                "option logit_adjustment = 1.0 and class_weights = 'balanced' correct for the same class shares "
                "(write class_weights=none)"
            ),
        ),
    ],
    ids=str,
)
def test_an_invalid_loss_is_refused_in_one_line(given: dict[str, Any], problem: str) -> None:
    assert Recipe.problems(given) == [problem]


@pytest.mark.parametrize(
    "given",
    [
        {"loss": "focal", "focal_gamma": 0},
        {"loss": "focal", "logit_adjustment": 1, "class_weights": "none"},
        {"label_smoothing": 0.1, "logit_adjustment": 1, "class_weights": "none"},
        {"label_smoothing": 0},
        {"logit_adjustment": 0},
        {"focal_gamma": 2},
    ],
    ids=str,
)
def test_valid_combinations_are_allowed(given: dict[str, Any]) -> None:
    assert Recipe.problems(given) == []


def test_layers_that_clash_only_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="label_smoothing"):
        Recipe.sweep({"loss": "focal"}, {"label_smoothing": 0.1})


def test_a_sweep_is_every_combination_and_the_last_option_varies_fastest() -> None:
    points = Recipe.sweep({"lr": 5.0}, {"epochs": [1, 2], "lr": [0.1, 0.2], "patience": 0})
    assert points == tuple(Recipe(lr=lr, epochs=epochs, patience=0) for lr, epochs in LR_FASTER)
    assert sweep_text(points) == "lr=[0.1,0.2],epochs=[1,2],patience=0"


LR_FASTER = [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]  # lr stands first: it came with the first layer


def test_a_sweep_of_one_value_or_of_equal_ones_is_no_sweep() -> None:
    assert Recipe.sweep({"lr": [1, 1.0]}) == (Recipe(lr=1.0),)
    assert sweep_text(Recipe.sweep({"lr": [1e-3]})) == "default"
    assert Recipe.sweep({"epochs": [3]}) == (Recipe(epochs=3),)
    assert Recipe.sweep() == (Recipe(),)


def test_the_default_is_shown_where_it_is_one_of_several_values() -> None:
    assert sweep_text(Recipe.sweep({"lr": [1e-3, 1e-2]})) == "lr=[0.001,0.01]"
    assert [str(point) for point in Recipe.sweep({"lr": [1e-3, 1e-2]})] == ["default", "lr=0.01"]


def test_every_problem_of_a_sweep_is_reported_once() -> None:
    assert Recipe.problems({"lr": [0, -1, 1e-3], "epochs": [0, 1], "lrr": 1}) == [
        "option lr = 0 must be above 0",
        "option epochs = 0 must be at least 1",
        "unknown option 'lrr' (did you mean 'lr'?)",
        "option lr = -1 must be above 0",
    ]
    assert Recipe.problems({"lr": [], "epochs": [0]}) == ["option lr = [] must not be empty"]
    assert Recipe.problems({"lr": [[0.1]]}) == ["option lr = [0.1] must be float > 0"]
