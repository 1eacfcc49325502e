"""Recipes: defaults, layers over them, and what is refused."""

import pytest

from fusionkit.errors import ConfigError
from fusionkit.identity import digest
from fusionkit.recipe import Recipe


def test_the_defaults_are_those_that_are_promised() -> None:
    assert Recipe().describe() == {
        "standardize": True,
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "batch_size": 256,
        "epochs": 30,
        "patience": 5,
        "class_weights": "balanced",
    }
    assert str(Recipe()) == "default"


def test_later_layers_go_before_earlier_ones() -> None:
    recipe = Recipe.of({"lr": 0.1, "epochs": 3}, {"lr": 0.2})
    assert (recipe.lr, recipe.epochs, recipe.batch_size) == (0.2, 3, 256)
    assert str(recipe) == "lr=0.2,epochs=3"


def test_a_value_that_is_the_default_changes_nothing() -> None:
    assert Recipe.of({"lr": 1e-3}, {"patience": 5}) == Recipe()
    assert digest(Recipe.of({"weight_decay": 0}).describe()) == digest(Recipe.of({"weight_decay": 0.0}).describe())


def test_every_wrong_value_is_told() -> None:
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
        "option optimizer = 'sgd' is not 'adamw' | 'adam'",
        "option class_weights = True is not 'balanced' | 'none'",
        "option standardize = 'yes' is not bool",
        f"unknown option 'learning_rate' (it has {', '.join(Recipe().describe())})",
        f"unknown option 3 (it has {', '.join(Recipe().describe())})",
        "option lr = 0 must be above 0",
        "option batch_size = -1 must be above 0",
        "option epochs = 0 must be above 0",
        "option weight_decay = -0.1 must not be negative",
        "option patience = -1 must not be negative",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_rate_that_is_not_finite_is_refused(value: float) -> None:
    assert Recipe.problems({"lr": value}) == [f"option lr = {value!r} must be finite"]


def test_a_wrong_layer_is_refused_whole() -> None:
    with pytest.raises(ConfigError) as refused:
        Recipe.of({"lrr": 1}, {"epochs": "3"})
    assert refused.value.problems == [
        "recipe: unknown option 'lrr' (did you mean 'lr'?)",
        "recipe: option epochs = '3' is not int (write 3)",
    ]


def test_zero_patience_and_decay_are_allowed() -> None:
    assert Recipe.problems({"patience": 0, "weight_decay": 0.0}) == []
