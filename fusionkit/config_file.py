"""Config files: shipped ones by name, others by path; Python through mmengine, YAML and JSON as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fusionkit.errors import ConfigError
from fusionkit.registry import did_you_mean
from fusionkit.spec import parse_value

_DATA = (".yaml", ".yml", ".json")


def shipped_folder() -> Path:
    """The folder of the shipped configs: beside the package in a wheel, in the repository for an editable install."""
    package = Path(__file__).parent
    beside = package / "configs"
    return beside if beside.is_dir() else package.parent / "configs"


def shipped_names() -> list[str]:
    """Names of the shipped configs, as ``bench/quickstart``."""
    folder = shipped_folder()
    names = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.py"))
    return sorted(name for name in names if not name.startswith("_"))


def find_config(name: str) -> Path:
    """The file of a config: a path, or the name of a shipped one.

    Raises:
        ConfigError: if there is none.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    shipped = shipped_folder() / f"{name}.py"
    if shipped.is_file():
        return shipped
    known = shipped_names()
    raise ConfigError(f"there is no config {name!r}{did_you_mean(name, known)}; shipped: {', '.join(known)}")


def read_config(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Read a config with its bases, then apply ``key=value`` overrides with dotted keys.

    A ``.py`` config is code and is executed; YAML and JSON are data, bases included.

    Raises:
        ConfigError: if it cannot be read, or a data config asks for code.
    """
    from mmengine.config import Config

    if path.suffix in _DATA:
        _refuse_code(path, ())
    elif path.suffix != ".py":
        raise ConfigError(f"{path}: a config ends in .py, .yaml or .json, not in {path.suffix!r}")
    try:
        config = Config.fromfile(str(path), lazy_import=False, import_custom_modules=False)
    except Exception as error:
        raise ConfigError(f"{path}: {type(error).__name__}: {_first_line(error)}") from error
    changes = dict(_override(text) for text in overrides)
    try:
        config.merge_from_dict(changes)
    except Exception as error:
        raise ConfigError(f"--set {' '.join(changes)}: {_first_line(error)}") from error
    plain: dict[str, Any] = config.to_dict()
    return {key: value for key, value in plain.items() if not key.startswith("_")}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r} is not key=value", hint="recipe.lr=1e-3 for example")
    return key.strip(), parse_value(value)


def _refuse_code(path: Path, seen: tuple[Path, ...]) -> None:
    """Parse a data config and its bases as plain data, before mmengine's loader, which runs YAML tags, sees them."""
    import yaml

    if path in seen:
        raise ConfigError(f"{path} is its own base")
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not plain data: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys, not {type(data).__name__}")
    if "custom_imports" in data:
        raise ConfigError(f"{path}: custom_imports is code", hint="use a .py config, or --plugin FILE.py")
    bases = data.get("_base_", [])
    for base in [bases] if isinstance(bases, str) else bases:
        file = path.parent / str(base)
        if file.suffix not in _DATA or "::" in str(base):
            raise ConfigError(f"{path}: base {base!r} is not plain data", hint="a data config has data bases")
        _refuse_code(file, (*seen, path))
