"""Run checks as function calls: ``check_fusion(GatedSum)`` returns a list of results."""

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
    """Yield the checks of a component: first those of its class, then all others for each option set.

    Args:
        kind: ``fusion``, ``smoother``, ``extractor``, ``backbone``, ``dataset`` or ``task``.
        target: a class, a registered name, or a SPEC; the options of a SPEC are then the only option set.
        examples: option sets that replace those of the class.
        expected_failures: name of a check to the reason of its failure, in addition to those of the class.

    Raises:
        ConfigError: if the kind or the component is unknown.
        PluginError: if the component cannot be imported.
    """
    name, cls, options = _resolved(kind, target)
    expected = {**cls.expected_failures, **(expected_failures or {})}
    sets = examples if examples is not None else (options,) if options else cls.examples
    checks = list(checks_of(kind, cls))
    class_subject = Subject(kind, name, cls, None, 0, expected)
    yield from (Case(class_subject, check) for check in checks if not check.per_example)
    last = []
    for number, given in enumerate(sets or [None]):
        subject = Subject(kind, name, cls, given, number, expected)
        before: tuple[Check, ...] = ()
        for check in (check for check in checks if check.per_example):
            case = Case(subject, check, before)
            before += (check,) if check.gate or check.root else ()
            if check.last:
                last.append(case)
            else:
                yield case
    yield from last


def first_cases(kind: str, target: Target, *, built: bool = True) -> list[Case]:
    """Return the checks that run before the first bench of a component: those that ``on_request`` does not leave out.

    Args:
        kind: as in :func:`cases`.
        target: as in :func:`cases`.
        built: include checks that build the component.
    """
    return [case for case in cases(kind, target) if not case.check.on_request and (built or not case.check.per_example)]


def check_component(
    kind: str, target: Target, examples: Examples | None = None, expected_failures: Mapping[str, str] | None = None
) -> list[CheckResult]:
    """Run all checks of a component; the arguments are those of :func:`cases`.

    An expected failure that passes with every option set counts as failed, so that the declaration stays correct.
    """
    selected = list(cases(kind, target, examples, expected_failures))
    return without_stale(selected, [case.result() for case in selected])


def without_stale(selected: Sequence[Case], results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return results with each expected failure that passes with every option set as a failed one.

    Args:
        selected: all checks of one component.
        results: their results, in the same order.
    """
    expected = selected[0].subject.expected if selected else {}
    outcomes = {name: {result.outcome for result in results if result.check == name} for name in expected}
    stale = {name for name, found in outcomes.items() if "passed" in found and "expected failure" not in found}
    message = "expected_failures: expected this check to fail; it passes"
    return [replace(found, outcome="failed", message=message) if found.check in stale else found for found in results]


def check_fusion(target: Target, **options: Any) -> list[CheckResult]:
    """Run all checks of a fusion; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("fusion", target, **options)


def check_smoother(target: Target, **options: Any) -> list[CheckResult]:
    """Run all checks of a smoother; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("smoother", target, **options)


def check_extractor(target: Target, **options: Any) -> list[CheckResult]:
    """Run all checks of an extractor; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("extractor", target, **options)


def check_backbone(target: Target, **options: Any) -> list[CheckResult]:
    """Run all checks of a backbone; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("backbone", target, **options)


def check_dataset(target: Target, **options: Any) -> list[CheckResult]:
    """Run all checks of a data set; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("dataset", target, **options)


def check_task(target: Target, **options: Any) -> list[CheckResult]:
    """Run all checks of a task; see :func:`cases` for ``examples`` and ``expected_failures``."""
    return check_component("task", target, **options)


def _resolved(kind: str, target: Target) -> tuple[str, type[Any], dict[str, Any]]:
    """Return name, class and options of a target."""
    if f"{kind}s" not in REGISTRIES:
        known = ", ".join(registry.kind for registry in REGISTRIES.values())
        raise ConfigError(f"unknown kind {kind!r}; known kinds: {known}")
    registry = REGISTRIES[f"{kind}s"]
    if isinstance(target, type):
        path = f"{target.__module__}:{target.__qualname__}"
        names = [name for name, origins in registry.origins().items() if any(o.target == path for o in origins)]
        return (names or [kebab(target.__name__)])[0], target, {}
    spec = Spec.of(target)
    return spec.name, registry.get(spec.name), dict(spec.options)
