"""Content hashes: canonical JSON, digests, identity of a component (options, revision, source, file contents)."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Hashable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any, cast

from fusionkit.contracts.component import Component
from fusionkit.errors import ConfigError
from fusionkit.registry import REGISTRIES, ComponentRegistry
from fusionkit.registry.options import defaults_filled
from fusionkit.registry.spec import Spec


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ConfigError: if the value is not plain data, or holds NaN or infinity.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()  # raises for half a surrogate pair, as in a path of undecodable bytes
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{value!r} is not plain data: {error}") from error
    return text


def digest(value: Any) -> str:
    """Return the hash of the canonical JSON (16 hex digits)."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def component_identity(registry: ComponentRegistry, spec: Spec) -> dict[str, Any]:
    """Return what decides the results of a component: name, all options, revision, source, and the bytes of its files.

    Raises:
        ConfigError: if one of its files cannot be read.
    """
    cls = registry.get(spec.name)
    filled = defaults_filled(cls, spec.options)
    options = {name: value for name, value in filled.items() if name not in (*cls.places, *cls.nested)}
    for name in cls.files:
        if options.get(name):
            what = f"{registry.kind} {spec.name!r}: {name}"
            found = [(Path(path).name, file_digest(path, what)) for path in cls.files_of(name, filled)]
            options[name] = found[0][1] if len(found) == 1 else digest(found)
    identity = {
        "name": spec.name,
        "options": options,
        "revision": cls.revision,
        "source": source_digest(cast("Hashable", cls)),
    }
    nested = nested_identities(registry, spec)
    return {**identity, "nested": nested} if nested else identity


def nested_identities(registry: ComponentRegistry, spec: Spec) -> dict[str, dict[str, Any]]:
    """Return the identity of each component that an option names, by option.

    It leaves out a data set's options: their effect is in the data, whose content the outer component must include.
    """
    cls = registry.get(spec.name)
    filled = defaults_filled(cls, spec.options)
    found = {}
    for option, kind in cls.nested.items():
        identity = component_identity(REGISTRIES[f"{kind}s"], Spec.of(filled[option]))
        found[option] = {**identity, "options": {}} if kind == "dataset" else identity
    return found


def file_digest(path: str, what: str) -> str:
    """Return the hash of a file's bytes (16 hex digits).

    Args:
        path: the file.
        what: what the file is, for the error message.

    Raises:
        ConfigError: if it cannot be read.
    """
    try:
        file = Path(path).expanduser()
        state = file.stat()
        return _bytes_digest(file, state.st_mtime_ns, state.st_size)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{what} = {path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error


@cache
def _bytes_digest(file: Path, changed: int, size: int) -> str:  # noqa: ARG001  (a changed file is read again)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


@cache
def source_digest(cls: Hashable) -> str:
    """Return the hash of a component's source: its module, its bases' modules, and their imports of their own package.

    Modules of fusionkit are left out: they have revisions. So are libraries with base classes: their versions are in
    the provenance. A class without a source file, as in a notebook, counts by its compiled code.
    """
    top = cast("type", cls)
    own = top.__module__.partition(".")[0]
    modules: set[str] = set()
    state = hashlib.sha256()
    for base in inspect.getmro(top):
        package = base.__module__.partition(".")[0]
        if package == "fusionkit" or not (package == own or issubclass(base, Component)):
            continue
        if _source(base.__module__):
            _collect(base.__module__, modules)
        else:
            state.update("\n".join(_compiled(base)).encode())
    for name in sorted(modules):
        path = _source(name)
        if path:
            state.update(path.read_bytes())
    return state.hexdigest()[:16]


def _compiled(cls: type) -> Iterator[str]:
    """Yield the methods' bytecode and the plain attributes of a class, sorted by name."""
    for name, member in sorted(vars(cls).items()):
        function = getattr(member, "fget", getattr(member, "__func__", member))  # of a property, of a static method
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            yield f"{name} {''.join(_instructions(code))}"
        elif not name.startswith("__") and isinstance(member, (int, float, str, bool, tuple, dict)):
            yield f"{name} {member!r}"


def _instructions(code: CodeType) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)
        else:
            yield str(sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant))


def _collect(name: str, seen: set[str]) -> None:
    path = _source(name)
    if name in seen or path is None:
        return
    seen.add(name)
    package = name.partition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = _absolute(node, name, path)
            imported = [parent, *(f"{parent}.{alias.name}" for alias in node.names)]
        else:
            continue
        for other in imported:
            if other.partition(".")[0] == package:
                _collect(other, seen)


def _absolute(node: ast.ImportFrom, name: str, path: Path) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    parents = parts[: len(parts) - node.level + (path.name == "__init__.py")]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _source(name: str) -> Path | None:
    module = sys.modules.get(name)
    try:
        if module is not None:
            found = inspect.getsourcefile(module)
        else:
            spec = importlib.util.find_spec(name)
            found = spec.origin if spec else None
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
    return Path(found) if found and found.endswith(".py") and Path(found).is_file() else None
