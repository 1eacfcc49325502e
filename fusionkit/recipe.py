"""How heads are trained: the recipe, its defaults and its checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self

from fusionkit.errors import ConfigError
from fusionkit.options import check_options, defaults_filled


@dataclass(frozen=True)
class Recipe:
    """How a head is trained.

    Args:
        standardize: bring every feature to mean 0 and variance 1, as fitted on the training frames.
        optimizer: ``adamw`` or ``adam``.
        lr: learning rate.
        weight_decay: weight decay; decoupled for ``adamw``.
        batch_size: frames a step.
        epochs: passes over the training frames at most.
        patience: stop after this many epochs without a better dev macro-F1; 0 trains all epochs and keeps the last.
        class_weights: ``balanced`` weighs classes by inverse frequency (mean weight 1 over frames), ``none`` does not.
    """

    provided: ClassVar[tuple[str, ...]] = ()

    standardize: bool = True
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 256
    epochs: int = 30
    patience: int = 5
    class_weights: Literal["balanced", "none"] = "balanced"

    @classmethod
    def problems(cls, given: Mapping[str, Any]) -> list[str]:
        """Everything that is wrong with given values."""
        found = check_options(cls, given)
        numbers = {name: value for name, value in given.items() if type(value) in (int, float)}
        for name, value in numbers.items():
            if not math.isfinite(value):
                found.append(f"option {name} = {value!r} must be finite")
            elif name in ("lr", "batch_size", "epochs") and value <= 0:
                found.append(f"option {name} = {value!r} must be above 0")
            elif name in ("weight_decay", "patience") and value < 0:
                found.append(f"option {name} = {value!r} must not be negative")
        return found

    @classmethod
    def of(cls, *layers: Mapping[str, Any]) -> Self:
        """The defaults, overridden by each layer in turn: what the fusion asks for, then what the config says.

        Raises:
            ConfigError: if a layer holds something wrong.
        """
        merged: dict[str, Any] = {}
        for layer in layers:
            merged.update(layer)
        problems = cls.problems(merged)
        if problems:
            raise ConfigError([f"recipe: {problem}" for problem in problems])
        return cls(**defaults_filled(cls, merged))

    def describe(self) -> dict[str, Any]:
        """Every value, by name."""
        return asdict(self)

    def __str__(self) -> str:
        default = Recipe()
        changed = [
            f"{item.name}={getattr(self, item.name)}"
            for item in fields(self)
            if getattr(self, item.name) != getattr(default, item.name)
        ]
        return ",".join(changed) or "default"
