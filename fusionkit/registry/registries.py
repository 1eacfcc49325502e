"""Registries of components by name, from entry points and from decorators.

Listing names imports nothing. A component is imported when it is requested.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from fusionkit import contracts
from fusionkit.errors import ConfigError, FusionKitError, PluginError, cause_of, component_errors, expanded, printable
from fusionkit.registry.options import check_options, given_options, options_of
from fusionkit.registry.source import LONE_FILE, installed_entry_points, line_of, source_digest
from fusionkit.registry.spec import Spec, parse_value

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

    from mmengine.registry import Registry


T = TypeVar("T", bound=type)
_FOLDER = "/"
_MOST_BESIDE = 10_000  # names that are compared with a missing one


@dataclass(frozen=True)
class Origin:
    """Origin of a name.

    Attributes:
        target: ``module:Class``.
        provider: distribution with version, module or file that provides it.
        distribution: name and version of the distribution that declares an entry point; empty without one.
    """

    target: str
    provider: str
    distribution: str = ""


class ComponentRegistry:
    """Registry of one kind of components. A :class:`mmengine.registry.Registry` holds the imported classes.

    Args:
        kind: singular name, as in messages: ``fusion``.
        contract_names: classes of :mod:`fusionkit.contracts`; a component must implement one of them.
        path_options: component and option that take a path, by its suffix, of a folder "/": for the hint to those who
            give a path alone.
        name_hint: hint for an unknown name, with ``{}`` for the name, if a component takes names as an option.
    """

    def __init__(
        self,
        kind: str,
        *contract_names: str,
        path_options: Mapping[str, tuple[str, str]] | None = None,
        name_hint: str = "",
    ) -> None:
        self.kind = kind
        self.group = f"fusionkit.{kind}s"
        self._contract_names = contract_names
        self._path_options = path_options or {}
        self._name_hint = name_hint
        self._registered: dict[str, Origin] = {}

    @cached_property
    def _classes(self) -> Registry:
        from mmengine.registry import Registry

        return Registry(self.kind, scope="fusionkit")

    @cached_property
    def _entry_points(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in installed_entry_points().select(group=self.group):
            same = found.setdefault(point.name, [])
            # A distribution can appear twice: an editable install has its metadata in two folders.
            if all((other.value, _distribution(other)) != (point.value, _distribution(point)) for other in same):
                same.append(point)
        return found

    @cached_property
    def _declared(self) -> dict[str, list[Origin]]:
        return {
            name: [
                Origin(point.value, _distribution(point), _distribution(point) if point.dist else "")
                for point in points
            ]
            for name, points in self._entry_points.items()
        }

    def origins(self) -> dict[str, list[Origin]]:
        """Return the origins of every name, sorted by name; several origins are a conflict. Imports nothing."""
        origins = {name: list(declared) for name, declared in self._declared.items()}
        for name, origin in self._registered.items():
            same = origins.setdefault(name, [])
            # A class with both an entry point and the decorator is one component.
            if all(other.target != origin.target for other in same):
                same.append(origin)
        return dict(sorted(origins.items()))

    def names(self) -> list[str]:
        """Return every name, sorted."""
        return list(self.origins())

    @overload
    def register_module(
        self, name: str | None = None, *, force: bool = False, module: None = None
    ) -> Callable[[T], T]: ...
    @overload
    def register_module(self, name: str | None = None, *, force: bool = False, module: T) -> T: ...
    def register_module(
        self, name: str | None = None, *, force: bool = False, module: T | None = None
    ) -> Callable[[T], T] | T:
        """Register a class, as a decorator or directly.

        Args:
            name: name of the component. Default: the class's name in kebab-case (``GatedSum`` as ``gated-sum``).
            force: replace an existing component of that name.
            module: the class, if it is not used as a decorator.

        Raises:
            PluginError: if the name is taken, malformed, or the class does not implement the kind's contract.
        """
        if name is not None and not isinstance(name, str):
            raise PluginError(f"name of a {self.kind} = {name!r} must be str", hint="write @register_module()")

        def register(cls: T) -> T:
            self._register(kebab(cls.__name__) if name is None else name, cls, force)
            return cls

        return register if module is None else register(module)

    def _register(self, name: str, cls: type, force: bool) -> None:
        if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]*", name):
            raise PluginError(
                f"{name!r} is not a name for a {self.kind}", hint="use lower case letters, digits, - and _"
            )
        origin = Origin(f"{cls.__module__}:{cls.__qualname__}", _provider(cls))
        others = [other for other in self.origins().get(name, []) if other.target != origin.target]
        if others and not force:
            raise PluginError(
                f"{self.kind} {name!r} is registered twice: {_describe(others[0])} and {_describe(origin)}",
                hint="rename one of them, or pass force=True to replace it",
            )
        self._check_contract(name, cls)
        if force:
            self._entry_points.pop(name, None)
            self._declared.pop(name, None)
        self._registered[name] = origin
        self._add(name, cls)

    def get(self, name: str) -> type[Any]:
        """Return the class of a name, and import it if needed.

        Raises:
            ConfigError: for a dotted path or an unknown name.
            PluginError: if it cannot be imported, has several origins, or breaks its contract.
        """
        if "." in name:
            raise ConfigError(f"{self.kind} {name!r} is a dotted path", hint="register the class and use its name")
        origins = self.origins().get(name)
        if origins is None:
            hint = "" if did_you_mean(name, self.names()) else self._name_hint.format(name)
            raise ConfigError(f"unknown {self.kind} {name!r}{_suggest(name, self.names())}", hint=hint)
        if len(origins) > 1:
            raise PluginError(
                f"{self.kind} {name!r} is registered twice: {' and '.join(map(_describe, origins))}",
                hint="uninstall one of them",
            )
        if name not in self._classes.module_dict:
            self._add(name, self._load(name))
        cls: type[Any] = self._classes.module_dict[name]
        return cls

    def _add(self, name: str, cls: type) -> None:
        self._classes.register_module(name=name, module=cls, force=True)
        source_digest(cls)  # kept from now on: the file may change while the class is in memory

    def _load(self, name: str) -> type[Any]:
        point = self._entry_points[name][0]
        try:
            cls = point.load()
        except component_errors() as error:
            what = f"{self.kind} {name!r} from {_distribution(point)}"
            where = line_of(error, point.module.partition(".")[0])
            raise PluginError(f"{what} cannot be imported: {cause_of(error)}{where}") from error
        self._check_contract(name, cls)
        return cls  # type: ignore[no-any-return]

    def _check_contract(self, name: str, cls: object) -> None:
        allowed = tuple(getattr(contracts, contract) for contract in self._contract_names)
        if not isinstance(cls, type) or not issubclass(cls, allowed):
            names = " or ".join(self._contract_names)
            raise PluginError(f"{self.kind} {name!r} must be a subclass of {names}, not {cls!r}")

    def spec(self, value: object) -> Spec:
        """Return the spec of a value, as :meth:`Spec.of`.

        Raises:
            ConfigError: if it is none, with the right spec if it is the path of a folder or file, or the value of an
                option without its name.
        """
        suffix = _suffix(value) if isinstance(value, str) and value not in self.names() else ""
        if suffix in self._path_options:
            name, option = self._path_options[suffix]
            what = "folder" if suffix == _FOLDER else "file"
            raise ConfigError(f"{value!r} is a {what}, not a {self.kind}", hint=f"write {Spec(name, {option: value})}")
        name, colon, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
        if colon and rest and "=" not in rest and name in self.names():
            self._refuse_lone_value(name, rest)
        return Spec.of(value)

    def _refuse_lone_value(self, name: str, value: str) -> None:
        """Raise ConfigError with the first required option of a component, else its first, as that of a value."""
        options = sorted(options_of(self.get(name)).values(), key=lambda option: not option.required)
        if options:
            written = Spec(name, {options[0].name: parse_value(value)})
            raise ConfigError(f"{value!r} in '{name}:{value}' has no name of an option", hint=f"such as {written}")

    def problems(self, spec: Spec) -> list[str]:
        """List everything that is wrong with a spec's name and options, including nested components."""
        try:
            cls = self.get(spec.name)
        except FusionKitError as error:
            return [str(error)]
        found = check_options(cls, spec.options)
        for option, kind in cls.nested.items() if not found else ():
            if option in spec.options:
                found += [f"{option}: {problem}" for problem in _nested_problems(kind, spec.options[option])]
        return [f"{self.kind} {spec.name!r}: {problem}" for problem in found]

    def build(self, spec: Spec | str | Mapping[str, Any], **provided: Any) -> Any:
        """Build an instance of a component.

        Args:
            spec: a spec, its text, or a dict with ``type`` and options.
            provided: arguments that the kernel passes (``in_dims``, ...).

        Raises:
            ConfigError: if name or options are wrong, or the component rejects them.
            PluginError: if the component fails otherwise.
        """
        spec = self.spec(spec)
        problems = self.problems(spec)
        if problems:
            raise ConfigError(problems)
        try:
            return self.get(spec.name)(**provided, **given_options(self.get(spec.name), spec.options))
        except FusionKitError:
            raise
        except component_errors() as error:
            raise PluginError(f"{self.kind} {spec} cannot be built: {cause_of(error)}") from error


