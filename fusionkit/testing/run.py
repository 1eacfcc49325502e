"""The checks as calls: ``check_fusion(GatedSum)`` gives a result a check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fusionkit.errors import ConfigError
from fusionkit.registry import REGISTRIES, kebab
from fusionkit.registry.spec import Spec
from fusionkit.testing.case import Case, Check, CheckResult, Subject
from fusionkit.testing.documentation import checks_of

Examples = Sequence[Mapping[str, Any]]
Target = type[Any] | str | Spec


def cases(
    kind: str, target: Target, examples: Examples | None = None, expected_failures: Mapping[str, str] | None = None
) -> Iterator[Case]:
    """The checks of a component: those of its class first, then all others with each option set.

    Args:
        kind: singular: ``fusion``, ``smoother``, ``extractor``, ``backbone`` or ``dataset``.
        target: a class, a registered name, or a SPEC, whose options are then the only option set.
        examples: option sets to use instead of the class's own.
        expected_failures: check to reason, beside those that the class declares.

    Raises:
        ConfigError: if there is no such component.
        PluginError: if it cannot be imported.
    """
    name, cls, options = _resolved(kind, target)
    expected = {**cls.expected_failures, **(expected_failures or {})}
    sets = examples if examples is not None else (options,) if options else cls.examples
    checks = list(checks_of(kind, cls))
    of_class = Subject(kind, name, cls, None, 0, expected)
    yield from (Case(of_class, check) for check in checks if not check.per_example)
    for number, given in enumerate(sets or [None]):
        subject = Subject(kind, name, cls, given, number, expected)
        gates: tuple[Check, ...] = ()
        for check in checks:
            if check.per_example:
                yield Case(subject, check, gates)
                gates += (check,) if check.gate else ()


def check_component(
    kind: str, target: Target, examples: Examples | None = None, expected_failures: Mapping[str, str] | None = None
) -> list[CheckResult]:
    """Make all checks of a component; the arguments are those of :func:`cases`.

    A check that is expected to fail and passes with every option set fails for that: what is said of it is not true.
    """
    made = list(cases(kind, target, examples, expected_failures))
    results = [case.result() for case in made]
    expected = made[0].subject.expected if made else {}
    outcomes = {name: {result.outcome for result in results if result.check == name} for name in expected}
    stale = {name for name, found in outcomes.items() if "passed" in found and "expected failure" not in found}
    told = "expected_failures says that it fails, and it passes"
    return [replace(found, outcome="failed", message=told) if found.check in stale else found for found in results]


def check_fusion(target: Target, **options: Any) -> list[CheckResult]:
    """Make all checks of a fusion; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("fusion", target, **options)


def check_smoother(target: Target, **options: Any) -> list[CheckResult]:
    """Make all checks of a smoother; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("smoother", target, **options)


def check_extractor(target: Target, **options: Any) -> list[CheckResult]:
    """Make all checks of an extractor; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("extractor", target, **options)


def check_backbone(target: Target, **options: Any) -> list[CheckResult]:
    """Make all checks of a backbone; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("backbone", target, **options)


def check_dataset(target: Target, **options: Any) -> list[CheckResult]:
    """Make all checks of a data set; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("dataset", target, **options)


def _resolved(kind: str, target: Target) -> tuple[str, type[Any], dict[str, Any]]:
    if f"{kind}s" not in REGISTRIES:
        raise ConfigError(f"unknown kind {kind!r}", hint=", ".join(registry.kind for registry in REGISTRIES.values()))
    registry = REGISTRIES[f"{kind}s"]
    if isinstance(target, type):
        path = f"{target.__module__}:{target.__qualname__}"
        names = [name for name, origins in registry.origins().items() if any(o.target == path for o in origins)]
        return (names or [kebab(target.__name__)])[0], target, {}
    spec = Spec.of(target)
    return spec.name, registry.get(spec.name), dict(spec.options)
