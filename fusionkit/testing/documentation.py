"""Checks of every kind: what a class says of itself."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from fusionkit.contracts.component import Component
from fusionkit.errors import ConfigError
from fusionkit.registry.options import check_options, options_of
from fusionkit.testing.case import Check, Subject, Suite, require

CHECKS = Suite(per_example=False)
_ARGS = re.compile(r"^Args:\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


@CHECKS.check
def docstring_has_a_summary(subject: Subject) -> None:
    """The docstring begins with one line that says what the component is."""
    lines = docstring(subject.cls).splitlines()
    require(lines and lines[0].strip(), "it has no docstring")
    require(len(lines) == 1 or not lines[1].strip(), "the docstring's first line is not a sentence of its own")


@CHECKS.check
def docstring_explains_every_option(subject: Subject) -> None:
    """Every option has its line below ``Args:``, in the class or in the one that it derives from."""
    explained = explanations(subject.cls)
    missing = [name for name in options_of(subject.cls) if name not in explained]
    require(not missing, f"Args: does not explain {', '.join(missing)}")


@CHECKS.check
def docstring_names_a_reference(subject: Subject) -> None:
    """The docstring has ``Reference:`` with where the method comes from."""
    found = re.search(r"^\s*Reference:\s*\S+", docstring(subject.cls), re.MULTILINE)
    require(found, "the docstring has no 'Reference:'; where it is your own idea, say so there")


@CHECKS.check
def options_are_plain_data(subject: Subject) -> None:
    """Defaults and examples are numbers, text, booleans, lists and dicts, which a config and a SPEC can hold."""
    for name, option in options_of(subject.cls).items():
        require(option.required or _is_plain(option.default), f"option {name} = {option.default!r} is not plain data")
    for given in subject.cls.examples:
        require(_is_plain(given), f"example {given!r} is not plain data")


@CHECKS.check
def examples_are_option_sets(subject: Subject) -> None:
    """Each of ``examples`` names options that exist, all that have no default, and values of their types."""
    require(isinstance(subject.cls.examples, tuple), "examples is not a tuple of option sets")
    for given in subject.cls.examples:
        problems = check_options(subject.cls, given)
        require(not problems, f"example {given!r}: {'; '.join(problems)}")


@CHECKS.check
def revision_is_a_whole_number(subject: Subject) -> None:
    """``revision`` is an int from 1 up: it enters the identity of results."""
    revision = subject.cls.revision
    require(type(revision) is int and revision >= 1, f"revision = {revision!r} is not a whole number from 1 up")


@CHECKS.check
def declarations_name_what_exists(subject: Subject) -> None:
    """``files``, ``places``, ``nested`` and ``auto`` name options, and ``expected_failures`` names checks."""
    options = options_of(subject.cls)
    for attribute in ("files", "places", "nested", "auto"):
        unknown = [name for name in getattr(subject.cls, attribute, ()) if name not in options]
        require(not unknown, f"{attribute} names {', '.join(unknown)}, which is no option")
    checks = {check.name for check in checks_of(subject.kind, subject.cls)}
    unknown = [name for name in subject.expected if name not in checks]
    require(not unknown, f"expected_failures names {', '.join(unknown)}, which is no check")


def docstring(cls: type) -> str:
    """The docstring of a class, or of the nearest one that it derives from and that is no contract."""
    own = [base for base in _components(cls) if base.__doc__ and not base.__module__.startswith("fusionkit.")]
    return inspect.cleandoc(own[0].__doc__ or "") if own else ""


def _components(cls: type) -> list[type]:
    """The class and those that it derives from, as far as they are components."""
    return [base for base in cls.__mro__ if issubclass(base, Component)]


def summary_of(cls: type) -> str:
    """The docstring's first line."""
    return docstring(cls).partition("\n")[0]


def explanations(cls: type) -> dict[str, str]:
    """What ``Args:`` says of each argument, on one line: in the class, else in the nearest that it derives from."""
    found: dict[str, str] = {}
    for base in cls.__mro__:
        section = _ARGS.search(inspect.cleandoc(base.__doc__ or ""))
        lines = textwrap.dedent(section[1]) if section else ""
        for name, text in re.findall(r"^(\w+):(.*?)(?=^\S|\Z)", lines, re.MULTILINE | re.DOTALL):
            found.setdefault(name, " ".join(text.split()))
    return found


def without_args(text: str) -> str:
    """A docstring less its ``Args:``."""
    return _ARGS.sub("", text)


def reference_of(cls: type) -> str:
    """What stands behind ``Reference:``, on one line; empty where there is none."""
    paragraph = re.search(r"^\s*Reference:\s*(.*?)(?:\n\s*\n|\Z)", docstring(cls), re.MULTILINE | re.DOTALL)
    return " ".join(paragraph[1].split()) if paragraph else ""


def _is_plain(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == _listed(value))
    except (TypeError, ValueError, ConfigError):
        return False


def _listed(value: Any) -> Any:
    """Tuples as lists: JSON knows one kind of sequence."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return list(_items(value)) if isinstance(value, (list, tuple)) else value


def _items(value: Any) -> Iterator[Any]:
    return (_listed(item) for item in value)


_SUITES = {
    "fusion": "fusion_checks",
    "fitted fusion": "fitted_fusion_checks",
    "smoother": "smoother_checks",
    "extractor": "extractor_checks",
    "backbone": "backbone_checks",
    "dataset": "dataset_checks",
}


def checks_of(kind: str, cls: type | None = None) -> Iterator[Check]:
    """The checks of a kind, in order; those of a fusion depend on whether it learns by gradient steps.

    Args:
        kind: singular, as in a registry.
        cls: the component's class; None for every check that a component of the kind could meet.
    """
    yield from CHECKS
    for suite in _suites(kind, cls):
        yield from importlib.import_module(f"fusionkit.testing.{_SUITES[suite]}").CHECKS


def _suites(kind: str, cls: type | None) -> list[str]:
    if kind != "fusion":
        return [kind]
    if cls is None:
        return ["fusion", "fitted fusion"]
    from fusionkit.contracts.fusion import FittedFusion

    return ["fitted fusion" if issubclass(cls, FittedFusion) else "fusion"]
