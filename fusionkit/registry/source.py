"""Source of a component: the files whose code decides its results, found by following imports without running them.

These are the component's module and every module of its own surroundings that it imports, in functions too: all files
that belong neither to Python, nor to fusionkit, nor to an installed distribution without components. Importing a module
runs its packages, so their ``__init__.py`` belongs to it. Installed libraries have versions, the kernel has revisions.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import os
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from itertools import accumulate
from pathlib import Path
from traceback import walk_tb
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from fusionkit.contracts.component import Component
from fusionkit.contracts.file_hash import file_hash

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

LONE_FILE = "fusionkit_plugin_"  # prefix of the packages that stand for folders of plugin files

_KERNEL = "fusionkit"
_STDLIB = Path(os.__file__).parent
_PLAIN = (int, float, str, bytes, bool, type(None), tuple, list, dict)
_BLOCKS = frozenset({"body", "orelse", "finalbody", "handlers", "cases"})  # fields of a tree that hold statements
_IMPORTED: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()  # hash of a module's file when first seen


@dataclass(frozen=True)
class SourceFile:
    """The file of one module.

    Attributes:
        module: name of the module.
        name: the same for a plugin file and the modules beside it, whatever their folder.
        file: its file.
        hash: hash of its bytes when it was imported, as far as known; now, if it is not imported yet.
    """

    module: str
    name: str
    file: Path
    hash: str

    @property
    def changed(self) -> bool:
        """Whether the file has other bytes now."""
        return _hash(self.file) != self.hash


def source_digest(cls: type) -> str:
    """Return the hash of a component's source (16 hex digits). It does not depend on folders.

    A class without a file, as in a notebook, counts by its compiled code and by the global names that this code uses.
    """
    files, texts = list(component_files(cls)), list[str]()
    for base in _own_bases(cls):
        if _file(base.__module__) is None:
            compiled = _Compiled(base)  # each time: its global names may have other values by now
            texts += compiled.texts
            files += [source for module in compiled.modules for source in source_files(module)]
    lines = sorted({f"{source.name} {source.hash}" for source in files})
    text = "\n".join([*lines, *texts])
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]


def changed_files(cls: type) -> list[Path]:
    """Return the source files that have changed since they were imported: the code in memory is not that on disk."""
    return [source.file for source in component_files(cls) if source.changed]


@cache
def component_files(cls: type) -> list[SourceFile]:
    """Return the files of a component's code; none for a class without a file, as in a notebook."""
    found: dict[str, SourceFile] = {}
    for base in _own_bases(cls):
        package = base.__module__.partition(".")[0]
        found |= {source.module: source for source in source_files(base.__module__, package)}
    # The name of the component's own file does not matter. Those of the others are in import statements.
    return [replace(source, name="") if name == cls.__module__ else source for name, source in found.items()]


def _own_bases(cls: type) -> list[type]:
    own = cls.__module__.partition(".")[0]
    return [
        base for base in inspect.getmro(cls) if base.__module__.partition(".")[0] == own or issubclass(base, Component)
    ]


def source_files(module: str, package: str = "") -> list[SourceFile]:
    """Return the files of a module and of all that it imports of its own surroundings; nothing is imported.

    Args:
        module: name of the module.
        package: installed package that belongs to these surroundings too.
    """
    found: dict[str, SourceFile] = {}
    foreign: set[str] = set()
    waiting = [module]
    while waiting:
        for name in accumulate(waiting.pop().split("."), "{}.{}".format):
            if name in foreign:
                break
            file = None if name in found else _file(name)
            if file is None:  # known already, or a folder without __init__.py, or not found
                continue
            if not _is_own(name, file, package):
                foreign.add(name)
                break
            shown = name.partition(".")[2] if name.startswith(LONE_FILE) else name
            found[name] = SourceFile(name, shown, file, _hash_when_imported(name, file))
            waiting += _imports(name, file)
    return list(found.values())


