"""YAML and JSON files as plain data: no tags, no key twice, no aliases that expand without end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fusionkit.contracts.regular_file import read_file
from fusionkit.errors import ConfigError, cause_of

_SIZE = 1 << 18  # bytes; largest file
_VALUES = 100_000  # most values after the expansion of YAML aliases
_DIGITS = 20  # longest whole number


def read_plain(path: Path) -> Any:
    """Read a YAML or JSON file, which may begin with a byte order mark.

    Raises:
        ConfigError: with line and key, if it cannot be read, is not valid, has a key twice in one mapping, or holds
            more than 100,000 values.
    """
    try:
        text = read_file(path, _SIZE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text", hint="save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        return _json(path, text) if path.suffix == ".json" else _yaml(path, text)
    except RecursionError as error:
        raise ConfigError(f"{path}: values are nested too deeply") from error


def _json(path: Path, text: str) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            key = next(key for key in found if keys.count(key) > 1)
            raise _twice(path, _last_line_of(key, text), key)
        return found

    def whole(digits: str) -> int:
        if len(digits) > _DIGITS:
            line = text.count("\n", 0, text.find(digits)) + 1
            raise ConfigError(f"{path}:{line}: a number of {len(digits):,} digits")
        return int(digits)

    try:
        return json.loads(text, object_pairs_hook=mapping, parse_int=whole)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not JSON at column {error.colno}: {error.msg}") from error


def _last_line_of(key: str, text: str) -> int:
    """Return the last line of a JSON text that gives a key; 0 if it is written with escapes."""
    places = [match.start() for match in re.finditer(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text)]
    return text.count("\n", 0, places[-1]) + 1 if places else 0


def _yaml(path: Path, text: str) -> Any:
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _Check(path).size(node) > _VALUES:
            raise ConfigError(f"{path}: aliases expand to more than {_VALUES:,} values")
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = ", ".join(filter(None, [error.context, error.problem]))
        raise ConfigError(f"{where}: not plain YAML: {problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not plain YAML: {cause_of(error)}") from error
    finally:
        loader.dispose()


class _Check:
    """Finds keys that occur twice, and counts the values of YAML nodes with every alias expanded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sizes: dict[int, int] = {}

    def size(self, node: Any) -> int:
        """Return the number of values.

        Raises:
            ConfigError: if a mapping has a key twice, or a value contains itself.
        """
        if id(node) in self._sizes:
            if not self._sizes[id(node)]:
                raise ConfigError(f"{self.path}:{node.start_mark.line + 1}: a value contains itself by its alias")
            return self._sizes[id(node)]
        self._sizes[id(node)] = 0  # until its values are counted
        self._sizes[id(node)] = 1 + sum(map(self.size, self._values(node)))
        return self._sizes[id(node)]

    def _values(self, node: Any) -> list[Any]:
        if node.id == "sequence":
            return list(node.value)
        if node.id != "mapping":
            return []
        seen = set()
        for key, _ in node.value:
            if key.id == "scalar":
                if key.value in seen:
                    raise _twice(self.path, key.start_mark.line + 1, key.value)
                seen.add(key.value)
        return [each for pair in node.value for each in pair]


def _twice(path: Path, line: int, key: str) -> ConfigError:
    where = f"{path}:{line}" if line else str(path)
    return ConfigError(f"{where}: key {key!r} is given twice", hint="keep one of them")
