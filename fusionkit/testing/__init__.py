"""The conformance kit: checks that every component of a kind must pass, for tests of plugins.

    from fusionkit.testing import check_fusion, parametrize_checks

    @parametrize_checks(GatedSum)
    def test_contract(check):
        check()

The command is ``fusionkit check``.
"""

from fusionkit.testing.case import Case, CheckFailed, CheckResult, Skipped
from fusionkit.testing.parametrize import parametrize_checks
from fusionkit.testing.run import (
    cases,
    check_backbone,
    check_component,
    check_dataset,
    check_extractor,
    check_fusion,
    check_smoother,
    check_task,
)

__all__ = [
    "Case",
    "CheckFailed",
    "CheckResult",
    "Skipped",
    "cases",
    "check_backbone",
    "check_component",
    "check_dataset",
    "check_extractor",
    "check_fusion",
    "check_smoother",
    "check_task",
    "parametrize_checks",
]
