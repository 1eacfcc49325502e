"""Config of a fine-tuning: raw values are checked, all problems are reported at once, and the result is frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from fusionkit.config.recipe import BelowOne, Recipe
from fusionkit.config.resolver import Resolver, listed
from fusionkit.config.section import Section
from fusionkit.config.views import RegionSet, View, arrange, parse_region_set, regions_of
from fusionkit.contracts.option_types import Count, Natural, NonNegative, Positive, Probability, Range
from fusionkit.errors import ConfigError
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS, SMOOTHERS, ComponentRegistry, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import digest
from fusionkit.training.encoder import is_trained_here
from fusionkit.training.processes import RunSection
from fusionkit.training.schedule import Schedule, StepDecay, WarmupCosine

_BLOCK = re.compile(r"block:(\d+)")
POSITIONS = "alone, input, block:K, pooled, logits"
COMBINES = ("average", "concat")
UpToOne = Annotated[float, Range(above=0, most=1)]


@dataclass(frozen=True)
class FusionShape:
    """Where and how views are joined.

    Attributes:
        position: ``alone``: the main view only; ``input``: the images; ``block``: the features after the first
            ``block`` blocks; ``pooled``: the pooled features; ``logits``: the logits.
        block: of the position ``block``; else 0.
        combine: ``average``; or ``concat``: concatenation, then projection to the width of one view. No effect for
            ``alone``.

    Reference:
        Truong et al., Delving into Ipsilateral Mammogram Assessment under Multi-View Network, arXiv:2309.02197: five
        positions (Pre, Early, Middle, Last, Post), two operators, coarse layers for each view and fine layers after
        fusion. We found no published mapping of positions to blocks; ours are numbered.
    """

    position: Literal["alone", "input", "block", "pooled", "logits"]
    block: int = 0
    combine: Literal["average", "concat"] = "average"

    @classmethod
    def parse(cls, position: object, combine: object) -> FusionShape:
        """Parse a position and an operator.

        Raises:
            ConfigError: if either is unknown.
        """
        if combine not in COMBINES:
            near = did_you_mean(combine, COMBINES)
            raise ConfigError(f"combine = {combine!r} must be one of: {', '.join(COMBINES)}{near}")
        operator: Literal["average", "concat"] = "concat" if combine == "concat" else "average"
        if position == "alone":
            return cls("alone")
        if position == "input" or position == "pooled" or position == "logits":
            return cls(position, combine=operator)
        found = _BLOCK.fullmatch(position) if isinstance(position, str) else None
        if found is None:
            raise ConfigError(f"position = {position!r} must be one of: {POSITIONS}")
        return cls("block", int(found[1]), operator)

    @property
    def at(self) -> str:
        """The position as text: ``block:2``."""
        return f"block:{self.block}" if self.position == "block" else self.position

    @property
    def spec(self) -> Spec:
        """Name and options in place of a bench's fusion."""
        if self.position == "alone":
            return Spec("finetuned")
        return Spec("joint", {"position": self.at, "combine": self.combine})

    @property
    def folder(self) -> str:
        """Name of the folder."""
        return "alone" if self.position == "alone" else f"{self.at.replace(':', '')}-{self.combine}"


_LOSS = ("class_weights", "loss", "focal_gamma", "label_smoothing", "logit_adjustment")


