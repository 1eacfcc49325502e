"""Options of a component: read from its ``__init__``, and given values checked against type and range."""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from fusionkit.contracts.option_types import Range

_PLAIN = (int, float, str, bool, type(None))


@dataclass(frozen=True)
class Option:
    """One option: name, annotation and default (``inspect.Parameter.empty`` if it is required)."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether the option has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def type_name(self) -> str:
        """The type with its range: ``int >= 1``, ``'self' | 'local'``, ..."""
        return _type_name(self.annotation)


def options_of(cls: type[Any]) -> dict[str, Option]:
    """The options of a component's class, in the order of its ``__init__``.

    An ``__init__`` with ``**options`` hands them on to the class that it derives from, whose options follow.
    """
    found: dict[str, Option] = {}
    for init in _inits(cls):
        # Straight off __init__: inspect.signature(cls) would stop at a metaclass or at nn.Module's own signature.
        try:
            hints = typing.get_type_hints(init, include_extras=True)
        except (AttributeError, NameError, SyntaxError, TypeError):
            hints = {}  # an annotation that only a type checker can follow: the option is taken as it comes
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        for parameter in list(inspect.signature(init).parameters.values())[1:]:
            if parameter.kind in named and parameter.name not in (*cls.provided, *found):
                found[parameter.name] = Option(parameter.name, hints.get(parameter.name, Any), parameter.default)
    return found


def _inits(cls: type[Any]) -> Iterator[Callable[..., None]]:
    """The class's ``__init__``, and while one hands on what it does not know, that of the next class."""
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if init is not None:
            yield init
            if not _hands_on(init):
                return


def _hands_on(init: Callable[..., None]) -> bool:
    kinds = [parameter.kind for parameter in inspect.signature(init).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


def defaults_filled(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options with every default filled in, so that ``hog`` and ``hog:size=48`` are the same choice.

    A whole number for a float is made one: ``lr=1`` and ``lr=1.0`` are the same choice too.
    """
    known = options_of(cls)
    filled = {option.name: option.default for option in known.values() if not option.required}
    return {
        name: float(value) if type(value) is int and name in known and _base(known[name].annotation) is float else value
        for name, value in {**filled, **given}.items()
    }


def automatic(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """The options that are ``auto``, so that dev decides, each with its candidates, the mildest first."""
    filled = defaults_filled(cls, given)
    return {name: candidates for name, candidates in cls.auto.items() if filled.get(name) == "auto"}


def check_options(cls: type[Any], given: Mapping[str, Any]) -> list[str]:
    """List everything that is wrong with given options: unknown, missing, of the wrong type, out of range."""
    known = options_of(cls)
    problems = [f"option {name!r} is missing" for name, each in known.items() if each.required and name not in given]
    for name, value in given.items():
        if name in known:
            problems += _value_problems(name, value, known[name].annotation)
        elif not _takes_any(cls) or name in cls.provided:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            meant = f"did you mean {near[0]!r}?" if near else f"known options: {', '.join(known) or 'none'}"
            problems.append(f"unknown option {name!r} ({meant})")
    return problems


def _value_problems(name: str, value: Any, annotation: Any) -> list[str]:
    fitting = [each for each in _choices(annotation) if _fits(value, each)]
    if not fitting:
        return [f"option {name} = {value!r} must be {_requirement(annotation)}{_as_json(value, annotation)}"]
    if _base(fitting[0]) is float and not isfinite(value):
        return [f"option {name} = {value!r} must be finite"]
    return [f"option {name} = {value!r} must be {limits}" for limits in _ranges(fitting[0]) if value not in limits]


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; any other annotation is the only one."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _base(annotation: Any) -> Any:
    """The type of an annotation without its range."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _ranges(annotation: Any) -> list[Range]:
    """The ranges of an annotation."""
    extras = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return [extra for extra in extras if isinstance(extra, Range)]


def _requirement(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return f"one of: {', '.join(map(str, get_args(annotation)))}"
    return _type_name(annotation)


def _as_json(value: Any, annotation: Any) -> str:
    """`` (write true)`` for ``'True'``, `` (write 0.5)`` for ``'.5'``: what Python reads as the right type."""
    try:
        meant = ast.literal_eval(value) if isinstance(value, str) else value
        return f" (write {json.dumps(meant)})" if _fits(meant, annotation) and meant != value else ""
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return ""


def _takes_any(cls: type[Any]) -> bool:
    return all(map(_hands_on, _inits(cls)))


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a plain value fits a plain annotation; an annotation that is not plain fits everything."""
    annotation = _base(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(annotation))
    if origin in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in get_args(annotation))
    if annotation is None:
        return value is None
    if origin in (list, tuple, Sequence):
        inner = get_args(annotation)[:1] if origin is not tuple or get_args(annotation)[1:] == (...,) else ()
        return isinstance(value, (list, tuple)) and all(_fits(item, each) for item in value for each in inner)
    if annotation in (list, tuple):
        return isinstance(value, (list, tuple))
    if annotation is dict or origin in (dict, Mapping):
        return isinstance(value, Mapping)
    if annotation not in _PLAIN:
        return True
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)


def _type_name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        limits = _ranges(annotation)
        return limits[0].of(_type_name(_base(annotation))) if limits else _type_name(_base(annotation))
    if origin is Literal:
        return " | ".join(map(repr, get_args(annotation)))
    if origin in (Union, types.UnionType):
        return " | ".join(_type_name(choice) for choice in get_args(annotation))
    if annotation in (None, type(None)):
        return "null"
    if annotation is Any:
        return "any"
    return str(annotation) if origin else getattr(annotation, "__name__", str(annotation))
