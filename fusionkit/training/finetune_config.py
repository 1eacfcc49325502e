"""What a fine-tuning is: raw config values checked, all mistakes at once, and frozen."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fusionkit.config.recipe import BelowOne, Recipe
from fusionkit.config.section import Section
from fusionkit.config.splits import split_problems
from fusionkit.config.views import RegionSet, View, arrange, parse_region_set, regions_of
from fusionkit.contracts.extractor import Extractor
from fusionkit.contracts.option_types import Count, Natural, NonNegative, Positive, Probability, Range
from fusionkit.errors import ConfigError, FusionKitError
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS, SMOOTHERS, ComponentRegistry, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import digest
from fusionkit.training.encoder import is_trained_here
from fusionkit.training.pretrain_config import load_code
from fusionkit.training.schedule import LearningRate, Schedule, StepDecay

_BLOCK = re.compile(r"block:(\d+)")
POSITIONS = "alone, input, block:K, pooled or logits"
COMBINES = ("average", "concat")
UpToOne = Annotated[float, Range(above=0, most=1)]


@dataclass(frozen=True)
class FusionShape:
    """A position and an operator.

    Attributes:
        position: ``alone`` is the main view by itself; ``input`` the images, ``block`` the features after the first
            ``block`` blocks, ``pooled`` the pooled features, ``logits`` the logits.
        block: for the position ``block``; else 0.
        combine: ``average``, or ``concat``: side by side, then projected back to the width of one. Without meaning
            for ``alone``.

    Reference:
        Truong et al., Delving into Ipsilateral Mammogram Assessment under Multi-View Network, arXiv:2309.02197: five
        positions (Pre, Early, Middle, Last, Post), two operators, a network in coarse layers a view and fine layers
        after fusion. Which block each position stands for is not published in a form that we have read: ours are
        numbered.
    """

    position: Literal["alone", "input", "block", "pooled", "logits"]
    block: int = 0
    combine: Literal["average", "concat"] = "average"

    @classmethod
    def parse(cls, position: object, combine: object) -> FusionShape:
        """Read a position and an operator.

        Raises:
            ConfigError: if either is none.
        """
        if combine not in COMBINES:
            raise ConfigError(f"combine = {combine!r} is none of {', '.join(COMBINES)}")
        operator: Literal["average", "concat"] = "concat" if combine == "concat" else "average"
        if position == "alone":
            return cls("alone")
        if position == "input" or position == "pooled" or position == "logits":
            return cls(position, combine=operator)
        found = _BLOCK.fullmatch(position) if isinstance(position, str) else None
        if found is None:
            raise ConfigError(f"position = {position!r} is none of {POSITIONS}")
        return cls("block", int(found[1]), operator)

    @property
    def at(self) -> str:
        """The position as it is written."""
        return f"block:{self.block}" if self.position == "block" else self.position

    @property
    def spec(self) -> Spec:
        """How it is called where a bench would name its fusion."""
        if self.position == "alone":
            return Spec("finetuned")
        return Spec("joint", {"position": self.at, "combine": self.combine})

    @property
    def folder(self) -> str:
        """The name of a folder."""
        return "alone" if self.position == "alone" else f"{self.at.replace(':', '')}-{self.combine}"


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

    accumulation: Count = 1
    save_every: Count = 500
    workers: Count = 2
    cache_mb: Natural = 512
    curves: Natural = 8


T = TypeVar("T")

SECTIONS: dict[str, type[Section]] = {"recipe": FinetuneRecipe, "run": FinetuneRunSection}
KEYS = (
    *("dataset", "split", "limit", "extractor", "view", "auxiliary", "backbone", "init", "fusion"),
    *(*SECTIONS, "smoothers", "seeds", "plugins", "custom_imports"),
)
_FUSION_KEYS = ("position", "combine")
_OF_THE_FILE = ("model", "size", "seed")  # options of a backbone that a file of our own decides


@dataclass(frozen=True)
class FinetuneConfig:
    """A checked fine-tuning: one network a shape, seed and fold.

    Attributes:
        view: the main view.
        auxiliary: views beside it; empty for one view.
        backbone: where training begins.
        shapes: where the auxiliary views enter.
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
        """The views that a shape takes, main view first, as the views of a bench are named and ordered."""
        return arrange(self.view, () if shape.position == "alone" else self.auxiliary)

    def describe(self) -> dict[str, Any]:
        """What decides the results, as plain data: all but the ``run`` section."""
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
        """Hash of the description (16 hex digits)."""
        return digest(self.describe())


def resolve_finetune(raw: Mapping[str, Any], name: str) -> FinetuneConfig:
    """Check raw config values and freeze them.

    Args:
        raw: the keys of :data:`KEYS`.
        name: what to call the fine-tuning.

    Raises:
        ConfigError: with every problem that was found; nothing has run.
    """
    return _Resolver(raw).resolve(name)


