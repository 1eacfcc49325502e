"""Plugin files and modules: importing them runs the decorators that register their components."""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from fusionkit.contracts.regular_file import read_file
from fusionkit.errors import ConfigError, PluginError, cause_of, component_errors, expanded
from fusionkit.registry.registries import why_unread
from fusionkit.registry.source import LONE_FILE, forget_folders, line_of, resolved, source_files

_SIZE = 1 << 24  # bytes; largest plugin file


def load_plugin_file(path: str) -> None:
    """Import a Python file whose ``register_module`` decorators register components.

    It finds the modules beside it first, as a script does, at any time and in any process; ``sys.path`` is unchanged.
    Its folder is a package of its own, so relative imports work too, and equal names in two folders do not meet. It is
    imported again, with the modules beside it, if one of these files has changed.

    Raises:
        ConfigError: if the file cannot be read.
        PluginError: if its import fails.
    """
    try:
        file = expanded(path).resolve(strict=True)
        read_file(file, _SIZE)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"plugin {path!r} cannot be read: {why_unread(path, error)}") from error
    if file.suffix != ".py":
        raise ConfigError(f"plugin {path!r} is not a Python file", hint="its name must end in .py")
    package = _package(file.parent)
    name = f"{package}.{file.stem.replace('.', '_')}"
    forget_folders()
    sources = [source for source in source_files(name) if source.module.startswith(package)]
    if any(source.changed for source in sources):
        for source in sources:
            sys.modules.pop(source.module, None)
    if name not in sys.modules:
        _execute(name, package, file, path)


def _package(folder: Path) -> str:
    """Return the name of the package that stands for a folder; its ``__init__.py``, if any, is not run."""
    name = f"{LONE_FILE}{hashlib.sha256(str(folder).encode(errors='surrogateescape')).hexdigest()[:8]}"
    if name not in sys.modules:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]
    if _FolderFinder not in sys.meta_path:
        sys.meta_path.insert(0, _FolderFinder)
    return name


def _execute(name: str, package: str, file: Path, path: str) -> None:
    before = set(sys.modules)
    spec = importlib.util.spec_from_file_location(name, file, loader=_Loader(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except component_errors() as error:
        for added in [each for each in set(sys.modules) - before if each.startswith(f"{package}.")]:
            del sys.modules[added]
        where = line_of(error, package)
        raise PluginError(f"plugin {path!r} cannot be imported: {cause_of(error)}{where}") from error
    source_files(name)  # notes the state of each file now, so that later changes are seen


class _Loader(SourceFileLoader):
    """Loads a plugin file or a module beside one. Bytecode is not kept: a file may change twice in its one second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": partial(_import, module.__name__)}
        super().exec_module(module)


class _FolderFinder:
    """Finds modules in folders of plugin files, for :data:`sys.meta_path`."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(LONE_FILE):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _import(
    importer: str,
    name: str,
    globals: Mapping[str, Any] | None = None,  # noqa: A002  (named as in the function that it replaces)
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Import as :func:`builtins.__import__`, but absolute names from the importer's folder first."""
    full = name if level else resolved(name, importer)
    found = builtins.__import__(full, globals, locals, fromlist, level)
    if full == name or fromlist:
        return found
    package, top = importer.partition(".")[0], name.partition(".")[0]  # ``import a.b`` gives ``a``
    return sys.modules[f"{package}.{top}"]


def load_module(name: str) -> None:
    """Import a module of ``custom_imports``.

    Raises:
        PluginError: if it cannot be imported.
    """
    try:
        importlib.import_module(name)
    except component_errors() as error:
        raise PluginError(
            f"custom_imports: {name!r} cannot be imported: {cause_of(error)}{line_of(error, name.partition('.')[0])}",
            hint="install it, or add its folder to PYTHONPATH",
        ) from error
