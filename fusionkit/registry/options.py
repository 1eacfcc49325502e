"""Options of a component: read from its ``__init__``; given values are checked against type and range."""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import re
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from weakref import WeakKeyDictionary

from fusionkit.contracts.option_types import Range
from fusionkit.errors import ConfigError
from fusionkit.registry.spec import parse_value, split_outside

_LISTS = frozenset({list, tuple, Sequence})
_BRACKETS = re.compile(r"\[.*[^\s\[].*\]", re.DOTALL)
_WORDS = (
    (("true", "yes", "on", 1), True),
    (("false", "no", "off", 0), False),
    (("none", "null", ""), None),
)
SELECT = "select"  # `select=dev` in a SPEC: one row, with the value that is best on the dev split
_UNIONS = (Union, types.UnionType)


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
    """Return the options of a component's class, in the order of its ``__init__``.

    An ``__init__`` with ``**options`` passes them to its base class, whose options follow.
    """
    if cls not in _KNOWN:
        _KNOWN[cls] = _read(cls)
    return _KNOWN[cls]


# A plan checks the options of a class hundreds of times; reading them compiles every annotation.
_KNOWN: WeakKeyDictionary[type[Any], dict[str, Option]] = WeakKeyDictionary()


def _read(cls: type[Any]) -> dict[str, Option]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found: dict[str, Option] = {}
    for init in _inits(cls):
        # From __init__ itself: inspect.signature(cls) would stop at a metaclass or at nn.Module's own signature.
        for parameter in list(inspect.signature(init).parameters.values())[1:]:
            if parameter.kind in named and parameter.name not in (*cls.provided, *found):
                found[parameter.name] = Option(parameter.name, _annotation(cls, init, parameter), parameter.default)
    return found


def _annotation(cls: type[Any], init: Callable[..., None], parameter: inspect.Parameter) -> Any:
    """Return a parameter's annotation; Any if it has none, or one that only a type checker can resolve.

    The ``__init__`` of a dataclass has fields of its bases, whose annotations are names of the bases' modules.
    """
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"it": parameter.annotation})
    own = getattr(inspect.unwrap(init), "__globals__", {})
    names = dict(ChainMap(own, *(vars(sys.modules[base.__module__]) for base in cls.__mro__)))
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["it"]
    except (AttributeError, NameError, SyntaxError, TypeError):
        return Any


def _inits(cls: type[Any]) -> Iterator[Callable[..., None]]:
    """Yield the class's ``__init__``, then that of each next base class while the one before has ``**options``."""
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if init is not None and base is not object:  # whose signature takes anything
            yield init
            if not _has_var_keyword(init):
                return


