"""SPEC: a component and its options as text, ``name`` or ``name:key=value,key=value``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fusionkit.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN = 100  # characters of a wrong value in a message
_OPENING, _CLOSING = "[{(", "]})"


@dataclass(frozen=True, eq=False)
class Spec:
    """A component's registered name and its given options (defaults are not filled in).

    Two specs are equal if their texts with sorted options are equal.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Spec) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}:" + ",".join(f"{key}={_write(self.options[key])}" for key in sorted(self.options))

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Parse a SPEC.

        Raises:
            ConfigError: if the text is not a SPEC.
        """
        name, colon, rest = text.strip().partition(":")
        if "." in name and "=" not in name:
            raise ConfigError(f"{text!r} is a dotted path", hint="register the class and use its name")
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{text!r} does not start with a component's name", hint="name or name:key=value,key=value"
            )
        if colon and not rest:
            raise ConfigError(f"{text!r} ends in ':' without options", hint="name or name:key=value,key=value")
        options: dict[str, Any] = {}
        for item in split_outside(rest) if rest else []:
            key, equals, value = item.partition("=")
            key = key.strip()
            if not equals or not OPTION.fullmatch(key):
                raise ConfigError(f"{item!r} in {text!r} is not an option", hint="key=value")
            if key in options:
                raise ConfigError(f"option {key!r} is given twice in {text!r}")
            options[key] = parse_value(value)
        return cls(name, options)

    @classmethod
    def of(cls, value: object) -> Spec:
        """Return the spec of a config value: the text of a SPEC, or a dict with ``type`` and options.

        Raises:
            ConfigError: if it is neither, or an option is not plain data.
        """
        if isinstance(value, Spec):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, Mapping) and isinstance(value.get("type"), str):
            named = cls.parse(value["type"])
            given = {key: _plain(key, item, named.name) for key, item in value.items() if key != "type"}
            return cls(named.name, {**named.options, **given})
        text = repr(value)
        shown = text if len(text) <= _SHOWN and text.isprintable() else f"a value of type {type(value).__name__}"
        hint = "write 'name:option=value' or {type: name, option: value}"
        if hasattr(value, "__array__"):
            hint = "fusionkit.from_arrays writes a data set of arrays or columns of a frame"
        raise ConfigError(f"{shown} is not a component", hint=hint)


def _plain(key: object, value: object, name: str) -> Any:
    """Return an option's value after a round trip through JSON, so that a stored value equals the given one."""
    if not isinstance(key, str) or not OPTION.fullmatch(key):
        raise ConfigError(f"{name!r}: {key!r} is not the name of an option")
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise ConfigError(
            f"{name!r}: option {key} = {value!r} is not plain data",
            hint="use finite numbers, text, lists and dicts",
        ) from None


def split_outside(text: str, separator: str = ",") -> list[str]:
    """Split on a separator outside quotes and brackets, and strip the pieces.

    Raises:
        ConfigError: if a quote or bracket is not closed, or a piece is empty.
    """
    pieces = [piece.strip() for piece in _pieces(text, separator)]
    if not all(pieces):
        raise ConfigError(f"{text!r} has an empty item")
    return pieces


def _pieces(text: str, separator: str) -> Iterator[str]:
    start, index, open_brackets = 0, 0, ""
    while index < len(text):
        char = text[index]
        if char in "\"'" and _opens_quote(text, index):
            index = _end_of_quote(text, index)
        elif char in _OPENING:
            open_brackets += _CLOSING[_OPENING.index(char)]
        elif char in _CLOSING:
            if not open_brackets.endswith(char):
                raise ConfigError(f"{text!r} has an unmatched {char!r}")
            open_brackets = open_brackets[:-1]
        elif char == separator and not open_brackets:
            yield text[start:index]
            start = index + 1
        index += 1
    if open_brackets:
        raise ConfigError(f"{text!r} has no closing {open_brackets[-1]!r}")
    yield text[start:]


def _end_of_quote(text: str, start: int) -> int:
    """Return the index of the closing quote. In double quotes a backslash escapes the next character."""
    quote, index = text[start], start + 1
    while index < len(text):
        if text[index] == quote:
            return index
        index += 2 if text[index] == "\\" and quote == '"' else 1
    hint = "in single quotes a backslash needs no escape" if quote == '"' and "\\" in text else ""
    raise ConfigError(f"{text!r} has no closing {quote}", hint=hint)


def _opens_quote(text: str, index: int) -> bool:
    """Return whether a quote opens at an index: at the start of a value, not within a word (``it's``)."""
    before = text[:index].rstrip()
    return not before or before[-1] in "=,:[{("


def split_specs(texts: Iterable[str]) -> list[str]:
    """Split texts, each a comma list of SPECs, into single SPECs.

    An item with an ``=`` that no ``:`` precedes is an option of the component before it.

    Raises:
        ConfigError: as :func:`split_outside`, or if an option has no component before it.
    """
    specs: list[str] = []
    for text in texts:
        first = True
        for item in split_outside(text):
            before_equals, equals, _ = item.partition("=")
            if not equals or ":" in before_equals:
                specs.append(item)
            elif first:
                raise ConfigError(f"{text!r} starts with an option", hint="start with a component: name:key=value")
            else:
                specs[-1] += ("," if ":" in specs[-1] else ":") + item
            first = False
    return specs


def parse_value(text: str) -> Any:
    """Parse a value of the command line: JSON, ``[a,b]`` as a list, else text without its quotes.

    A backslash is an escape in double quotes, as in JSON, and a plain character in single quotes.
    """
    value, text = _parse_item(text), text.strip()
    if isinstance(value, str) and text[:1] == "[" != text[1:2] and text.endswith("]"):
        with suppress(ConfigError):
            return [_parse_item(item) for item in split_outside(text[1:-1])]
    return value


def _parse_item(text: str) -> Any:
    text = text.strip()
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        pass
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _finite(text: str) -> float:
    """Parse a finite number. NaN, Infinity and 1e999 have no canonical JSON and stay text."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _write(value: Any) -> str:
    if isinstance(value, str):
        bare = value and not re.search(r"[\s,=\[\]{}()\"'\\]", value) and parse_value(value) == value
        return value if bare else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
