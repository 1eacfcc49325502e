"""Reading of config files, by path or by the name of a shipped one: Python as code, YAML and JSON as plain data."""

from __future__ import annotations

import ast
import copy
import difflib
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fusionkit.config.keys import DEFAULTS
from fusionkit.config.plain_data import read_plain
from fusionkit.contracts.regular_file import read_file, special_file
from fusionkit.errors import ConfigError, cause_of, component_errors
from fusionkit.registry import did_you_mean, did_you_mean_path
from fusionkit.registry.spec import parse_value

_DATA = (".yaml", ".yml", ".json")
_BASE = "_base_"


def shipped_folder() -> Path:
    """Return the folder of the shipped configs: in the package of a wheel, in the repository of an editable install."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def shipped_names() -> list[str]:
    """Return the names of the shipped configs, such as ``bench/quickstart``."""
    folder = shipped_folder()
    names = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.py"))
    return sorted(name for name in names if not name.startswith("_"))


def find_config(name: str) -> Path:
    """Return the file of a config, given its path or the name of a shipped one.

    Raises:
        ConfigError: if it does not exist.
    """
    path = Path(name)
    if problem := special_file(path):
        raise ConfigError(f"config {name!r} cannot be read: {problem}")
    if not path.is_file() and path.suffix and (near := did_you_mean_path(path)):
        raise ConfigError(f"no config {name!r}{near}")
    return path if path.is_file() else _shipped(name, f"no config {name!r}")


def _shipped(name: str, problem: str) -> Path:
    """Return the file of a shipped config. A path that leaves their folder is not the name of one."""
    known = shipped_names()
    if name not in known:
        raise ConfigError(f"{problem}{did_you_mean(name, known)}; shipped configs: {', '.join(known)}")
    return shipped_folder() / f"{name}.py"


def read_config(path: Path, overrides: Iterable[str] = (), command: str = "") -> dict[str, Any]:
    """Read a config with its bases, then apply ``key=value`` overrides with dotted keys.

    A ``.py`` config is code and is executed; YAML and JSON are data. A base is a path relative to the file, or the name
    of a shipped config. Bases of data are data or shipped.

    Args:
        path: the file.
        overrides: ``key=value`` texts, applied in order.
        command: command that reads it: ``bench``, ``finetune`` or ``pretrain``. Default: any.

    Raises:
        ConfigError: if it cannot be read, is a data config that loads code, or a config of another command.
    """
    config = _read(path, ())
    if command:
        _check_command(path, config, command)
    for text in overrides:
        _override(config, text)
    return {key: value for key, value in config.items() if not key.startswith("_")}


def option_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config values of a grid's command-line options.

    Args:
        given: config key to the texts of its option, in order, or to another value; None if it was not given.

    Raises:
        ConfigError: if an option that a grid has once was given several times.
    """
    found = {key: value for key, value in given.items() if value is not None}
    for key in ("split", "main", "reference"):
        if len(found.get(key, ())) > 1:
            raise ConfigError(f"--{key} is given {len(found[key])} times ({', '.join(found[key])}); a grid has one")
        if key in found:
            (found[key],) = found[key]
    if "recipe" in found:
        found["recipe"] = ",".join(found["recipe"])
    return found


def _check_command(path: Path, config: dict[str, Any], command: str) -> None:
    """Reject a config of another command. Keys that resemble keys of this command are left to its resolver."""
    foreign = [key for key in config if key not in DEFAULTS[command] and not key.startswith("_")]
    if all(difflib.get_close_matches(key, DEFAULTS[command], n=1) for key in foreign):
        return
    for other, keys in DEFAULTS.items():
        if all(key in keys for key in foreign):
            raise ConfigError(f"{path} is a config of fusionkit {other}, not of {command}")


def _override(config: dict[str, Any], text: str) -> None:
    """Apply one ``key=value``. A dotted key selects items of mappings by name and of lists by index."""
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"--set {text!r} is not key=value", hint="for example recipe.lr=1e-3")
    node: Any = config
    for depth, step in enumerate(path):
        where = ".".join(path[:depth]) or "the config"
        last = depth == len(path) - 1
        if isinstance(node, dict):
            if last:
                node[step] = parse_value(value)
            else:
                node = node.setdefault(step, {})
        elif isinstance(node, list):
            if not step.isdecimal() or int(step) >= len(node):
                raise ConfigError(
                    f"--set {text!r}: {step!r} is not an index of the list {where}", hint=f"use 0..{len(node) - 1}"
                )
            if last:
                node[int(step)] = parse_value(value)
            else:
                node = node[int(step)]
        else:
            raise ConfigError(f"--set {text!r}: {where} is {node!r}, which has no keys", hint=f"set {where} itself")


