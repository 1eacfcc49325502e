"""A grid's description: raw config values checked, all mistakes at once, and frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fusionkit.config.recipe import Recipe
from fusionkit.config.splits import split_problems
from fusionkit.config.views import RegionSet, View, parse_region_set, regions_of, subsets
from fusionkit.contracts.dataset import FaceDataset
from fusionkit.errors import ConfigError, FusionKitError
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS, FUSIONS, SMOOTHERS, ComponentRegistry, did_you_mean
from fusionkit.registry.options import automatic
from fusionkit.registry.plugin_file import load_module, load_plugin_file
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import digest

T = TypeVar("T")

KEYS = (
    "datasets",
    "split",
    "extractor",
    "backbones",
    "main",
    "regions",
    "subsets",
    "fusions",
    "smoothers",
    "recipe",
    "seeds",
    "reference",
    "limit",
    "impute",
    "plugins",
    "custom_imports",
)
IMPUTE = ("nearest", "linear", "prior")  # what a frame without any view is given; as engine/impute.py has them


@dataclass(frozen=True)
class BackboneChoice:
    """A backbone for every view, or one per view with a default.

    Attributes:
        default: for views that have none of their own; None where every view must have one.
        per_view: view (as written) to backbone.
    """

    default: Spec | None
    per_view: tuple[tuple[str, Spec], ...] = ()

    def of(self, view: View) -> Spec:
        """The backbone of one view.

        Raises:
            ConfigError: if the view has none.
        """
        chosen = dict(self.per_view).get(str(view), self.default)
        if chosen is None:
            raise ConfigError(f"no backbone for view {str(view)!r}", hint="name one, or a default")
        return chosen

    def specs(self) -> list[Spec]:
        """Every backbone that is named."""
        return [*([self.default] if self.default else []), *(spec for _, spec in self.per_view)]

    def __str__(self) -> str:
        parts = [f"{view}={spec}" for view, spec in self.per_view]
        if not parts:
            return str(self.default)
        return "|".join(parts + ([f"default={self.default}"] if self.default else []))


@dataclass(frozen=True)
class GridConfig:
    """A checked grid: every axis with its points, in the order in which they were given.

    Attributes:
        recipe: option and value; a tuple of values is a sweep, of which each row takes the point best on dev.
        reference: the row that ``delta`` is taken to: None, ``main`` (the main view alone with a linear head) or a
            region set, which then stands with the first fusion.
        impute: what a frame without any view is given; one of :data:`IMPUTE`.
        plugins: Python files that register components; every process loads them.
        modules: importable modules that do.
    """

    name: str
    datasets: tuple[Spec, ...]
    split: Spec
    extractors: tuple[Spec, ...]
    backbones: tuple[BackboneChoice, ...]
    main: View | None
    regions: tuple[RegionSet, ...]
    fusions: tuple[Spec, ...]
    smoothers: tuple[Spec, ...]
    recipe: tuple[tuple[str, Any], ...]
    seeds: tuple[int, ...]
    reference: str | RegionSet | None
    limit: int | None
    impute: str = IMPUTE[0]
    plugins: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """The grid as plain data, as a JSON or YAML config would state it (code to import apart)."""
        reference = self.reference
        return {
            "datasets": [str(spec) for spec in self.datasets],
            "split": str(self.split),
            "extractor": [str(spec) for spec in self.extractors],
            "backbones": [_backbone_value(choice) for choice in self.backbones],
            "main": str(self.main) if self.main else "none",
            "regions": [region_text(views) for views in self.regions],
            "fusions": [str(spec) for spec in self.fusions],
            "smoothers": [str(spec) for spec in self.smoothers],
            "recipe": {name: list(value) if isinstance(value, tuple) else value for name, value in self.recipe},
            "seeds": list(self.seeds),
            "reference": region_text(reference) if isinstance(reference, tuple) else reference or "none",
            "limit": self.limit,
            **({} if self.impute == IMPUTE[0] else {"impute": self.impute}),
        }

    def digest(self) -> str:
        """Hash of the description (16 hex digits)."""
        return digest(self.describe())


def region_text(views: RegionSet) -> str:
    """A region set as it is written: ``eye,mouth``."""
    return ",".join(map(str, views))


def _backbone_value(choice: BackboneChoice) -> Any:
    if not choice.per_view:
        return str(choice.default)
    named = {view: str(spec) for view, spec in choice.per_view}
    return {**named, "default": str(choice.default)} if choice.default else named


def resolve(raw: Mapping[str, Any], name: str) -> GridConfig:
    """Check raw config values and freeze them.

    Args:
        raw: the keys of :data:`KEYS`, as read from a file and overridden by the command line.
        name: what to call the grid.

    Raises:
        ConfigError: with every problem that was found; nothing has run.
    """
    return _Resolver(raw).resolve(name)


class _Resolver:
    """Reads one key at a time and keeps every complaint."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.problems: list[str] = []

    def resolve(self, name: str) -> GridConfig:
        for key in self.raw:
            if key not in KEYS:
                self.problems.append(f"unknown key {key!r}{did_you_mean(key, KEYS)}; known: {', '.join(KEYS)}")
        plugins, modules = self._code()
        regions = self._regions()
        grid = GridConfig(
            name=name,
            datasets=self._specs("datasets", DATASETS),
            split=self._split(),
            extractors=self._specs("extractor", EXTRACTORS),
            backbones=self._backbones(),
            main=self._main(),
            regions=regions,
            fusions=self._fusions(),
            smoothers=self._smoothers(),
            recipe=self._recipe(),
            seeds=self._seeds(),
            reference=self._reference(regions),
            limit=self._limit(),
            impute=self._impute(),
            plugins=plugins,
            modules=modules,
        )
        self._check_views(grid)
        if self.problems:
            raise ConfigError(self.problems)
        return grid

    def _each(self, key: str, values: Iterable[Any], make: Callable[[Any], T]) -> list[T]:
        """What ``make`` gives for each value; a value that it refuses is a problem and is left out."""
        made: list[T] = []
        for value in values:
            try:
                made.append(make(value))
            except ConfigError as error:
                lines = error.problems if len(error.problems) > 1 else [str(error)]
                self.problems += [f"{key}: {line}" for line in lines]
        return made

    def _one(self, key: str, value: Any, make: Callable[[Any], T]) -> T | None:
        return next(iter(self._each(key, [value], make)), None)

    def _code(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Import plugin files and modules: their components must be known before names are checked."""
        files = tuple(_listed(self.raw.get("plugins")))
        imports = self.raw.get("custom_imports")
        if isinstance(imports, Mapping) and "imports" not in imports:
            self.problems.append(f"custom_imports: {dict(imports)!r} has no 'imports', the list of modules")
        modules = tuple(_listed(imports.get("imports") if isinstance(imports, Mapping) else imports))
        for load, items in ((load_plugin_file, files), (load_module, modules)):
            for item in items:
                try:
                    load(str(item))
                except FusionKitError as error:
                    self.problems.append(str(error))
        return tuple(map(str, files)), tuple(map(str, modules))

    def _specs(self, key: str, registry: ComponentRegistry) -> tuple[Spec, ...]:
        given = _listed(self.raw.get(key))
        if not given:
            self.problems.append(f"{key}: nothing is named")
        return _unique(self._each(key, given, lambda value: self._checked(key, value, registry)))

    def _checked(self, key: str, value: object, registry: ComponentRegistry) -> Spec:
        spec = Spec.of(value)
        self.problems += [f"{key}: {problem}" for problem in registry.problems(spec)]
        return spec

    def _fusions(self) -> tuple[Spec, ...]:
        specs = self._specs("fusions", FUSIONS)
        for spec in specs:
            asked = {} if FUSIONS.problems(spec) else getattr(FUSIONS.get(spec.name), "recipe", {})
            found = Recipe.problems(asked)
            self.problems += [f"fusions: the recipe that fusion {spec.name!r} asks for: {problem}" for problem in found]
        return specs

    def _smoothers(self) -> tuple[Spec, ...]:
        """Smoothers are cheap to build, so that values which they refuse come to light before anything runs."""
        specs = self._specs("smoothers", SMOOTHERS)
        for spec in specs:
            if not SMOOTHERS.problems(spec):
                self._built("smoothers", SMOOTHERS, _settled(spec))
        return specs

    def _built(self, key: str, registry: ComponentRegistry, spec: Spec) -> Any:
        """The component; None where it cannot be built, which is then a problem."""
        try:
            return registry.build(spec)
        except FusionKitError as error:
            self.problems.append(f"{key}: {error}")
            return None

    def _split(self) -> Spec:
        spec = self._one("split", self.raw.get("split", "auto"), Spec.of) or Spec("auto")
        self.problems += split_problems(spec)
        return spec

    def _backbones(self) -> tuple[BackboneChoice, ...]:
        given = _listed(self.raw.get("backbones"))
        if not given:
            self.problems.append("backbones: nothing is named")
        return _unique(self._each("backbones", given, self._backbone))

    def _backbone(self, value: object) -> BackboneChoice:
        if not isinstance(value, Mapping) or "type" in value:
            return BackboneChoice(self._checked("backbones", value, BACKBONES))
        named: dict[str, Spec] = {}
        for written, item in value.items():
            view = "default" if written == "default" else str(View.parse(written))
            if view in named:
                raise ConfigError(f"view {view!r} is given two backbones")
            named[view] = self._checked("backbones", item, BACKBONES)
        default = named.pop("default", None)
        return BackboneChoice(default, tuple(sorted(named.items())))

    def _main(self) -> View | None:
        value = self.raw.get("main", "face")
        return None if value in (None, "none") else self._one("main", value, View.parse)

    def _regions(self) -> tuple[RegionSet, ...]:
        given, players = _listed(self.raw.get("regions")), _listed(self.raw.get("subsets"))
        if not given and not players:
            self.problems.append("regions: no region set is named")
        found = self._each("regions", given, parse_region_set)
        for views in self._each("subsets", players, parse_region_set):
            found += subsets(views)
        return _unique(found)

    def _recipe(self) -> tuple[tuple[str, Any], ...]:
        given = self.raw.get("recipe") or {}
        if not isinstance(given, Mapping):
            self.problems.append(f"recipe: {given!r} is not a mapping of options")
            return ()
        problems = Recipe.problems(given)
        self.problems += [f"recipe: {problem}" for problem in problems]
        if problems:
            return ()
        return tuple(
            (name, tuple(value) if isinstance(value, list) else value) for name, value in sorted(given.items())
        )

    def _seeds(self) -> tuple[int, ...]:
        value = self.raw.get("seeds", 5)
        seeds = range(value) if isinstance(value, int) and not isinstance(value, bool) else value
        good = isinstance(seeds, (range, list, tuple)) and len(seeds) > 0
        if not good or not all(type(seed) is int and seed >= 0 for seed in seeds):
            self.problems.append(f"seeds: {value!r} is not a number of seeds above 0, or a list of them")
            return ()
        return _unique(seeds)

    def _limit(self) -> int | None:
        value = self.raw.get("limit")
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            self.problems.append(f"limit: {value!r} is not a number of frames above 0")
            return None
        return value

    def _impute(self) -> str:
        value = self.raw.get("impute", IMPUTE[0])
        if value not in IMPUTE:
            self.problems.append(f"impute: {value!r} is none of {', '.join(IMPUTE)}{did_you_mean(value, IMPUTE)}")
        return str(value)

    def _reference(self, regions: Sequence[RegionSet]) -> str | RegionSet | None:
        alone = self.raw.get("main", "face") not in (None, "none")
        value = self.raw.get("reference")
        if value == "none":
            return None
        if value is None:
            # Without a main view the first region set is what the others are held against.
            return "main" if alone else next(iter(regions), None)
        if value == "main":
            if not alone:
                self.problems.append("reference: there is no main view to stand alone (main = none)")
            return "main"
        return self._one("reference", value, parse_region_set)

    def _check_views(self, grid: GridConfig) -> None:
        """Every view has its backbone, and every region is offered by every extractor."""
        sets = [*grid.regions, *([grid.reference] if isinstance(grid.reference, tuple) else [])]
        views = {view for region_set in sets for view in region_set} | ({grid.main} if grid.main else set())
        for choice in grid.backbones:
            self._each("backbones", sorted(views, key=str), choice.of)
        known = [spec for spec in grid.datasets if not DATASETS.problems(spec)]
        if known and all(_brings_embeddings(spec) for spec in known):
            return
        # A misspelt view would silently be given no backbone of its own.
        views |= {View.parse(view) for choice in grid.backbones for view, _ in choice.per_view}
        for spec in grid.extractors:
            if not EXTRACTORS.problems(spec):
                self._check_regions(spec, regions_of(views))

    def _check_regions(self, extractor: Spec, needed: set[str]) -> None:
        built = self._built("extractor", EXTRACTORS, extractor)
        if built is None:
            return
        offered = built.regions
        for region in sorted(needed - set(offered)):
            self.problems.append(
                f"regions: extractor {str(extractor)!r} has no region {region!r}"
                f"{did_you_mean(region, [*offered, 'face'])}; it has {', '.join(offered)}"
            )


def _settled(smoother: Spec) -> Spec:
    """The smoother with the mildest candidate for each option that is ``auto``."""
    open_options = automatic(SMOOTHERS.get(smoother.name), smoother.options)
    return Spec(smoother.name, {**smoother.options, **{name: values[0] for name, values in open_options.items()}})


def _brings_embeddings(spec: Spec) -> bool:
    cls = DATASETS.get(spec.name)
    return cls.embeddings is not FaceDataset.embeddings


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _unique(items: Iterable[T]) -> tuple[T, ...]:
    """Each once, in order: naming a point of an axis twice runs it once."""
    return tuple(dict.fromkeys(items))
