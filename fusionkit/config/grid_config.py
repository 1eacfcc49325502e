"""Config of a grid: raw values are checked, all problems reported at once, and frozen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fusionkit.config.keys import DEFAULTS
from fusionkit.config.recipe import Recipe
from fusionkit.config.resolver import MOST, Resolver, listed, unique
from fusionkit.config.views import RegionSet, View, parse_region_set, regions_of, subsets
from fusionkit.contracts.dataset import FaceDataset
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS, FUSIONS, SMOOTHERS, TASKS
from fusionkit.registry.spec import Spec, split_specs
from fusionkit.registry.sweep import dev_candidates, variants
from fusionkit.storage.identity import digest

MOST_DIVIDED = 12  # views of --subsets; 12 have 4,095 subsets
EXPRESSION = Spec(DEFAULTS["bench"]["task"])  # the task that is meant without another
Imputation = Literal["nearest", "linear", "prior"]
IMPUTE: tuple[str, ...] = get_args(Imputation)  # how a frame without any view gets its prediction
Labelled = Literal["frame", "clip"]
TaskSet = tuple[Spec, ...]  # tasks that a head learns together
LABELLED: tuple[str, ...] = get_args(Labelled)  # what has one label, one prediction and one score


@dataclass(frozen=True)
class BackboneChoice:
    """A backbone for every view, or one per view with a default.

    Attributes:
        default: backbone of views that are not in ``per_view``; None if every view must be there.
        per_view: pairs of a view's text and its backbone.
    """

    default: Spec | None
    per_view: tuple[tuple[str, Spec], ...] = ()

    def of(self, view: View) -> Spec:
        """Return the backbone of a view.

        Raises:
            ConfigError: if it has none.
        """
        chosen = dict(self.per_view).get(str(view), self.default)
        if chosen is None:
            raise ConfigError(f"no backbone for view {str(view)!r}", hint="give one, or a default")
        return chosen

    def specs(self) -> list[Spec]:
        """Return every backbone."""
        return [*([self.default] if self.default else []), *(spec for _, spec in self.per_view)]

    def __str__(self) -> str:
        parts = [f"{view}={spec}" for view, spec in self.per_view]
        if not parts:
            return str(self.default)
        return "|".join(parts + ([f"default={self.default}"] if self.default else []))


@dataclass(frozen=True)
class GridConfig:
    """A checked grid: every axis with its values in the given order.

    Attributes:
        recipe: options of the training recipe (optimiser, epochs, loss) with their values; a tuple of values is a
            sweep, of which each row takes the value best on dev.
        reference: baseline row of ``delta``: None, ``main`` (the main view alone with a linear head), or a region set
            with the first fusion.
        impute: how a frame without any view gets its prediction; one of :data:`IMPUTE`.
        task_sets: what is predicted, as text of the config key ``task``: each is one task, or several that a head
            learns together.
        labels: what has one label, one prediction and one score: ``frame`` or ``clip``.
        plugins: Python files that register components; every process loads them.
        modules: importable modules that register components.
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
    task_sets: tuple[TaskSet, ...] = ((EXPRESSION,),)
    labels: str = LABELLED[0]
    plugins: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return the grid as plain data, as in a JSON or YAML config, without the code to import."""
        reference = self.reference
        return {
            "datasets": [str(spec) for spec in self.datasets],
            "task": [tasks_text(tasks) for tasks in self.task_sets],
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
            **({} if self.labels == LABELLED[0] else {"labels": self.labels}),
        }

    def digest(self) -> str:
        """Return the hash of the description (16 hex digits)."""
        return digest(self.describe())


def tasks_text(tasks: Iterable[Spec]) -> str:
    """Return tasks that are learned together as text: ``expression,action-units``."""
    return ",".join(map(str, tasks))


def region_text(views: RegionSet) -> str:
    """Return a region set as text: ``eye,mouth``."""
    return ",".join(map(str, views))


def _backbone_value(choice: BackboneChoice) -> Any:
    if not choice.per_view:
        return str(choice.default)
    named = {view: str(spec) for view, spec in choice.per_view}
    return {**named, "default": str(choice.default)} if choice.default else named


def resolve(raw: Mapping[str, Any], name: str) -> GridConfig:
    """Check raw config values and freeze them.

    Args:
        raw: keys of a bench config, as read from a file and overridden by the command line. Missing keys have their
            defaults.
        name: name of the grid.

    Raises:
        ConfigError: with every problem; nothing has run.
    """
    values = dict(raw)
    if "main" in raw and raw["main"] is None:
        values["main"] = "none"
    if raw.get("subsets") is not None and raw.get("regions") is None:
        values["regions"] = []
    return _GridResolver(values, "bench").resolve(name)


class _GridResolver(Resolver):
    def resolve(self, name: str) -> GridConfig:
        datasets = self.components("datasets", DATASETS)
        extractors = self.components("extractor", EXTRACTORS)
        regions = self._regions()
        grid = GridConfig(
            name=name,
            datasets=datasets,
            task_sets=self._task_sets(),
            labels=self.option("labels", Labelled),
            split=self.split(),
            extractors=extractors,
            backbones=self._backbones(),
            main=self._main(),
            regions=regions,
            fusions=self._fusions(),
            smoothers=self._smoothers(),
            recipe=self._recipe(),
            seeds=self.seeds(),
            reference=self._reference(regions),
            limit=self.option("limit", Count | None),
            impute=self.option("impute", Imputation),
            plugins=self.plugins,
            modules=self.modules,
        )
        self._check_views(grid)
        self._check_size(grid)
        self.raise_problems()
        return grid

    def _task_sets(self) -> tuple[TaskSet, ...]:
        given = listed(self.raw["task"])
        if not given:
            self.add("task", ["no task given"])
        return self.make_each("task", given, self._task_set)

    def _task_set(self, value: Any) -> TaskSet:
        """Return the tasks that a head learns together; a text is a comma list."""
        tasks = tuple(map(Spec.of, split_specs([value]) if isinstance(value, str) else [value]))
        names = [spec.name for spec in tasks]
        if problems := [problem for spec in tasks for problem in TASKS.problems(spec)]:
            raise ConfigError(problems)
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"{twice[0]} is given several times; tasks learned together differ in their names")
        return tasks

    def _fusions(self) -> tuple[Spec, ...]:
        specs = self.components("fusions", FUSIONS)
        for spec in specs:
            problems = Recipe.problems(getattr(FUSIONS.get(spec.name), "recipe", {}))
            self.add(f"fusions: recipe of fusion {spec.name!r}", problems)
        return specs

    def _smoothers(self) -> tuple[Spec, ...]:
        """Build each smoother, which is cheap, so that values it rejects are reported before anything runs."""
        specs = self.components("smoothers", SMOOTHERS)
        for spec in specs:
            self.make_each("smoothers", dev_candidates(SMOOTHERS, spec), SMOOTHERS.build)
        return specs

    def _backbones(self) -> tuple[BackboneChoice, ...]:
        found: list[BackboneChoice] = []
        for value in self.items("backbones", BACKBONES):
            if isinstance(value, Mapping) and "type" not in value:
                found += self.make_each("backbones", [value], self._backbone_per_view)
            elif spec := self.make("backbones", value, BACKBONES.spec):
                found += [BackboneChoice(each) for each in variants(BACKBONES, spec)]
        for choice in found:
            for spec in choice.specs():
                self.check_component("backbones", BACKBONES, spec)
        return unique(found)

    def _backbone_per_view(self, value: Mapping[Any, Any]) -> BackboneChoice:
        named: dict[str, Spec] = {}
        for written, item in value.items():
            view = "default" if written == "default" else str(View.parse(written))
            if view in named:
                raise ConfigError(f"view {view!r} has two backbones")
            named[view] = BACKBONES.spec(item)
        default = named.pop("default", None)
        return BackboneChoice(default, tuple(sorted(named.items())))

    def _main(self) -> View | None:
        value = self.raw["main"]
        return None if value == "none" else self.make("main", value, View.parse)

    def _regions(self) -> tuple[RegionSet, ...]:
        given, to_divide = listed(self.raw["regions"]), listed(self.raw["subsets"])
        if not given and not to_divide:
            self.add("regions", ["no region set given"])
        found = [*self.make_each("regions", given, parse_region_set)]
        for views in self.make_each("subsets", to_divide, parse_region_set):
            if len(views) > MOST_DIVIDED:
                number = f"{len(views)} views have {2 ** len(views) - 1:,} subsets"
                self.add("subsets", [f"{number}; at most {MOST_DIVIDED} views are divided"])
            else:
                found += subsets(views)
        return unique(found)

    def _recipe(self) -> tuple[tuple[str, Any], ...]:
        given = self.raw["recipe"]
        self.note_options("recipe", Recipe, "recipe: {{{}: ...}}")
        if isinstance(given, str):  # as --recipe has it
            given = self.make("recipe", f"recipe:{given}", lambda text: Spec.parse(text).options) or {}
        problems = Recipe.problems(given)
        self.add("recipe", problems)
        values = {} if problems else given
        return tuple(
            (name, tuple(value) if isinstance(value, list) else value) for name, value in sorted(values.items())
        )

    def _reference(self, regions: Sequence[RegionSet]) -> str | RegionSet | None:
        has_main = self.raw["main"] != "none"
        value = self.raw["reference"]
        if value == "none":
            return None
        if value is None:
            # Without a main view the other region sets are compared with the first one.
            return "main" if has_main else next(iter(regions), None)
        if value == "main":
            if not has_main:
                self.add("reference", ["'main' needs a main view, but main = none"])
            return "main"
        return self.make("reference", value, parse_region_set)

    def _check_views(self, grid: GridConfig) -> None:
        """Check that every view has a backbone, and that every extractor offers every region."""
        sets = [*grid.regions, *([grid.reference] if isinstance(grid.reference, tuple) else [])]
        views = {view for region_set in sets for view in region_set} | ({grid.main} if grid.main else set())
        for choice in grid.backbones:
            self.make_each("backbones", sorted(views, key=str), choice.of)
        if grid.datasets and all(_brings_embeddings(spec) for spec in grid.datasets):
            return
        # Regions that only `backbones` names are checked too: a misspelt one would have no effect.
        views |= {View.parse(view) for choice in grid.backbones for view, _ in choice.per_view}
        for spec in grid.extractors:
            self.check_regions("regions", spec, regions_of(views))

    def _check_size(self, grid: GridConfig) -> None:
        axes = {
            "data sets": grid.datasets,
            "extractors": grid.extractors,
            "backbones": grid.backbones,
            "region sets": grid.regions,
            "fusions": grid.fusions,
            "smoothers": grid.smoothers,
            "task sets": grid.task_sets,
            "seeds": grid.seeds,
            **{name: value for name, value in grid.recipe if isinstance(value, tuple)},
        }
        cells = math.prod(map(len, axes.values()))
        if cells > MOST:
            factors = " x ".join(f"{len(values):,} {name}" for name, values in axes.items() if len(values) > 1)
            self.problems.append(
                f"the grid has {cells:,} combinations ({factors}); at most {MOST:,}: divide it into several"
            )


def _brings_embeddings(spec: Spec) -> bool:
    cls = DATASETS.get(spec.name)
    return cls.embeddings is not FaceDataset.embeddings
