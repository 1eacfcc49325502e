"""Base of the config resolvers: read raw values key by key and collect every problem, then raise all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from fusionkit.config.keys import DEFAULTS
from fusionkit.config.section import Section
from fusionkit.config.splits import split_problems
from fusionkit.contracts.option_types import Count, Natural
from fusionkit.errors import ConfigError, FusionKitError
from fusionkit.registry import EXTRACTORS, FUSIONS, SMOOTHERS, ComponentRegistry, did_you_mean
from fusionkit.registry.options import options_of, requirement
from fusionkit.registry.plugin_file import load_module, load_plugin_file
from fusionkit.registry.spec import Spec, split_specs
from fusionkit.registry.sweep import is_selected, selection_problems, variants

MOST = 100_000  # combinations of a grid; each takes half a millisecond to plan
LARGEST_SEED = 2**32 - 1

S = TypeVar("S", bound=Section)
T = TypeVar("T")
_SELECTED = (FUSIONS, SMOOTHERS)  # of which the dev split can select the value of an option


class Resolver:
    """Read the keys of a raw config. A method that reads a key adds its problems to ``problems``.

    Args:
        raw: values by key, as read from a file and overridden on the command line. A missing key, or None, is the
            default.
        command: command whose keys and defaults it has, as in :data:`fusionkit.config.keys.DEFAULTS`.

    Attributes:
        plugins: Python files that register components; they are loaded first, so that the other keys can name them.
        modules: importable modules that register components; loaded first too.
    """

    def __init__(self, raw: Mapping[str, Any], command: str) -> None:
        self.defaults = DEFAULTS[command]
        self.raw = {**self.defaults, **{key: value for key, value in raw.items() if value is not None}}
        self.problems: list[str] = []
        self._unknown = [key for key in raw if key not in self.defaults]
        self._options: dict[object, str] = {}  # where an option belongs that is given as a key
        self.plugins = self._load(load_plugin_file, self.raw["plugins"])
        imports = self.raw["custom_imports"]
        if isinstance(imports, Mapping) and "imports" not in imports:
            self.problems.append(f"custom_imports: {dict(imports)!r} lacks 'imports', the list of modules")
        self.modules = self._load(load_module, imports.get("imports") if isinstance(imports, Mapping) else imports)

    def _load(self, load: Callable[[str], None], value: Any) -> tuple[str, ...]:
        names = tuple(map(str, listed(value)))
        for name in names:
            try:
                load(name)
            except FusionKitError as error:
                self.problems.append(str(error))
        return names

    def raise_problems(self) -> None:
        """Raise ConfigError with every problem, each once, if there is one."""
        unknown = [self._options.get(key) or _unknown(key, self.defaults) for key in self._unknown]
        if problems := [*unknown, *self.problems]:
            raise ConfigError(dict.fromkeys(problems))

    def note_options(self, owner: str, cls: type[Any], written: str) -> None:
        """Note where the options of a component or section belong, for those that are given as keys.

        Args:
            owner: component or section, for messages.
            cls: its class.
            written: how an option is written there, with ``{}`` for its name.
        """
        for name in set(self._unknown).intersection(options_of(cls)):
            where = f"unknown key {name!r}: it is an option of {owner} (write {written.format(name)})"
            self._options.setdefault(name, where)

    def add(self, key: str, problems: Iterable[str]) -> None:
        """Add the problems of a key."""
        self.problems += [f"{key}: {problem}" for problem in problems]

    def make(self, key: str, value: Any, make: Callable[[Any], T]) -> T | None:
        """Return ``make(value)``; None if it raises, which is a problem of the key."""
        try:
            return make(value)
        except FusionKitError as error:
            several = error.problems if isinstance(error, ConfigError) and len(error.problems) > 1 else [str(error)]
            self.add(key, several)
            return None

    def make_each(self, key: str, values: Iterable[Any], make: Callable[[Any], T]) -> tuple[T, ...]:
        """Return ``make`` of each value that it accepts, each result once, in order."""
        made = [self.make(key, value, make) for value in values]
        return unique(item for item in made if item is not None)

    def option(self, key: str, annotation: Any) -> Any:
        """Return a plain value, checked against an annotation; the default if it does not fit."""
        value = self.raw[key]
        required = requirement(value, annotation)
        if required:
            self.problems.append(f"{key} = {value!r} must be {required}")
        return self.defaults[key] if required else value

    def seeds(self) -> tuple[int, ...]:
        """Return the seeds: ``seeds`` is their number or a list of them."""
        value = self.raw["seeds"]
        seeds = list(value[: MOST + 1]) if isinstance(value, range) else value
        required = requirement(seeds, Count | list[Natural]) if seeds not in ([], ()) else "a number or a list of seeds"
        if required:
            self.problems.append(f"seeds = {value!r} must be {required}")
            return ()
        if (number := seeds if isinstance(seeds, int) else len(seeds)) > MOST:
            self.problems.append(f"seeds: {number:,} seeds; at most {MOST:,}")
            return ()
        if not isinstance(seeds, int) and max(seeds) > LARGEST_SEED:
            self.problems.append(f"seeds: {max(seeds)} must be at most {LARGEST_SEED}")
            return ()
        return unique(range(seeds) if isinstance(seeds, int) else seeds)

    def section(self, key: str, cls: type[S]) -> S | None:
        """Return a section with its defaults filled in; None if it has problems."""
        value = self.raw[key]
        self.note_options(key, cls, key + ": {{{}: ...}}")
        problems = cls.problems(value)
        self.add(key, problems)
        return None if problems else cls.of(value)

    def split(self) -> Spec:
        """Return the split."""
        spec = self.make("split", self.raw["split"], Spec.of) or Spec("auto")
        self.problems += split_problems(spec)
        return spec

    def components(self, key: str, registry: ComponentRegistry) -> tuple[Spec, ...]:
        """Return the components of a key, each once, without those that have problems.

        A sweep of an option is one component per value; with ``select=dev`` it is one component.
        """
        found: list[Spec] = []
        for spec in self.make_each(key, self.items(key, registry), registry.spec):
            if registry in _SELECTED and is_selected(registry, spec):
                problems = selection_problems(registry, spec)
                self.add(key, problems)
                found += [] if problems else [spec]
            else:
                found += [each for each in variants(registry, spec) if self.check_component(key, registry, each)]
        return unique(found)

    def items(self, key: str, registry: ComponentRegistry) -> list[Any]:
        """Return the components of a key as given. A text is a comma list, as on the command line."""
        found: list[Any] = []
        for value in listed(self.raw[key]):
            found += (self.make(key, [value], split_specs) or []) if isinstance(value, str) else [value]
        if not listed(self.raw[key]):
            self.add(key, [f"no {registry.kind} given"])
        return found

    def check_component(self, key: str, registry: ComponentRegistry, spec: Spec) -> bool:
        """Add the problems of a component; return whether there are none."""
        problems = registry.problems(spec)
        self.add(key, problems)
        with suppress(FusionKitError):  # its class cannot be had, which is a problem already
            self.note_options(f"{registry.kind} {spec.name}", registry.get(spec.name), f"{key}: {spec.name}:{{}}=...")
        return not problems

    def check_regions(self, key: str, extractor: Spec, needed: set[str]) -> None:
        """Add a problem for each region that the extractor does not offer."""
        built = self.make("extractor", extractor, EXTRACTORS.build)
        if built is not None:
            self.add(
                key,
                (
                    f"extractor {str(extractor)!r} has no region {region!r}"
                    f"{did_you_mean(region, [*built.regions, 'face'])}; available regions: {', '.join(built.regions)}"
                    for region in sorted(needed - set(built.regions))
                ),
            )


def _unknown(key: object, known: Iterable[str]) -> str:
    if meant := did_you_mean(key, known):
        return f"unknown key {key!r}{meant}"
    helper = f"; if it is a helper, name it _{key}, which is ignored" if isinstance(key, str) else ""
    return f"unknown key {key!r}; known: {', '.join(known)}{helper}"


def listed(value: Any) -> list[Any]:
    """Return a value as a list: None is empty, a list or tuple stays, all else is one item."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def unique(items: Iterable[T]) -> tuple[T, ...]:
    """Return each item once, in order."""
    return tuple(dict.fromkeys(items))