def resolved(name: str, importer: str) -> str:
    """Return the full name of the module that an absolute import means.

    A plugin file finds the modules beside it first, as a script does: they belong to the package of their folder, so
    that equal names in two folders are different modules.
    """
    package, _, rest = importer.partition(".")
    top = name.partition(".")[0]
    beside = package.startswith(LONE_FILE) and rest != top and _is_beside(package, top)
    return f"{package}.{name}" if beside else name


@cache
def _is_beside(package: str, top: str) -> bool:
    """Whether the folder of plugin files has a module that cannot be imported from elsewhere."""
    if top == _KERNEL or top in sys.builtin_module_names:
        return False
    spec = PathFinder.find_spec(top, [*sys.modules[package].__path__])
    if spec is None:
        return False
    if spec.origin is None:  # any module of that name precedes a folder without __init__.py
        return top not in sys.modules and _spec(top) is None
    other = _file(top)
    return other is None or not other.samefile(spec.origin)


def line_of(error: BaseException, package: str) -> str:
    """Return the line of a package where an import failed, as `` (FILE, line N)``; empty if it is unknown.

    Args:
        error: raised by the import.
        package: top-level package of the component; of the frames of its code the innermost counts.
    """
    frames = [
        (frame.f_globals.get("__name__", ""), frame.f_code.co_filename, line)
        for frame, line in walk_tb(error.__traceback__)
    ]
    own = [(file, line) for name, file, line in frames if str(name).partition(".")[0] == package]
    if not own:
        return ""
    file, line = own[-1]
    return f" ({file}, line {line})"


def forget_folders() -> None:
    """Look again for modules beside plugin files."""
    importlib.invalidate_caches()
    _is_beside.cache_clear()


@cache
def installed_entry_points() -> EntryPoints:
    """Return the entry points of all distributions; reading them takes most of the time of ``fusionkit list``."""
    from importlib.metadata import entry_points

    return cast("EntryPoints", entry_points())  # before Python 3.12 it returns a different type with the same methods


def _is_own(name: str, file: Path, own: str) -> bool:
    top = name.partition(".")[0]
    if top == _KERNEL:
        return False
    if _is_installed(name, file):
        return top == own or top in _plugin_packages()
    return not file.is_relative_to(_STDLIB)


def _is_installed(name: str, file: Path) -> bool:
    """Whether a file belongs to an installed distribution, and not to an editable one."""
    return not {"site-packages", "dist-packages"}.isdisjoint(file.parts) or _has_distributions(
        file.parents[min(name.count(".") + (file.stem == "__init__"), len(file.parents) - 1)]
    )


@cache
def _has_distributions(folder: Path) -> bool:
    return any(folder.glob("*.dist-info"))


