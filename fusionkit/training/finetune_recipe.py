"""How a network is fine-tuned: the recipe, and how a run is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from fusionkit.recipe import Recipe
from fusionkit.training.schedule import LearningRate, Schedule
from fusionkit.training.section import Section
from fusionkit.training.step_decay import StepDecay

_LOSS = ("class_weights", "loss", "focal_gamma", "label_smoothing", "logit_adjustment")


@dataclass(frozen=True)
class NetworkRecipe(Recipe):
    """What a report knows of the recipe of a network.

    Attributes:
        text: how it is called.
    """

    text: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class FinetuneRecipe(Section):
    """How a network with its classifier is trained.

    Args:
        epochs: passes over the training frames.
        batch_size: frames a step, over all processes and micro-batches.
        optimizer: ``adamw`` or ``adam``.
        lr: the peak learning rate.
        weight_decay: decoupled for ``adamw``; biases, norms and other vectors have none.
        layer_decay: each layer learns at this times the rate of the layer after it; 1 is one rate for all.
        schedule: ``cosine`` after a linear warm-up, or ``step``.
        warmup_epochs: of ``cosine``, fewer than ``epochs``.
        min_lr: what ``cosine`` falls to.
        step_at: share of the epochs after which ``step`` falls, rounded down to whole epochs, and again after as many.
        step_factor: what each fall multiplies the rate by.
        class_weights: ``balanced`` weighs classes by inverse frequency, ``none`` does not.
        loss: ``cross-entropy`` or ``focal``.
        focal_gamma: exponent of the focal loss.
        label_smoothing: share of the target that is spread over all classes.
        logit_adjustment: tau: the training loss sees logits + tau * log class share.
        drop_path: share of samples for which the deepest residual branch is left out; less for those before it.
        crop: least share of a view's area that a random crop keeps.
        flip: probability of mirroring.
        clip: greatest norm of the gradient; 0 for no limit.
        select: what the kept epoch is best at on dev: ``macro-f1`` or ``accuracy``.
        precision: ``bfloat16``, ``float32``, or ``auto``: bfloat16 on graphics cards that compute in it.

    Reference:
        Layer-wise decay: Clark et al., ELECTRA, ICLR 2020. Drop path: Huang et al., Deep Networks with Stochastic
        Depth, ECCV 2016. Losses: as :class:`fusionkit.recipe.Recipe`.
    """

    above_zero: ClassVar[tuple[str, ...]] = ("epochs", "batch_size", "lr", "layer_decay", "step_at", "crop")

    epochs: int = 20
    batch_size: int = 64
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: float = 5e-4
    weight_decay: float = 0.05
    layer_decay: float = 0.75
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: int = 2
    min_lr: float = 0.0
    step_at: float = 0.8
    step_factor: float = 0.1
    class_weights: Literal["balanced", "none"] = "balanced"
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    logit_adjustment: float = 0.0
    drop_path: float = 0.1
    crop: float = 0.8
    flip: float = 0.5
    clip: float = 0.0
    select: Literal["macro-f1", "accuracy"] = "macro-f1"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def clashes(self) -> list[str]:
        """Ranges of options, alone and together."""
        found = Recipe.problems({name: getattr(self, name) for name in _LOSS})
        if self.schedule == "cosine" and self.warmup_epochs >= self.epochs:
            found.append(f"option warmup_epochs = {self.warmup_epochs} must be below epochs = {self.epochs}")
        if self.schedule == "step" and self.warmup_epochs:
            found.append(
                f"option warmup_epochs = {self.warmup_epochs} has no effect with schedule = 'step' "
                "(write warmup_epochs=0)"
            )
        if self.schedule == "step" and int(self.step_at * self.epochs) < 1:
            found.append(f"option step_at = {self.step_at!r} of epochs = {self.epochs} is less than one epoch")
        for name in ("layer_decay", "step_at", "crop", "flip"):
            if getattr(self, name) > 1:
                found.append(f"option {name} = {getattr(self, name)!r} must be at most 1")
        if self.drop_path >= 1:
            found.append(f"option drop_path = {self.drop_path!r} must be below 1")
        if self.min_lr > self.lr:
            found.append(f"option min_lr = {self.min_lr!r} must not exceed lr = {self.lr!r}")
        return found

    def rates(self, steps_per_epoch: int) -> LearningRate:
        """The learning rate of each step."""
        if self.schedule == "step":
            return StepDecay(self.lr, int(self.step_at * self.epochs) * steps_per_epoch, self.step_factor)
        return Schedule(self.lr, self.epochs * steps_per_epoch, self.warmup_epochs * steps_per_epoch, self.min_lr)

    def as_recipe(self) -> NetworkRecipe:
        """The part of it that a recipe of heads has too, under the name of the whole."""
        shared = ("optimizer", "lr", "weight_decay", "batch_size", "epochs", *_LOSS)
        values = {name: getattr(self, name) for name in shared}
        return NetworkRecipe(standardize=False, patience=0, text=str(self), **values)

    def __str__(self) -> str:
        """What it changes in the defaults; ``default`` for nothing."""
        defaults = FinetuneRecipe().describe()
        changed = [f"{name}={value}" for name, value in self.describe().items() if value != defaults[name]]
        return ",".join(changed) or "default"


@dataclass(frozen=True)
class FinetuneRunSection(Section):
    """How a run is carried out: nothing here changes what is learned, apart from rounding.

    Args:
        accumulation: micro-batches a step: more of them need less memory.
        save_every: steps between checkpoints; one is also written after each epoch.
        workers: threads that read and crop images, in each process.
        cache_mb: megabytes in which each process keeps frames decoded, those of train and of dev each; with 0 none are
            kept, and regions are looked for anew in every epoch.
        curves: the curve is drawn about so many times in a run; 0 for never.
    """

    above_zero: ClassVar[tuple[str, ...]] = ("accumulation", "save_every", "workers")

    accumulation: int = 1
    save_every: int = 500
    workers: int = 2
    cache_mb: int = 512
    curves: int = 8
