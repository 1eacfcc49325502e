"""Run checks as pytest tests: one test for each component, option set and check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fusionkit.testing.case import Case, Skipped
from fusionkit.testing.run import Examples, Target, cases
from fusionkit.testing.targets import components_of

if TYPE_CHECKING:
    import pytest


def parametrize_checks(
    *targets: Target, examples: Examples | None = None, expected_failures: Mapping[str, str] | None = None
) -> pytest.MarkDecorator:
    """Return a mark that parametrizes a test by ``check``: a callable for each check of the components.

    A check that does not apply becomes a skipped test, an expected failure becomes an ``xfail``, both with the reason.

    Args:
        targets: classes, or targets of ``fusionkit check``: names, SPECs, files, packages.
        examples: option sets that replace those of the classes.
        expected_failures: name of a check to the reason of its failure, in addition to those of a class.

    Raises:
        ConfigError: if a component is unknown.
    """
    import pytest

    parameters = []
    for target in targets:
        is_class = isinstance(target, type)
        named: Sequence[tuple[str, Target]] = (
            [(getattr(target, "kind", ""), target)] if is_class else components_of(str(target))
        )
        for case in (case for kind, each in named for case in cases(kind, each, examples, expected_failures)):
            reason = case.subject.expected.get(case.check.name)
            # It may fail with one option set and pass with another, so a pass is not an error here.
            marks = [pytest.mark.xfail(reason=reason, strict=False)] if reason else []
            parameters.append(pytest.param(partial(_run, case), id=case.id, marks=marks))
    return pytest.mark.parametrize("check", parameters)


def _run(case: Case) -> None:
    import pytest

    try:
        case()
    except Skipped as reason:
        pytest.skip(str(reason))