@cache
def _plugin_packages() -> frozenset[str]:
    """Return the packages of installed distributions that provide components."""
    entries = installed_entry_points()
    groups = [group for group in entries.groups if group.startswith(f"{_KERNEL}.")]
    points = [point for group in groups for point in entries.select(group=group)]
    distributions = {point.dist.name: point.dist for point in points if point.dist}
    files = [file for distribution in distributions.values() for file in distribution.files or ()]
    return frozenset(file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py")


def _file(name: str) -> Path | None:
    """Return the file of a module; None for built-in modules, notebooks, and folders without ``__init__.py``."""
    module = sys.modules.get(name)
    if module is None:
        spec = _spec(name)
        where = spec.origin if spec and spec.has_location else None
    else:
        where = getattr(module, "__file__", None)
    file = Path(where) if isinstance(where, str) else None
    return file if file and file.is_file() else None


def _spec(name: str) -> ModuleSpec | None:
    """Find a module that is not imported, without importing its packages."""
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        package = sys.modules.get(parent) or _spec(parent)
        path = getattr(package, "__path__", None) or getattr(package, "submodule_search_locations", None)
        if path is None:
            return None
    try:
        finders = [finder.find_spec for finder in sys.meta_path if hasattr(finder, "find_spec")]
        return next((spec for find in finders if (spec := find(name, path))), None)
    except Exception:  # noqa: BLE001  (a finder of somebody else's may raise anything)
        return None


def _hash(file: Path) -> str:
    try:
        return file_hash(file)
    except OSError:
        return ""


def _hash_when_imported(name: str, file: Path) -> str:
    module = sys.modules.get(name)
    if not isinstance(module, ModuleType):
        return _hash(file)
    if module not in _IMPORTED:
        _IMPORTED[module] = _hash(file)
    return _IMPORTED[module]


def _imports(name: str, file: Path) -> Iterator[str]:
    """Yield the full names that a module imports, and ``package.name`` for each name that it takes from a package."""
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    if name == "__main__":
        package = getattr(sys.modules[name], "__package__", None) or ""
    for module, names in _import_statements(file, _hash(file)):
        try:
            base = importlib.util.resolve_name(module, package) if module.startswith(".") else resolved(module, name)
        except ImportError:  # beyond the top package
            continue
        yield base
        yield from (f"{base}.{each}" for each in names)


@cache
def _import_statements(file: Path, hash_: str) -> list[tuple[str, tuple[str, ...]]]:  # noqa: ARG001
    """Return module, with leading dots, and names of each import in a file, those in functions included."""
    if file.suffix != ".py":
        return []
    try:
        source = file.read_bytes()
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        return []
    calls = b"import_module" in source or b"__import__" in source
    return [found for node in (ast.walk(tree) if calls else _statements(tree)) for found in _imported_by(node)]


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield a tree's statements in the order of :func:`ast.walk`, without their expressions, which are most of it."""
    waiting = deque([tree])
    while waiting:
        node = waiting.popleft()
        for field in node._fields:
            if field in _BLOCKS and isinstance(below := getattr(node, field), list):  # a lambda's body is no list
                waiting += below
        yield node


def _imported_by(node: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    match node:
        case ast.Import(names=names):
            yield from ((alias.name, ()) for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            yield "." * level + (module or ""), tuple(alias.name for alias in names)
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield name, ()


class _Compiled:
    """A class without a file: its compiled code, and that of functions and classes without a file that it uses.

    Attributes:
        texts: instructions and plain values, in a fixed order.
        modules: modules with a file that it uses.
    """

    def __init__(self, cls: type) -> None:
        self.texts: list[str] = []
        self.modules: list[str] = []
        self._seen: set[int] = set()
        self._add("", cls)

    def _add(self, name: str, value: object) -> None:
        module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(value, _PLAIN):
            self.texts.append(f"{name} {value!r}")
        elif isinstance(value, ModuleType) or (isinstance(module, str) and _file(module)):
            self.modules.append(str(module))
        elif id(value) not in self._seen:
            self._seen.add(id(value))
            if isinstance(value, FunctionType):
                self._add_function(name, value)
            elif isinstance(value, type) and value is not object:
                self._add_class(value)

    def _add_class(self, cls: type) -> None:
        for name, member in sorted(vars(cls).items()):
            function = getattr(member, "fget", getattr(member, "__func__", member))  # of a property, a static method
            if isinstance(function, FunctionType) or (isinstance(member, _PLAIN) and not name.startswith("__")):
                self._add(name, function)

    def _add_function(self, name: str, function: FunctionType) -> None:
        self.texts.append(f"{name} {''.join(_instructions(function.__code__))}")
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._add(name, value)
        for used in sorted(_names(function.__code__)):
            if used in function.__globals__:
                self._add(used, function.__globals__[used])


def _names(code: CodeType) -> set[str]:
    return {*code.co_names}.union(*(_names(each) for each in code.co_consts if isinstance(each, CodeType)))


def _instructions(code: CodeType) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)
        else:
            yield str(sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant))
