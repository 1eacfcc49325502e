"""Docstrings and declarations of a component class: how to read them, and checks of them for every kind."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from fusionkit.contracts.component import Component
from fusionkit.registry.options import check_options, options_of
from fusionkit.testing.case import Check, Subject, Suite, require

CHECKS = Suite(per_example=False)
_ARGS = re.compile(r"^Args:\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def checks_of(kind: str, cls: type | None = None) -> Iterator[Check]:
    """Yield the checks of a kind in running order.

    Args:
        kind: kind of the component, singular.
        cls: class of the component, which decides between the two suites of fusions; None yields both.
    """
    yield from CHECKS
    suites = [kind]
    if kind == "fusion":
        suites = ["fusion", "fitted_fusion"] if cls is None else ["fitted_fusion" if is_fitted(cls) else "fusion"]
    for suite in suites:  # imported here, since those of fusions need torch
        yield from importlib.import_module(f"fusionkit.testing.{suite}_checks").CHECKS


def is_fitted(cls: type) -> bool:
    """Return whether the class of a fusion is fitted as a whole, as in scikit-learn, instead of by gradient steps."""
    return hasattr(cls, "predict_proba")


def docstring(cls: type) -> str:
    """Return the docstring of a class, or of its nearest base class that is a component but not a contract."""
    components = [base for base in cls.__mro__ if issubclass(base, Component)]
    texts = [base.__doc__ for base in components if base.__doc__ and not base.__module__.startswith("fusionkit.")]
    return inspect.cleandoc(texts[0]) if texts else ""


def summary_of(cls: type) -> str:
    """Return the first line of the docstring."""
    return docstring(cls).partition("\n")[0]


def explanations(cls: type) -> dict[str, str]:
    """Return the text of each argument below ``Args:``, on one line, of the nearest class that has it."""
    found: dict[str, str] = {}
    for base in cls.__mro__:
        section = _ARGS.search(inspect.cleandoc(base.__doc__ or ""))
        lines = textwrap.dedent(section[1]) if section else ""
        for name, text in re.findall(r"^(\w+):(.*?)(?=^\S|\Z)", lines, re.MULTILINE | re.DOTALL):
            found.setdefault(name, " ".join(text.split()))
    return found


def without_args(text: str) -> str:
    """Return a docstring without its section ``Args:``."""
    return _ARGS.sub("", text)


def reference_of(cls: type) -> str:
    """Return the text after ``Reference:``, on one line; empty if there is none."""
    paragraph = re.search(r"^\s*Reference:\s*(.*?)(?:\n\s*\n|\Z)", docstring(cls), re.MULTILINE | re.DOTALL)
    return " ".join(paragraph[1].split()) if paragraph else ""


@CHECKS.on_request
def docstring_has_a_summary(subject: Subject) -> None:
    """The docstring starts with a one-line summary."""
    lines = docstring(subject.cls).splitlines()
    require(lines and lines[0].strip(), "expected a docstring that starts with a one-line summary, found none")
    require(len(lines) == 1 or not lines[1].strip(), "docstring: expected a blank line after the first line")


@CHECKS.on_request
def docstring_explains_every_option(subject: Subject) -> None:
    """Every option is explained below ``Args:``, in the class or in a base class."""
    explained = explanations(subject.cls)
    missing = [name for name in options_of(subject.cls) if name not in explained]
    require(not missing, f"docstring: expected every option below Args:, missing {', '.join(missing)}")


@CHECKS.on_request
def docstring_names_a_reference(subject: Subject) -> None:
    """The docstring has ``Reference:`` with the source of the method."""
    found = re.search(r"^\s*Reference:\s*\S+", docstring(subject.cls), re.MULTILINE)
    require(found, "docstring: expected 'Reference:' with the source of the method; write 'none' for your own idea")


@CHECKS.check
def options_are_plain_data(subject: Subject) -> None:
    """Defaults and examples are numbers, text, booleans, lists and dicts, which a config and a SPEC can hold."""
    for name, option in options_of(subject.cls).items():
        plain = option.required or _is_plain(option.default)
        require(plain, f"option {name}: expected plain data as default, found {option.default!r}")
    for given in subject.cls.examples:
        require(_is_plain(given), f"examples: expected plain data, found {given!r}")


@CHECKS.check
def examples_are_option_sets(subject: Subject) -> None:
    """Each of ``examples`` has known options, all required ones, and values of the annotated type and range."""
    examples = subject.cls.examples
    require(isinstance(examples, tuple), f"examples: expected a tuple of option sets, found {type(examples).__name__}")
    for given in examples:
        problems = check_options(subject.cls, given)
        require(not problems, f"examples: {given!r}: {'; '.join(problems)}")


@CHECKS.check
def revision_is_a_positive_integer(subject: Subject) -> None:
    """``revision`` is an int >= 1; it is part of the identity of results."""
    revision = subject.cls.revision
    require(type(revision) is int and revision >= 1, f"revision: expected an int of at least 1, found {revision!r}")


@CHECKS.check
def declarations_are_known(subject: Subject) -> None:
    """``files``, ``places``, ``nested`` and ``auto`` name options, and ``expected_failures`` names checks."""
    options = options_of(subject.cls)
    for attribute in ("files", "places", "nested", "auto"):
        unknown = [name for name in getattr(subject.cls, attribute, ()) if name not in options]
        known = ", ".join(options) or "none"
        require(not unknown, f"{attribute}: unknown option {', '.join(unknown)}; known options: {known}")
    checks = [check.name for check in checks_of(subject.kind, subject.cls)]
    unknown = [name for name in subject.expected if name not in checks]
    require(not unknown, f"expected_failures: unknown check {', '.join(unknown)}; known checks: {', '.join(checks)}")


def _is_plain(value: Any) -> bool:
    """Return whether JSON can hold the value; it turns tuples into lists."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