def _nested_problems(kind: str, value: Any) -> list[str]:
    try:
        return REGISTRIES[f"{kind}s"].problems(Spec.of(value))
    except ConfigError as error:
        return [str(error)]


def _suffix(path: str) -> str:
    """Return the suffix of a file's path, and "/" for a folder; empty if there is neither."""
    place = expanded(path)
    try:
        return _FOLDER if place.is_dir() else place.suffix if place.is_file() else ""
    except (OSError, ValueError):
        return ""


def kebab(name: str) -> str:
    """Return a class's name in kebab-case: ``GatedSum`` to ``gated-sum``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return `` (did you mean 'concat'?)``, or an empty text if no known name is similar."""
    near = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.55)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def why_unread(path: str | Path, error: Exception) -> str:
    """Return why a given path cannot be read, with the nearest name beside it if it is missing."""
    near = did_you_mean_path(path) if isinstance(error, FileNotFoundError) else ""
    return f"{getattr(error, 'strerror', None) or error}{near}"


def did_you_mean_path(path: str | Path) -> str:
    """Return `` (did you mean 'faces'?)`` for a path that is missing; empty if nothing beside it has a similar name."""
    missing = expanded(path)
    try:
        beside = [each.name for each in islice(missing.parent.iterdir(), _MOST_BESIDE) if each.name[:1] != "."]
    except (OSError, ValueError):
        return ""
    spelled = {Path(name).stem.casefold(): name for name in beside}
    near = difflib.get_close_matches(missing.stem.casefold(), spelled, n=1, cutoff=0.6)
    return f" (did you mean {printable(str(Path(path).with_name(spelled[near[0]])))!r}?)" if near else ""


