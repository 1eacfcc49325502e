"""SPEC: how a component and its options are written, ``name`` or ``name:key=value,key=value``, and read back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fusionkit.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPENING, _CLOSING = "[{(", "]})"


@dataclass(frozen=True, eq=False)
class Spec:
    """A component by its registered name, with the options that are given (defaults are not filled in).

    Two specs are equal when they are written the same after sorting the options.
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
        """Read one SPEC.

        Raises:
            ConfigError: if the text is not of the form.
        """
        name, colon, rest = text.strip().partition(":")
        if "." in name and "=" not in name:
            raise ConfigError(f"{text!r}: a component is named as it is registered, not by a dotted path")
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
        """A spec from a config's value: the text of a SPEC, or a dict with ``type`` and options.

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
        raise ConfigError(
            f"{value!r} is not a component", hint="dict(type='name', option=value) or 'name:option=value'"
        )


def _plain(key: object, value: object, name: str) -> Any:
    """An option's value as JSON would bring it back: what is written down must read the same again."""
    if not isinstance(key, str) or not OPTION.fullmatch(key):
        raise ConfigError(f"{name!r}: {key!r} is not an option's name")
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise ConfigError(
            f"{name!r}: option {key} = {value!r} is not plain data", hint="finite numbers, text, lists and dicts"
        ) from None


def split_outside(text: str, separator: str = ",") -> list[str]:
    """Split on a separator that stands outside quotes and brackets; pieces are stripped.

    Raises:
        ConfigError: if a quote or bracket is left open, or a piece is empty.
    """
    pieces = [piece.strip() for piece in _pieces(text, separator)]
    if not all(pieces):
        raise ConfigError(f"{text!r} has an empty item")
    return pieces


def _pieces(text: str, separator: str) -> Iterator[str]:
    start, place, open_brackets = 0, 0, ""
    while place < len(text):
        char = text[place]
        if char in "\"'" and _opens_quote(text, place):
            place = _end_of_quote(text, place)
        elif char in _OPENING:
            open_brackets += _CLOSING[_OPENING.index(char)]
        elif char in _CLOSING:
            if not open_brackets.endswith(char):
                raise ConfigError(f"{text!r} has an unmatched {char!r}")
            open_brackets = open_brackets[:-1]
        elif char == separator and not open_brackets:
            yield text[start:place]
            start = place + 1
        place += 1
    if open_brackets:
        raise ConfigError(f"{text!r} lacks a {open_brackets[-1]!r}")
    yield text[start:]


def _end_of_quote(text: str, start: int) -> int:
    """Where the quote that opens at ``start`` closes; between double quotes a backslash protects what follows it."""
    quote, place = text[start], start + 1
    while place < len(text):
        if text[place] == quote:
            return place
        place += 2 if text[place] == "\\" and quote == '"' else 1
    hint = "single quotes take a backslash as it is" if quote == '"' and "\\" in text else ""
    raise ConfigError(f"{text!r} leaves a quote open", hint=hint)


def _opens_quote(text: str, place: int) -> bool:
    """An apostrophe within a word (``it's``) is a letter; a quote opens at the start of a value."""
    before = text[:place].rstrip()
    return not before or before[-1] in "=,:[{("


def split_specs(texts: Iterable[str]) -> list[str]:
    """Split axis options, each a comma list of SPECs, into single SPECs.

    An item continues the component before it if it has an ``=`` with no ``:`` before it.

    Raises:
        ConfigError: as :func:`split_outside`, or if an option stands where no component is before it.
    """
    specs: list[str] = []
    for text in texts:
        first = True
        for item in split_outside(text):
            before_equals, equals, _ = item.partition("=")
            if not equals or ":" in before_equals:
                specs.append(item)
            elif first:
                raise ConfigError(f"{text!r} starts with an option, not with a component", hint="name:key=value")
            else:
                specs[-1] += ("," if ":" in specs[-1] else ":") + item
            first = False
    return specs


def parse_value(text: str) -> Any:
    """A value on the command line: JSON where it is JSON, else the text itself; quotes are taken off.

    Text in double quotes is JSON where it can be, so that backslashes mean something; in single quotes they do not.
    """
    text = text.strip()
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        pass
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _finite(text: str) -> float:
    """A number, but not NaN, Infinity or 1e999: those have no canonical JSON and stay text."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _write(value: Any) -> str:
    if isinstance(value, str):
        bare = value and not re.search(r"[\s,=\[\]{}()\"'\\]", value) and parse_value(value) == value
        return value if bare else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