@dataclass(frozen=True)
class NetworkRecipe(Recipe):
    """The recipe of a network, for reports.

    Attributes:
        text: its name.
    """

    text: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class FinetuneRecipe(Section):
    """Training recipe (optimiser, epochs, loss) of a network with its classifier.

    Args:
        epochs: passes over the training frames.
        batch_size: frames per step, over all processes and micro-batches.
        optimizer: ``adamw`` or ``adam``.
        lr: peak learning rate.
        weight_decay: decoupled for ``adamw``; not applied to biases, norms and other vectors.
        layer_decay: factor from the learning rate of each layer to that of the layer before it; 1: one rate for all.
        schedule: ``cosine`` after a linear warm-up, or ``step``.
        warmup_epochs: of ``cosine``, fewer than ``epochs``.
        min_lr: learning rate at the end of ``cosine``.
        step_at: share of the epochs between two reductions of ``step``, rounded down to whole epochs.
        step_factor: factor of each reduction.
        class_weights: ``balanced`` weights classes by inverse frequency; ``none`` does not.
        loss: ``cross-entropy`` or ``focal``.
        focal_gamma: exponent of the focal loss.
        label_smoothing: share of the target that is spread over all classes.
        logit_adjustment: tau: the training loss is computed on logits + tau * log class share.
        drop_path: probability of dropping the last residual branch for a sample; lower for earlier ones.
        crop: minimum share of a view's area that a random crop keeps.
        flip: probability of mirroring.
        clip: maximum norm of the gradient; 0: no limit.
        select: dev metric that selects the epoch: ``macro-f1`` or ``accuracy``.
        precision: ``bfloat16``, ``float32``, or ``auto``: bfloat16 on cards with native bfloat16.

    Reference:
        Layer-wise decay: Clark et al., ELECTRA, ICLR 2020. Drop path: Huang et al., Deep Networks with Stochastic
        Depth, ECCV 2016. Losses: as :class:`fusionkit.config.recipe.Recipe`.
    """

    epochs: Count = 20
    batch_size: Count = 64
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: Positive = 5e-4
    weight_decay: NonNegative = 0.05
    layer_decay: UpToOne = 0.75
    schedule: Literal["cosine", "step"] = "cosine"
    warmup_epochs: Natural = 2
    min_lr: NonNegative = 0.0
    step_at: UpToOne = 0.8
    step_factor: NonNegative = 0.1
    class_weights: Literal["balanced", "none"] = "balanced"
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_gamma: NonNegative = 2.0
    label_smoothing: BelowOne = 0.0
    logit_adjustment: NonNegative = 0.0
    drop_path: BelowOne = 0.1
    crop: UpToOne = 0.8
    flip: Probability = 0.5
    clip: NonNegative = 0.0
    select: Literal["macro-f1", "accuracy"] = "macro-f1"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def clashes(self) -> list[str]:
        """List options that do not go together."""
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
        if self.min_lr > self.lr:
            found.append(f"option min_lr = {self.min_lr!r} must not exceed lr = {self.lr!r}")
        return found

    def schedule_of(self, steps_per_epoch: int) -> Schedule:
        """Return the learning rate of each step."""
        if self.schedule == "step":
            return StepDecay(self.lr, int(self.step_at * self.epochs) * steps_per_epoch, self.step_factor)
        return WarmupCosine(self.lr, self.epochs * steps_per_epoch, self.warmup_epochs * steps_per_epoch, self.min_lr)

    def as_recipe(self) -> NetworkRecipe:
        """Return the options that a recipe of heads has, too, under the name of the whole recipe."""
        shared = ("optimizer", "lr", "weight_decay", "batch_size", "epochs", *_LOSS)
        values = {name: getattr(self, name) for name in shared}
        return NetworkRecipe(standardize=False, patience=0, text=str(self), **values)

    def __str__(self) -> str:
        """Return the options that differ from the defaults; ``default`` if none does."""
        defaults = FinetuneRecipe().describe()
        changed = [f"{name}={value}" for name, value in self.describe().items() if value != defaults[name]]
        return ",".join(changed) or "default"


@dataclass(frozen=True)
class FinetuneRunSection(RunSection):
    """Execution options, see the base class; ``cache_mb`` is for train and dev each, and keeps region boxes, too.

    Args:
        curves: about how often the curve is drawn in a run; 0: never.
    """

    curves: Natural = 8


_FUSION_KEYS = ("position", "combine")
_OF_THE_FILE = ("model", "size", "seed")  # backbone options that a weights file of fusionkit decides


@dataclass(frozen=True)
class FinetuneConfig:
    """A checked fine-tuning: one network per shape, seed and fold.

    Attributes:
        view: the main view.
        auxiliary: the other views; empty for one view.
        backbone: the initial network.
        shapes: where the auxiliary views join.
        smoothers: of the predictions, for the table.
    """

    name: str
    dataset: Spec
    split: Spec
    limit: int | None
    extractor: Spec
    view: View
    auxiliary: RegionSet
    backbone: Spec
    shapes: tuple[FusionShape, ...]
    recipe: FinetuneRecipe
    run: FinetuneRunSection
    smoothers: tuple[Spec, ...]
    seeds: tuple[int, ...]

    def views(self, shape: FusionShape) -> dict[str, View]:
        """Return the views of a shape, main view first, named and ordered like those of a bench."""
        return arrange(self.view, () if shape.position == "alone" else self.auxiliary)

    def describe(self) -> dict[str, Any]:
        """Return what decides the results, as plain data: everything except the ``run`` section."""
        return {
            "dataset": str(self.dataset),
            "split": str(self.split),
            "limit": self.limit,
            "extractor": str(self.extractor),
            "view": str(self.view),
            "auxiliary": sorted(map(str, self.auxiliary)),
            "backbone": str(self.backbone),
            "fusion": [str(shape.spec) for shape in self.shapes],
            "recipe": self.recipe.describe(),
            "smoothers": [str(spec) for spec in self.smoothers],
            "seeds": list(self.seeds),
        }

    def digest(self) -> str:
        """Return the hash of the description (16 hex digits)."""
        return digest(self.describe())


