"""What a fine-tuning is: raw config values checked, all mistakes at once, and frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fusionkit.contracts.extractor import Extractor
from fusionkit.errors import ConfigError, FusionKitError
from fusionkit.identity import digest
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS, SMOOTHERS, ComponentRegistry, did_you_mean
from fusionkit.spec import Spec
from fusionkit.splits import split_problems
from fusionkit.training.encoder import is_trained_here
from fusionkit.training.finetune_recipe import FinetuneRecipe, FinetuneRunSection
from fusionkit.training.fusion_shape import FusionShape
from fusionkit.training.pretrain_config import load_code
from fusionkit.training.section import Section
from fusionkit.views import RegionSet, View, arrange, parse_region_set, regions_of

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
