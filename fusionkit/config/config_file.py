"""Reading of config files, by path or by the name of a shipped one: Python by mmengine, YAML and JSON as plain data."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fusionkit.errors import ConfigError, cause_of, component_errors
from fusionkit.registry import did_you_mean
from fusionkit.registry.spec import Spec, parse_value, split_outside, split_specs

_DATA = (".yaml", ".yml", ".json")
_OWN_KEYS = {  # keys that only configs of one command have
    "bench": {"datasets", "backbones", "main", "regions", "subsets", "fusions"},
    "finetune": {"dataset", "view", "auxiliary", "backbone", "fusion"},
    "pretrain": {"data", "encoder", "decoder"},
}


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
    if path.is_file():
        return path
    shipped = shipped_folder() / f"{name}.py"
    if shipped.is_file():
        return shipped
    known = shipped_names()
    raise ConfigError(f"no config {name!r}{did_you_mean(name, known)}; shipped configs: {', '.join(known)}")


def read_config(path: Path, overrides: Iterable[str] = (), command: str = "") -> dict[str, Any]:
    """Read a config with its bases, then apply ``key=value`` overrides with dotted keys.

    A ``.py`` config is code and is executed; YAML and JSON are data, bases included.

    Args:
        path: the file.
        overrides: ``key=value`` texts, applied in order.
        command: command that reads it: ``bench``, ``finetune`` or ``pretrain``. Default: any.

    Raises:
        ConfigError: if it cannot be read, is a data config that loads code, or a config of another command.
    """
    if path.suffix in _DATA:
        config = _read_data(path, ())
    elif path.suffix == ".py":
        config = _read_code(path)
    else:
        raise ConfigError(f"{path}: suffix {path.suffix!r} must be one of: .py, .yaml, .yml, .json")
    if command:
        _check_command(path, config, command)
    for text in overrides:
        _override(config, text)
    # Imports and helper functions of a .py config are not keys.
    return {key: value for key, value in config.items() if not key.startswith("_") and not callable(value)}


def option_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config values of a grid's command-line options.

    Args:
        given: config key to the texts of its option, in order, or to another value; None if it was not given.

    Raises:
        ConfigError: if a text cannot be parsed, or an option that a grid has once was given several times.
    """
    found = {key: value for key, value in given.items() if value is not None}
    for key in ("split", "main", "reference"):
        if len(found.get(key, ())) > 1:
            raise ConfigError(f"--{key} is given {len(found[key])} times ({', '.join(found[key])}); a grid has one")
        if key in found:
            (found[key],) = found[key]
    for key in ("datasets", "extractor", "backbones", "fusions", "smoothers"):
        if key in found:
            found[key] = split_specs(found[key])
    if "recipe" in found:
        items = [item for text in found["recipe"] for item in split_outside(text)]
        found["recipe"] = dict(Spec.parse(f"recipe:{','.join(items)}").options)
    return found


def _check_command(path: Path, config: dict[str, Any], command: str) -> None:
    matches = {name: len(keys & config.keys()) for name, keys in _OWN_KEYS.items()}
    likely = max(matches, key=lambda name: matches[name])
    if matches[likely] and not matches[command]:
        raise ConfigError(f"{path} is a config of fusionkit {likely}, not of {command}")


def _read_code(path: Path) -> dict[str, Any]:
    from mmengine.config import Config

    _check_code_bases(path, ())
    try:
        config = Config.fromfile(str(path), lazy_import=False, import_custom_modules=False)
    except component_errors() as error:
        raise ConfigError(f"{path}: {cause_of(error)}") from error
    plain: dict[str, Any] = config.to_dict()
    return plain


def _check_code_bases(path: Path, seen: tuple[Path, ...]) -> None:
    """Reject data files as bases of code: mmengine would load them itself, and its YAML loader runs Python tags."""
    path = path.resolve()
    if path in seen:
        raise ConfigError(f"{path} is its own base")
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{path}: {cause_of(error)}") from error
    for base in _named_bases(tree):
        if Path(base).suffix in _DATA:
            raise ConfigError(f"{path}: base {base!r} is not Python", hint="bases of a .py config must be .py files")
        _check_code_bases(path.parent / base, (*seen, path))


def _named_bases(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "_base_" for target in targets):
            assert isinstance(node, ast.Assign)
            for part in ast.walk(node.value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and "." in part.value:
                    yield part.value


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


def _read_data(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Return a data config merged into its bases.

    mmengine must not read the file: its loader runs YAML tags, and its substitution of ``{{...}}`` can create a tag in
    text that has none.
    """
    from mmengine.config import Config

    path = path.resolve()
    if path in seen:
        raise ConfigError(f"{path} is its own base")
    data = _parse_data(path)
    bases = data.pop("_base_", [])
    merged: dict[str, Any] = {}
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or Path(base).suffix not in _DATA or "::" in base:
            raise ConfigError(f"{path}: base {base!r} is not plain data", hint="bases must be YAML or JSON files")
        inherited = _read_data(path.parent / base, (*seen, path))
        twice = sorted(inherited.keys() & merged)
        if twice:
            raise ConfigError(f"{path}: two of its bases set {', '.join(twice)}")
        merged |= inherited
    try:
        config = Config(merged)
        config.merge_from_dict(data)
        plain: dict[str, Any] = config.to_dict()
    except Exception as error:
        raise ConfigError(f"{path}: {cause_of(error)}") from error
    return plain


def _parse_data(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not plain data: {cause_of(error)}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a config must be a mapping of keys, not {type(data).__name__}")
    for key in data:
        if not isinstance(key, str):
            raise ConfigError(f"{path}: key {key!r} must be str")
    for key in ("custom_imports", "plugins"):
        if key in data:
            raise ConfigError(f"{path}: {key} loads code", hint="use a .py config, or --plugin FILE.py")
    return data