class _Resolver:
    """Reads one key at a time and keeps every complaint."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.problems = [
            f"unknown key {key!r}{did_you_mean(key, KEYS)}; known: {', '.join(KEYS)}" for key in raw if key not in KEYS
        ]

    def resolve(self, name: str) -> FinetuneConfig:
        self.problems += load_code(self.raw)
        sections = {key: self.raw.get(key) or {} for key in SECTIONS}
        wrong = [f"{key}: {line}" for key, cls in SECTIONS.items() for line in cls.problems(sections[key])]
        self.problems += wrong
        view = self._made("view", self.raw.get("view", "face"), View.parse)
        auxiliary = self._made("auxiliary", self.raw["auxiliary"], parse_region_set) if self._has_auxiliary else ()
        found: dict[str, Any] = {
            "dataset": self._component("dataset", DATASETS),
            "split": self._split(),
            "limit": self._limit(),
            "extractor": self._component("extractor", EXTRACTORS, "template:layout=emotic"),
            "view": view,
            "auxiliary": auxiliary,
            "backbone": self._backbone(),
            "shapes": self._shapes(),
            "smoothers": self._smoothers(),
            "seeds": self._seeds(),
        }
        if view and auxiliary is not None and found["extractor"]:
            self._check_views(found["extractor"], view, auxiliary)
        if self.problems:
            raise ConfigError(self.problems)
        recipe = FinetuneRecipe.of(sections["recipe"])
        return FinetuneConfig(name=name, recipe=recipe, run=FinetuneRunSection.of(sections["run"]), **found)

    @property
    def _has_auxiliary(self) -> bool:
        return self.raw.get("auxiliary") not in (None, "none", [], ())

    def _made(self, key: str, value: Any, make: Callable[[Any], T]) -> T | None:
        """What ``make`` gives; None where it refuses, which is then a problem."""
        try:
            return make(value)
        except FusionKitError as error:
            several = error.problems if isinstance(error, ConfigError) and len(error.problems) > 1 else [str(error)]
            self.problems += [f"{key}: {line}" for line in several]
        return None

    def _component(self, key: str, registry: ComponentRegistry, default: Any = None) -> Spec | None:
        value = self.raw.get(key, default)
        if value is None:
            self.problems.append(f"{key}: nothing is named")
            return None
        return next(iter(self._each(key, registry, value)), None)

    def _each(self, key: str, registry: ComponentRegistry, values: Any) -> list[Spec]:
        specs = [self._made(key, value, Spec.of) for value in _listed(values)]
        found = [spec for spec in specs if spec is not None]
        wrong = [f"{key}: {line}" for spec in found for line in registry.problems(spec)]
        self.problems += wrong
        return [] if wrong else found

    def _smoothers(self) -> tuple[Spec, ...]:
        found = self._each("smoothers", SMOOTHERS, self.raw.get("smoothers", "none"))
        self.problems += [
            f"smoothers: {spec} needs stored embeddings, and a network that is fine-tuned leaves none"
            for spec in found
            if SMOOTHERS.get(spec.name).needs == "embeddings"
        ]
        return tuple(found)

    def _split(self) -> Spec | None:
        spec = self._made("split", self.raw.get("split", "auto"), Spec.of)
        self.problems += split_problems(spec) if spec else []
        return spec

    def _backbone(self) -> Spec | None:
        """The backbone, with ``init`` as its checkpoint."""
        spec = self._component("backbone", BACKBONES, "timm" if self.raw.get("init") else None)
        file = self.raw.get("init")
        if spec is None or not file:
            return spec
        if not Path(str(file)).is_file():
            self.problems.append(f"init: {file} is not a file")
            return None
        decided = _OF_THE_FILE if is_trained_here(Path(str(file))) else ()
        kept = {key: value for key, value in spec.options.items() if key not in (*decided, "pretrained")}
        begun = Spec(spec.name, {**kept, "checkpoint": str(file)})
        self.problems += [f"init: {line}" for line in BACKBONES.problems(begun)]
        return begun

    def _shapes(self) -> tuple[FusionShape, ...]:
        given = self.raw.get("fusion") or {}
        if not isinstance(given, Mapping):
            self.problems.append(f"fusion: {given!r} is not a mapping of options")
            return ()
        for key in given:
            if key not in _FUSION_KEYS:
                self.problems.append(f"fusion: unknown option {key!r}{did_you_mean(key, _FUSION_KEYS)}")
        positions = _split_up(given.get("position", "pooled" if self._has_auxiliary else "alone"))
        combines = _split_up(given.get("combine", "average"))
        shapes = [
            self._made("fusion", position, lambda at, how=combine: FusionShape.parse(at, how))  # type: ignore[misc]
            for position in positions
            for combine in combines
        ]
        found = tuple(dict.fromkeys(shape for shape in shapes if shape is not None))
        joint = [shape for shape in found if shape.position != "alone"]
        if joint and not self._has_auxiliary:
            self.problems.append(f"fusion: position = {joint[0].at} joins views, and no auxiliary view is named")
        if found and not joint and self._has_auxiliary:
            self.problems.append("auxiliary: position = alone takes none")
        if not shapes:
            self.problems.append("fusion: no position is named")
        return found

    def _seeds(self) -> tuple[int, ...]:
        value = self.raw.get("seeds", 1)
        seeds = range(value) if type(value) is int else value
        good = isinstance(seeds, (range, list, tuple)) and len(seeds) > 0
        if not good or not all(type(seed) is int and seed >= 0 for seed in seeds):
            self.problems.append(f"seeds: {value!r} is not a number of seeds above 0, or a list of them")
            return ()
        return tuple(dict.fromkeys(seeds))

    def _limit(self) -> int | None:
        value = self.raw.get("limit")
        if value is None or (type(value) is int and value >= 1):
            return value
        self.problems.append(f"limit: {value!r} is not a number of frames above 0")
        return None

    def _check_views(self, extractor: Spec, view: View, auxiliary: RegionSet) -> None:
        """Every region is offered by the extractor; it is not built where the views need none."""
        needed = regions_of([view, *auxiliary])
        if needed and not EXTRACTORS.problems(extractor):
            built: Extractor | None = self._made("extractor", extractor, EXTRACTORS.build)
            offered = built.regions if built else tuple(needed)
            self.problems += [
                f"view: extractor {extractor} has no region {region!r}{did_you_mean(region, offered)}; "
                f"it has {', '.join(offered)}"
                for region in sorted(needed - set(offered))
            ]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _split_up(value: Any) -> list[Any]:
    """A list, also as ``a,b``: the command line's way to write it."""
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else _listed(value)