def resolve_finetune(raw: Mapping[str, Any], name: str) -> FinetuneConfig:
    """Check raw config values and freeze them.

    Args:
        raw: keys of a fine-tuning config.
        name: name of the fine-tuning.

    Raises:
        ConfigError: with every problem; nothing has run.
    """
    return _FinetuneResolver(raw, "finetune").resolve(name)


class _FinetuneResolver(Resolver):
    def resolve(self, name: str) -> FinetuneConfig:
        view = self.make("view", self.raw["view"], View.parse)
        auxiliary = self.make("auxiliary", self.raw["auxiliary"], parse_region_set) if self._has_auxiliary else ()
        found: dict[str, Any] = {
            "dataset": self._component("dataset", DATASETS),
            "split": self.split(),
            "limit": self.option("limit", Count | None),
            "extractor": self._component("extractor", EXTRACTORS),
            "view": view,
            "auxiliary": auxiliary,
            "backbone": self._backbone(),
            "shapes": self._shapes(),
            "recipe": self.section("recipe", FinetuneRecipe),
            "run": self.section("run", FinetuneRunSection),
            "smoothers": self._smoothers(),
            "seeds": self.seeds(),
        }
        needed = regions_of([*([view] if view else []), *(auxiliary or ())])
        if needed and found["extractor"]:
            self.check_regions("view", found["extractor"], needed)
        self.raise_problems()
        return FinetuneConfig(name=name, **found)

    @property
    def _has_auxiliary(self) -> bool:
        return self.raw["auxiliary"] not in (None, "none", [], ())

    def _component(self, key: str, registry: ComponentRegistry) -> Spec | None:
        found = self.components(key, registry)
        if len(found) > 1:
            self.add(key, [f"{', '.join(map(str, found))}: a fine-tuning has one {registry.kind}"])
        return found[0] if found else None

    def _smoothers(self) -> tuple[Spec, ...]:
        found = self.components("smoothers", SMOOTHERS)
        self.add(
            "smoothers",
            (
                f"{spec} needs stored embeddings, which fine-tuning does not store"
                for spec in found
                if SMOOTHERS.get(spec.name).reads_embeddings()
            ),
        )
        return found

    def _backbone(self) -> Spec | None:
        """Return the backbone, with ``init`` as its checkpoint."""
        file = self.raw["init"]
        if file and self.raw["backbone"] is None:
            self.raw["backbone"] = "timm"
        spec = self._component("backbone", BACKBONES)
        if spec is None or not file:
            return spec
        if not Path(str(file)).is_file():
            self.add("init", [f"{file} is not a file"])
            return None
        dropped = ("pretrained", *(_OF_THE_FILE if is_trained_here(Path(str(file))) else ()))
        kept = {key: value for key, value in spec.options.items() if key not in dropped}
        initialised = Spec(spec.name, {**kept, "checkpoint": str(file)})
        self.check_component("init", BACKBONES, initialised)
        return initialised

    def _shapes(self) -> tuple[FusionShape, ...]:
        given = self.raw["fusion"]
        if not isinstance(given, Mapping):
            self.add("fusion", [f"{given!r} is not a mapping of options"])
            return ()
        self.add(
            "fusion",
            (f"unknown option {key!r}{did_you_mean(key, _FUSION_KEYS)}" for key in given if key not in _FUSION_KEYS),
        )
        positions = _split_up(given.get("position", "pooled" if self._has_auxiliary else "alone"))
        combines = _split_up(given.get("combine", "average"))
        if not positions or not combines:
            self.add("fusion", ["no position given"])
        found = self.make_each("fusion", product(positions, combines), lambda pair: FusionShape.parse(*pair))
        joint = [shape for shape in found if shape.position != "alone"]
        if joint and not self._has_auxiliary:
            self.add("fusion", [f"position = {joint[0].at} needs an auxiliary view, and none is given"])
        if found and not joint and self._has_auxiliary:
            self.add("auxiliary", ["position = alone takes none"])
        return found


def _split_up(value: Any) -> list[Any]:
    """Return a list, also from ``a,b``, as the command line writes it."""
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else listed(value)
