"""Training recipe of heads (optimiser, epochs, loss), and sweeps over recipes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Annotated, Any, Literal, Self

from fusionkit.config.section import Section
from fusionkit.contracts.option_types import Count, Natural, NonNegative, Positive, Range
from fusionkit.errors import ConfigError
from fusionkit.registry.options import defaults_filled

STEPS_PER_EPOCH = 20  # at least, with batches that fit the data
SMALLEST_BATCH, LARGEST_BATCH = 8, 256  # frames
MOST_RECIPES = 1_000  # of a sweep
BelowOne = Annotated[float, Range(least=0, below=1)]


@dataclass(frozen=True)
class Recipe(Section):
    """Training recipe of a head.

    Valid combinations: ``class_weights`` works with either loss. ``label_smoothing`` works with ``cross-entropy`` only,
    because a smoothed focal loss has no agreed definition. ``logit_adjustment`` works with either loss and with
    smoothing, but not with balanced weights, which correct for the same class frequencies.

    Args:
        standardize: scale every feature to mean 0 and variance 1 over the training frames.
        optimizer: ``adamw`` or ``adam``.
        lr: learning rate.
        weight_decay: weight decay; decoupled for ``adamw``.
        batch_size: frames per step. ``auto`` is a 20th of the training frames, at least 8 and at most 256: an epoch has
            at least 20 steps from 160 frames on, and a batch has 256 frames from 5,120 on.
        epochs: maximum number of passes over the training frames.
        patience: stop after this many epochs without a better metric on dev; 0 trains all epochs and keeps the last.
        class_weights: ``balanced`` weights classes by inverse frequency (mean weight 1 over frames), ``none`` equally.
        loss: ``cross-entropy``, or ``focal``, which down-weights well-classified frames.
        focal_gamma: exponent of the focal loss; 0 is the cross-entropy.
        label_smoothing: share of the target that is spread over all classes.
        logit_adjustment: tau: the training loss uses logits + tau * log class frequency; 1 is the usual value.
        view_dropout: probability of dropping a view of a training frame; one view is always kept.
        view_heads: weight of an auxiliary loss on one classifier per view; above 0, each view gets an adapter shared by
            its classifier and the fusion.
        gradient_modulation: alpha of OGM-GE, which slows down the adapters of the dominant view; needs ``view_heads``.
        task_weighting: of the losses of tasks that are learned together: ``equal``; one weight a task, such as
            ``1+0.5``; or ``uncertainty``, which learns the weights.

    The last four apply to fusions that are trained by gradient steps, and not to fitted ones.

    Reference:
        Focal loss: Lin et al., ICCV 2017. Logit adjustment: Menon et al., ICLR 2021. Label smoothing: Szegedy et al.,
        CVPR 2016. Decoupled weight decay: Loshchilov and Hutter, ICLR 2019. View dropout: Neverova et al., TPAMI 2016.
        Gradient modulation: Peng et al., CVPR 2022. Uncertainty weighting: Kendall et al., CVPR 2018.
    """

    standardize: bool = True
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 1e-4
    batch_size: Count | Literal["auto"] = "auto"
    epochs: Count = 30
    patience: Natural = 5
    class_weights: Literal["balanced", "none"] = "balanced"
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_gamma: NonNegative = 2.0
    label_smoothing: BelowOne = 0.0
    logit_adjustment: NonNegative = 0.0
    view_dropout: BelowOne = 0.0
    view_heads: NonNegative = 0.0
    gradient_modulation: NonNegative = 0.0
    task_weighting: str = "equal"

    @classmethod
    def problems(cls, given: Any) -> list[str]:
        """List everything that is wrong with given values. A list of values is a sweep."""
        if not isinstance(given, Mapping):
            return [f"{given!r} is not a mapping of options"]
        found = [f"option {name} = [] must not be empty" for name, value in given.items() if value in ([], ())]
        if not found and (points := _count(given)) > MOST_RECIPES:
            found = [f"the sweep has {points:,} recipes; at most {MOST_RECIPES:,}"]
        if not found:
            for point in _points(given):
                found += super().problems(point)
        return list(dict.fromkeys(found))

    @classmethod
    def sweep(cls, *layers: Mapping[str, Any]) -> tuple[Self, ...]:
        """Return every recipe of a sweep, each once. An option with a list takes each of its values.

        Recipes are in the order of options and values; the last option varies fastest.

        Args:
            layers: options. Each layer overrides the ones before it: the fusion's recipe, then the config's.

        Raises:
            ConfigError: with every problem of the layers.
        """
        merged: dict[str, Any] = {}
        for layer in layers:
            merged.update(layer)
        problems = cls.problems(merged)
        if problems:
            raise ConfigError([f"recipe: {problem}" for problem in problems])
        return tuple(dict.fromkeys(cls(**defaults_filled(cls, point)) for point in _points(merged)))

    def batch_of(self, frames: int) -> int:
        """Return the number of frames per step for a number of training frames."""
        if self.batch_size != "auto":
            return self.batch_size
        return min(max(frames // STEPS_PER_EPOCH, SMALLEST_BATCH), LARGEST_BATCH)

    @property
    def task_weights(self) -> tuple[float, ...]:
        """Fixed weights of the losses of several tasks; empty for another weighting."""
        return fixed_weights(self.task_weighting)

    def clashes(self) -> list[str]:
        """List options that cannot be combined."""
        found = []
        if self.loss != "focal" and self.focal_gamma != Recipe.focal_gamma:
            found.append(
                f"option focal_gamma = {self.focal_gamma!r} has no effect with loss = {self.loss!r} (write loss=focal)"
            )
        if self.loss == "focal" and self.label_smoothing:
            found.append(
                f"option label_smoothing = {self.label_smoothing!r} does not go with loss = 'focal' "
                "(write loss=cross-entropy)"
            )
        if self.gradient_modulation and not self.view_heads:
            found.append(
                f"option gradient_modulation = {self.gradient_modulation!r} has no effect without view_heads "
                "(write view_heads=1)"
            )
        if self.task_weighting not in ("equal", "uncertainty") and not self.task_weights:
            found.append(
                f"option task_weighting = {self.task_weighting!r} must be equal, uncertainty, or a weight above 0 for "
                "each task, such as 1+0.5"
            )
        if self.logit_adjustment and self.class_weights == "balanced":
            found.append(
                f"option logit_adjustment = {self.logit_adjustment!r} and class_weights = 'balanced' correct for the "
                "same class shares (write class_weights=none)"
            )
        return found

    def __str__(self) -> str:
        return sweep_text([self])


def fixed_weights(weighting: str) -> tuple[float, ...]:
    """Return the weights of ``1+0.5``; an empty tuple for anything else."""
    try:
        weights = tuple(map(float, weighting.split("+")))
    except ValueError:
        return ()
    return weights if all(0 < weight < math.inf for weight in weights) else ()


def sweep_text(points: Sequence[Recipe]) -> str:
    """Return a sweep's changes to the defaults: ``lr=[0.001,0.01],epochs=2``, or ``default``."""
    changed = []
    for item in fields(Recipe):
        values = list(dict.fromkeys(getattr(point, item.name) for point in points))
        if len(values) > 1:
            changed.append(f"{item.name}=[{','.join(map(str, values))}]")
        elif values != [item.default]:
            changed.append(f"{item.name}={values[0]}")
    return ",".join(changed) or "default"


def _count(given: Mapping[str, Any]) -> int:
    return math.prod(len(value) for value in given.values() if isinstance(value, (list, tuple)))


def _points(given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    each = [value if isinstance(value, (list, tuple)) else [value] for value in given.values()]
    return (dict(zip(given, point, strict=True)) for point in product(*each))