def _suggest(name: str, known: list[str]) -> str:
    return f"{did_you_mean(name, known)}; known: {', '.join(known) or 'none'}"


def _distribution(point: EntryPoint) -> str:
    return _name_and_version(point.dist) if point.dist else "an unnamed distribution"


@cache  # each access parses all of the distribution's metadata
def _name_and_version(distribution: Distribution) -> str:
    return f"{distribution.name} {distribution.version}"


def _provider(cls: type) -> str:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return f"file {file}" if file and cls.__module__.startswith(LONE_FILE) else f"module {cls.__module__}"


def _describe(origin: Origin) -> str:
    return f"{origin.target} ({origin.provider})"


_DATA = {
    _FOLDER: ("folder", "root"),
    ".csv": ("csv", "path"),
    ".npz": ("embeddings", "path"),
    ".parquet": ("hub", "path"),
    ".arrow": ("hub", "path"),
    ".tar": ("webdataset", "root"),
}
_WEIGHTS = {
    ".onnx": ("onnx", "model"),
    ".pt": ("timm", "checkpoint"),
    ".pth": ("timm", "checkpoint"),
    ".safetensors": ("timm", "checkpoint"),
}
DATASETS = ComponentRegistry("dataset", "FaceDataset", path_options=_DATA)
EXTRACTORS = ComponentRegistry("extractor", "Extractor")
BACKBONES = ComponentRegistry(
    "backbone", "Backbone", path_options=_WEIGHTS, name_hint="a model of timm is written timm:model={}"
)
FUSIONS = ComponentRegistry("fusion", "Fusion", "FittedFusion")
SMOOTHERS = ComponentRegistry("smoother", "Smoother")
TASKS = ComponentRegistry("task", "Task")

REGISTRIES = {
    registry.group.partition(".")[2]: registry
    for registry in (DATASETS, TASKS, EXTRACTORS, BACKBONES, FUSIONS, SMOOTHERS)
}


def find_components(
    kind: str | None = None, pattern: str = "*", package: str = ""
) -> Iterator[tuple[ComponentRegistry, str, list[Origin]]]:
    """Yield registry, name and origins of matching components. Nothing is imported.

    Args:
        kind: plural, as a key of ``REGISTRIES``. Default: every kind.
        pattern: of names, with wildcards.
        package: distribution that provides the component. Default: every distribution.

    Raises:
        ConfigError: if the kind is unknown.
    """
    if kind is not None and kind not in REGISTRIES:
        raise ConfigError(f"unknown kind {kind!r}{_suggest(kind, list(REGISTRIES))}")
    for key, registry in REGISTRIES.items():
        for name, origins in registry.origins().items() if kind in (None, key) else ():
            packages = {origin.distribution.partition(" ")[0] for origin in origins}
            if fnmatch(name, pattern) and (not package or package in packages):
                yield registry, name, origins
