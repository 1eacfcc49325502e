"""The checks as tests: one test a component, option set and check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fusionkit.testing.case import Case, Skipped
from fusionkit.testing.run import Examples, Target, cases
from fusionkit.testing.targets import components_of

if TYPE_CHECKING:
    import pytest


def parametrize_checks(
    *targets: Target, examples: Examples | None = None, expected_failures: Mapping[str, str] | None = None
) -> pytest.MarkDecorator:
    """A mark that gives a test each check of some components as its argument ``check``, to be called.

    A check that does not apply is a skipped test with its reason, one that is expected to fail an ``xfail`` with its.

    Args:
        targets: classes, or what ``fusionkit check`` takes: names, SPECs, files, packages.
        examples: option sets to use instead of the classes' own.
        expected_failures: check to reason, beside those that a class declares.

    Raises:
        ConfigError: if there is no such component.
    """
    import pytest

    parameters = []
    for target in targets:
        for kind, named in _components(target):
            for case in cases(kind, named, examples, expected_failures):
                reason = case.subject.expected.get(case.check.name)
                # With one option set it may fail and with another pass, so a pass is no error here.
                marks = [pytest.mark.xfail(reason=reason, strict=False)] if reason else []
                parameters.append(pytest.param(_Test(case), id=case.id, marks=marks))
    return pytest.mark.parametrize("check", parameters)


def _components(target: Target) -> Iterator[tuple[str, Target]]:
    if isinstance(target, type):
        yield str(getattr(target, "kind", "")), target
    else:
        yield from components_of(str(target))


class _Test:
    """A case in pytest's words."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def __call__(self) -> None:
        import pytest

        try:
            self._case()
        except Skipped as reason:
            pytest.skip(str(reason))