# -- files and their bases ---------------------------------------------------------------------------------------------


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Return a config merged into its bases.

    mmengine merges, but must not read a file: its YAML loader runs tags, and its substitution of ``{{...}}`` can create
    a tag in text that has none.
    """
    from mmengine.config import Config

    path = path.resolve()
    if path in seen:
        raise ConfigError(f"{path} is its own base")
    if path.suffix == ".py":
        code = _parse_code(path)
        names = _take_bases(path, code)
    elif path.suffix in _DATA:
        data = _parse_data(path)
        names = data.pop(_BASE, [])
    else:
        raise ConfigError(f"{path}: suffix {path.suffix!r} must be one of: .py, {', '.join(_DATA)}")
    inherited: dict[str, Any] = {}
    for name in names if isinstance(names, (list, tuple)) else [names]:
        base = _read(_base(path, name), (*seen, path))
        twice = sorted(base.keys() & inherited)
        if twice:
            raise ConfigError(f"{path}: two of its bases set {', '.join(twice)}")
        inherited |= base
    values = _execute(path, code, inherited) if path.suffix == ".py" else data
    try:
        config = Config(inherited)
        config.merge_from_dict(values, allow_list_keys=False)
        plain: dict[str, Any] = config.to_dict()
    except Exception as error:
        raise ConfigError(f"{path}: {cause_of(error)}") from error
    return plain


def _base(path: Path, name: object) -> Path:
    """Return the file of a base, which is relative to the config, or the name of a shipped config."""
    if not isinstance(name, str):
        raise ConfigError(f"{path}: base {name!r} must be a path or the name of a shipped config")
    file = path.parent / name
    if not file.is_file():
        return _shipped(name, f"{path}: no base {name!r} beside it")
    if path.suffix in _DATA and file.suffix not in _DATA:
        raise ConfigError(
            f"{path}: base {name!r} is not plain data",
            hint="its bases must be YAML or JSON files, or shipped",
        )
    return file


def _parse_code(path: Path) -> ast.Module:
    try:
        return ast.parse(read_file(path), filename=str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{path}: {cause_of(error)}") from error


def _take_bases(path: Path, code: ast.Module) -> Any:
    """Remove the assignment of ``_base_`` from code and return its value."""
    found: Any = []
    for node in list(code.body):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == _BASE for target in targets):
            assert isinstance(node, ast.Assign)
            code.body.remove(node)
            try:
                found = ast.literal_eval(node.value)
            except ValueError as error:
                raise ConfigError(f"{path}: {_BASE} must be text or a list of texts, written out") from error
    return found


def _execute(path: Path, code: ast.Module, inherited: dict[str, Any]) -> dict[str, Any]:
    """Run a config and return what it assigns. In it, ``_base_`` holds the values of its bases."""
    from mmengine.config import ConfigDict

    names: dict[str, Any] = {
        "__file__": str(path),
        "__name__": "__config__",
        _BASE: ConfigDict(copy.deepcopy(inherited)),
    }
    try:
        exec(compile(code, str(path), "exec"), names)  # noqa: S102  (a config in Python is code)
    except component_errors() as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise ConfigError(f"{where}: {cause_of(error)}") from error
    # Modules, functions and classes are not values; nor are names that start with an underscore.
    return {
        name: value
        for name, value in names.items()
        if not (name.startswith("_") or callable(value) or isinstance(value, ModuleType))
    }


def _parse_data(path: Path) -> dict[str, Any]:
    data = read_plain(path)
    if data is None:
        raise ConfigError(f"{path}: the config has no keys", hint="for example: fusions: [mlp, concat]")
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a config must be a mapping of keys, not {type(data).__name__}")
    for key in data:
        if not isinstance(key, str):
            raise ConfigError(f"{path}: key {key!r} must be str")
    for key in ("custom_imports", "plugins"):
        if key in data:
            raise ConfigError(f"{path}: {key} loads code", hint="use a .py config, or --plugin FILE.py")
    return data