def _has_var_keyword(init: Callable[..., None]) -> bool:
    kinds = [parameter.kind for parameter in inspect.signature(init).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


def defaults_filled(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options with all defaults filled in, so that ``hog`` and ``hog:size=48`` are equal.

    An int given for a float becomes a float: ``lr=1`` and ``lr=1.0`` are equal too.
    """
    known = options_of(cls)
    filled = {**{name: option.default for name, option in known.items() if not option.required}, **given}
    return {name: _normal(value, known[name].annotation) if name in known else value for name, value in filled.items()}


def given_options(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return given options as ``__init__`` gets them: a ``Path``, an enum or a tuple if annotated."""
    known = options_of(cls)
    return {
        name: _typed(_normal(value, known[name].annotation), known[name].annotation) if name in known else value
        for name, value in given.items()
    }


def _normal(value: Any, annotation: Any) -> Any:
    """Return a value as plain data of the annotation's type, if it can be written otherwise on the command line.

    An int where only a float is possible becomes a float; an int or bool where only text is, the text that was written
    (``root=2024``); and ``[a,b]`` without quotes a list.
    """
    kinds = [get_origin(kind) or kind for kind in map(_base, _choices(annotation))]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if type(value) is int and float in kinds and int not in kinds:
        return float(value) if _finite(value) else value
    is_text = bool({str, Path}.intersection(kinds))
    if isinstance(value, int) and is_text and not {int, float, bool, Any}.intersection(kinds):
        return json.dumps(value)
    if isinstance(value, str) and not is_text and _LISTS.intersection(kinds):
        return _list_of(value) or value
    return value


def _list_of(text: str) -> list[Any]:
    """Return the items of ``[a,b]``; an empty list for any other text."""
    try:
        return [parse_value(item) for item in split_outside(text[1:-1])] if _BRACKETS.fullmatch(text) else []
    except ConfigError:  # an open bracket or quote
        return []


def _typed(value: Any, annotation: Any) -> Any:
    """Return plain data as an object of the annotation's type; the value itself for plain types."""
    for choice in _choices(_base(annotation)):
        kind, items = get_origin(choice) or choice, get_args(choice)
        if kind is Path and isinstance(value, str):
            return Path(value)
        if _is_enum(kind) and value in _values(kind):
            return value if isinstance(value, kind) else kind(value)
        if kind is tuple and isinstance(value, list):
            of = items if len(items) == len(value) and ... not in items else items[:1] * len(value)
            return tuple(map(_typed, value, of)) if of else tuple(value)
        if kind in (list, Sequence) and isinstance(value, list) and items:
            return [_typed(item, items[0]) for item in value]
    return value


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _values(kind: type[Enum]) -> list[Any]:
    return [member.value for member in kind]


def automatic(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Return the options that are ``auto``, each with the candidates to choose from on dev, the mildest first."""
    filled = defaults_filled(cls, given)
    known: Mapping[str, Sequence[Any]] = getattr(cls, "auto", {})  # smoothers have it
    return {name: candidates for name, candidates in known.items() if filled.get(name) == "auto"}


def check_options(cls: type[Any], given: Mapping[str, Any]) -> list[str]:
    """List everything that is wrong with given options: unknown, missing, of the wrong type, out of range."""
    known = options_of(cls)
    problems = [f"option {name!r} is missing" for name, each in known.items() if each.required and name not in given]
    for name, value in given.items():
        if name in known:
            annotation = known[name].annotation
            fits = _fits(_normal(value, annotation), annotation)
            required = "" if fits else requirement(value, annotation)
            problems += [f"option {name} = {value!r} must be {required}"] if required else []
        elif name in cls.provided or not _takes_any(cls):
            problems.append(_unknown_option(name, known))
    return problems


def _unknown_option(name: object, known: Mapping[str, Any]) -> str:
    if name == SELECT:
        return f"option {SELECT}: dev selects values of fusions, smoothers and recipes only; else each value is a row"
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]!r}?" if near else f"known options: {', '.join(known) or 'none'}"
    return f"unknown option {name!r} ({meant})"


def requirement(value: Any, annotation: Any) -> str:
    """Return what a value must be (``at least 1``, ``int >= 1``), or an empty text if it fits its annotation."""
    if _fits(value, annotation):
        return ""
    for choice in _choices(annotation):
        if get_origin(choice) is Annotated and _fits(value, _base(choice)):
            return str(_range(choice))  # the type is right
        if _base(choice) is float and isinstance(value, float):
            return "finite"
    if get_origin(annotation) is Literal:
        return f"one of: {', '.join(map(str, get_args(annotation)))}{_nearest(value, annotation)}"
    return _type_name(annotation) + (_as_json(value, annotation) or _nearest(value, annotation))


def offered_values(cls: type[Any]) -> dict[str, list[str] | None]:
    """Return the values of each option that shell completion offers, the default first; None for a path."""
    found: dict[str, list[str] | None] = {}
    for name, option in options_of(cls).items():
        choices = _choices(option.annotation)
        literals = [each for choice in choices if get_origin(choice) is Literal for each in get_args(choice)]
        values = [*([] if option.required or option.default is None else [option.default]), *literals]
        values += [*([False, True] if bool in choices else []), *(["auto"] if name in getattr(cls, "auto", {}) else [])]
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        is_path = name in (*cls.files, *getattr(cls, "places", ()))
        found[name] = None if is_path else list(dict.fromkeys(texts))
    return found


def _takes_any(cls: type[Any]) -> bool:
    """Return whether the class takes options that it does not name."""
    inits = list(_inits(cls))
    return bool(inits) and all(map(_has_var_keyword, inits))


def _as_json(value: Any, annotation: Any) -> str:
    """Return `` (write true)`` for ``'True'``, `` (write [3])`` for ``3``: the first of its ways that fits."""
    lengths = [len(get_args(kind)) for kind in map(_base, _choices(annotation)) if get_origin(kind) is tuple]
    repeated = [[each] * length for each in _ways(value) for length in lengths]  # one mean for three channels
    for other in (*_ways(value), *repeated):
        if (type(other), other) != (type(value), value) and _fits(other, annotation):
            return f" (write {json.dumps(other)})"
    return ""


def _ways(value: Any) -> Iterator[Any]:
    """Yield what a value may have been meant to be."""
    with suppress(SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        yield ast.literal_eval(value) if isinstance(value, str) else value
    word = value.lower() if isinstance(value, str) else value
    yield from (meant for words, meant in _WORDS for each in words if type(each) is type(word) and each == word)
    yield word
    if isinstance(value, (str, int, float)):
        yield [value]
    if isinstance(value, (int, float)):
        yield json.dumps(value)
    items = _list_of(value) if isinstance(value, str) else value
    if isinstance(items, list):
        yield [json.dumps(item) if isinstance(item, (int, float)) else item for item in items]


def _nearest(value: Any, annotation: Any) -> str:
    """Return `` (did you mean 'linear'?)`` if a text resembles one that the annotation names."""
    literals = [choice for choice in _choices(annotation) if get_origin(choice) is Literal]
    enums = [_base(choice) for choice in _choices(annotation) if _is_enum(_base(choice))]
    names = [name for choice in literals for name in get_args(choice) if isinstance(name, str)]
    names += [name for kind in enums for name in _values(kind) if isinstance(name, str)]
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5) if isinstance(value, str) else []
    return f" (did you mean {near[0]!r}?)" if near else ""


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union; any other annotation is its only member."""
    return get_args(annotation) if get_origin(annotation) in _UNIONS else (annotation,)


def _base(annotation: Any) -> Any:
    """Return an annotation without its range."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _range(annotation: Any) -> Range:
    """Return the range of an ``Annotated`` number: all of its ranges together, no bounds if there is none."""
    ranges = [extra for extra in get_args(annotation)[1:] if isinstance(extra, Range)]
    return Range(
        above=max((each.above for each in ranges if each.above is not None), default=None),
        least=max((each.least for each in ranges if each.least is not None), default=None),
        below=min((each.below for each in ranges if each.below is not None), default=None),
        most=min((each.most for each in ranges if each.most is not None), default=None),
    )


def _fits(value: Any, annotation: Any) -> bool:
    """Return whether a value fits an annotation. Every value fits one that is not plain."""
    kind, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Annotated:
        return _fits(value, arguments[0]) and (not isinstance(value, (int, float)) or value in _range(annotation))
    if kind is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if kind in _UNIONS:
        return any(_fits(value, choice) for choice in arguments)
    if kind in (list, tuple, Sequence):
        return isinstance(value, (list, tuple)) and _items_fit(value, kind, arguments)
    if kind in (dict, Mapping):
        return isinstance(value, Mapping)
    return _scalar_fits(value, kind)


def _items_fit(values: Sequence[Any], kind: Any, arguments: tuple[Any, ...]) -> bool:
    if kind is tuple and arguments[1:] != (...,):
        return not arguments or (len(values) == len(arguments) and all(map(_fits, values, arguments)))
    return all(_fits(value, item) for value in values for item in arguments[:1])


def _scalar_fits(value: Any, kind: Any) -> bool:
    if kind is None or kind is type(None):
        return value is None
    if kind is bool or kind is str:
        return isinstance(value, kind)
    if kind is Path:
        return isinstance(value, (str, Path))
    if _is_enum(kind):
        return isinstance(value, kind) or value in _values(kind)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and _finite(value)
    return True


def _finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def _type_name(annotation: Any) -> str:
    kind, arguments = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return _range(annotation).of(_type_name(arguments[0]))
    if kind is Literal:
        return " | ".join(map(repr, arguments))
    if kind in _UNIONS:
        return " | ".join(map(_type_name, arguments))
    if annotation is Any:
        return "any"
    if _is_enum(annotation):
        return " | ".join(map(repr, _values(annotation)))
    if annotation is None or annotation is type(None):
        return "null"
    name = "..." if annotation is ... else getattr(annotation, "__name__", str(annotation))
    return f"{name}[{', '.join(map(_type_name, arguments))}]" if arguments else name
