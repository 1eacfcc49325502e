"""How heads are trained: the recipe, its defaults and its checks; and sweeps over recipes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any, ClassVar, Literal, Self

from fusionkit.errors import ConfigError
from fusionkit.options import check_options, defaults_filled


@dataclass(frozen=True)
class Recipe:
    """How a head is trained.

    The losses and what they may be combined with: ``class_weights`` goes with either loss; ``label_smoothing`` with
    ``cross-entropy`` only, since a smoothed focal loss has no agreed meaning; ``logit_adjustment`` with either loss
    and with smoothing, but not with balanced weights, which correct for the same class shares a second time.

    Args:
        standardize: bring every feature to mean 0 and variance 1, as fitted on the training frames.
        optimizer: ``adamw`` or ``adam``.
        lr: learning rate.
        weight_decay: weight decay; decoupled for ``adamw``.
        batch_size: frames a step.
        epochs: passes over the training frames at most.
        patience: stop after this many epochs without a better dev macro-F1; 0 trains all epochs and keeps the last.
        class_weights: ``balanced`` weighs classes by inverse frequency (mean weight 1 over frames), ``none`` does not.
        loss: ``cross-entropy``, or ``focal``, which turns to the frames that are still wrong.
        focal_gamma: exponent of the focal loss, 0 or more; 0 is the cross-entropy.
        label_smoothing: share of the target that is spread over all classes, 0 or more and below 1.
        logit_adjustment: tau, 0 or more: the training loss sees logits + tau * log class share; 1 is the usual value.
        view_dropout: chance that a view of a training frame is taken away, 0 or more and below 1; one always stays.
        view_heads: weight of a loss for each view's own classifier; above 0, every view gets an adapter that the fusion
            and that classifier share.
        gradient_modulation: alpha of OGM-GE, which holds back the adapters of the view that is ahead; goes with
            ``view_heads`` only.

    The last three act on fusions that are trained by gradient steps; one that is fitted in one go does not see them.

    Reference:
        Focal loss: Lin et al., ICCV 2017. Logit adjustment: Menon et al., ICLR 2021. Label smoothing: Szegedy et al.,
        CVPR 2016. Decoupled weight decay: Loshchilov and Hutter, ICLR 2019. View dropout: Neverova et al., TPAMI 2016.
        Gradient modulation: Peng et al., CVPR 2022.
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
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    logit_adjustment: float = 0.0
    view_dropout: float = 0.0
    view_heads: float = 0.0
    gradient_modulation: float = 0.0

    @classmethod
    def problems(cls, given: Mapping[str, Any]) -> list[str]:
        """Everything that is wrong with given values; an option given a list stands for each of its values."""
        found = [f"option {name} = [] names no value" for name, value in given.items() if value in ([], ())]
        return found or list(dict.fromkeys(problem for point in _points(given) for problem in cls._of_point(point)))

    @classmethod
    def _of_point(cls, given: Mapping[str, Any]) -> list[str]:
        found = check_options(cls, given)
        for name, value in given.items():
            if type(value) in (int, float):
                found += _range_problems(name, value)
        return found or _clashes(cls(**defaults_filled(cls, given)))

    @classmethod
    def of(cls, *layers: Mapping[str, Any]) -> Self:
        """The defaults, overridden by each layer in turn: what the fusion asks for, then what the config says.

        Raises:
            ConfigError: if a layer holds something wrong, or options that are given several values.
        """
        points = cls.sweep(*layers)
        if len(points) > 1:
            raise ConfigError(f"recipe: {sweep_text(points)} are {len(points)} recipes, not one")
        return points[0]

    @classmethod
    def sweep(cls, *layers: Mapping[str, Any]) -> tuple[Self, ...]:
        """Every point of a sweep, each once: as :meth:`of`, where an option may be given a list of values.

        Points come in the order of the options and of their values, the last option turning fastest.

        Raises:
            ConfigError: if a layer holds something wrong.
        """
        merged: dict[str, Any] = {}
        for layer in layers:
            merged.update(layer)
        problems = cls.problems(merged)
        if problems:
            raise ConfigError([f"recipe: {problem}" for problem in problems])
        return tuple(dict.fromkeys(cls(**defaults_filled(cls, point)) for point in _points(merged)))

    def describe(self) -> dict[str, Any]:
        """Every value, by name."""
        return asdict(self)

    def __str__(self) -> str:
        return sweep_text([self])


def sweep_text(points: Sequence[Recipe]) -> str:
    """What a sweep changes in the defaults: ``lr=[0.001,0.01],epochs=2``; ``default`` for nothing."""
    changed = []
    for item in fields(Recipe):
        values = list(dict.fromkeys(getattr(point, item.name) for point in points))
        if len(values) > 1:
            changed.append(f"{item.name}=[{','.join(map(str, values))}]")
        elif values != [item.default]:
            changed.append(f"{item.name}={values[0]}")
    return ",".join(changed) or "default"


def _points(given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    each = [value if isinstance(value, (list, tuple)) else [value] for value in given.values()]
    return (dict(zip(given, point, strict=True)) for point in product(*each))


_NOT_NEGATIVE = (
    "weight_decay",
    "patience",
    "focal_gamma",
    "label_smoothing",
    "logit_adjustment",
    "view_dropout",
    "view_heads",
    "gradient_modulation",
)


def _range_problems(name: str, value: float) -> list[str]:
    if not math.isfinite(value):
        return [f"option {name} = {value!r} must be finite"]
    if name in ("lr", "batch_size", "epochs") and value <= 0:
        return [f"option {name} = {value!r} must be above 0"]
    if name in _NOT_NEGATIVE and value < 0:
        return [f"option {name} = {value!r} must not be negative"]
    if name in ("label_smoothing", "view_dropout") and value >= 1:
        return [f"option {name} = {value!r} must be below 1"]
    return []


def _clashes(recipe: Recipe) -> list[str]:
    """The options that mean nothing together."""
    found = []
    if recipe.loss != "focal" and recipe.focal_gamma != Recipe.focal_gamma:
        found.append(
            f"option focal_gamma = {recipe.focal_gamma!r} has no effect with loss = {recipe.loss!r} (write loss=focal)"
        )
    if recipe.loss == "focal" and recipe.label_smoothing:
        found.append(
            f"option label_smoothing = {recipe.label_smoothing!r} does not go with loss = 'focal' "
            "(write loss=cross-entropy)"
        )
    if recipe.gradient_modulation and not recipe.view_heads:
        found.append(
            f"option gradient_modulation = {recipe.gradient_modulation!r} has no effect without view_heads "
            "(write view_heads=1)"
        )
    if recipe.logit_adjustment and recipe.class_weights == "balanced":
        found.append(
            f"option logit_adjustment = {recipe.logit_adjustment!r} and class_weights = 'balanced' correct for the "
            "same class shares (write class_weights=none)"
        )
    return found
