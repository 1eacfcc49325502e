"""Checks as tests and as results, and targets of checks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from testing.broken_fusions import FactorInAList, WithoutTheLast
from testing.good_plugins import GoodFusion, GoodSmoother
from toy_components import registered

from fusionkit.errors import ConfigError
from fusionkit.registry import FUSIONS, SMOOTHERS
from fusionkit.testing import Skipped, cases, check_fusion, check_smoother, parametrize_checks
from fusionkit.testing.documentation import checks_of
from fusionkit.testing.targets import components_of

TESTS = '''
from fusionkit.contracts import Smoother
from fusionkit.testing import parametrize_checks


class TowardsEqual(Smoother):
    """Moves every frame towards equal probabilities.

    Reference: none.
    """

    def smooth(self, x, frame_numbers):
        return 0.9 * x + 0.1 / x.shape[1]


@parametrize_checks(TowardsEqual, expected_failures={"clips_of_any_length": "never"})
def test_contract(check):
    check()
'''


@pytest.mark.slow
def test_each_check_is_a_test_with_a_readable_id_and_its_reason(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    words = ["-p", "no:cacheprovider", "-ra", "-q", str(tmp_path), "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *words, "-c", str(tmp_path / "pytest.ini")]
    output = subprocess.run(command, capture_output=True, text=True, timeout=600).stdout
    assert "test_it.py::test_contract[towards-equal-0-constant_clip_stays]" in output
    assert "a constant clip is changed" in output
    assert "it uses later frames" in output
    total = len(list(checks_of("smoother")))
    assert (
        f"2 failed, {total - 14} passed, 11 skipped, 1 xpassed" in output
    )  # it is neither causal, fitted, hard nor auto, needs no embeddings, and has no neighbours


def test_an_expected_failure_has_its_reason() -> None:
    reason = "it is made for one view"
    results = check_fusion(WithoutTheLast, expected_failures={"gradient_reaches_every_view": reason})
    (found,) = [result for result in results if result.check == "gradient_reaches_every_view"]
    assert (found.outcome, found.message) == ("expected failure", reason)
    assert not [result for result in results if result.outcome == "failed"]
    marks = parametrize_checks(WithoutTheLast, expected_failures={"gradient_reaches_every_view": reason}).args[1]
    (marked,) = [each for each in marks if each.marks]
    assert marked.id == "without-the-last-0-gradient_reaches_every_view"
    assert marked.marks[0].kwargs["reason"] == reason


def test_a_misspelt_expected_failure_fails() -> None:
    results = check_fusion(GoodFusion, expected_failures={"one_vew": "because"})
    (message,) = [result.message for result in results if result.outcome == "failed"]
    assert "expected_failures" in message
    assert "one_vew" in message
    assert "one_view" in message


def test_a_component_that_cannot_be_built_fails_once_and_other_checks_are_skipped() -> None:
    results = check_fusion(GoodFusion, examples=[{"width": 0}])
    outcomes = {result.check: (result.outcome, result.message) for result in results}
    assert outcomes["builds_and_runs"] == ("failed", "option width = 0 must be at least 1")
    assert outcomes["one_view"] == ("skipped", "builds_and_runs fails")
    assert outcomes["docstring_has_a_summary"][0] == "passed"


def test_a_component_without_examples_is_skipped_with_a_reason_and_its_class_is_checked() -> None:
    results = check_fusion(GoodFusion, examples=[])
    assert {result.outcome for result in results} == {"passed", "skipped"}
    (reason,) = {result.message for result in results if result.outcome == "skipped"}
    assert "no example" in reason


def test_class_checks_are_made_once_and_the_others_with_each_option_set() -> None:
    ids = [case.id for case in cases("smoother", GoodSmoother, examples=[{}, {"width": 3}])]
    assert ids.count("good-smoother-docstring_has_a_summary") == 1
    assert [name for name in ids if name.endswith("constant_clip_stays")] == [
        "good-smoother-0-constant_clip_stays",
        "good-smoother-1-constant_clip_stays",
    ]
    assert len(set(ids)) == len(ids)


def test_a_spec_is_checked_with_its_own_options() -> None:
    with registered(SMOOTHERS, "toy-mean", GoodSmoother):
        results = check_smoother("toy-mean:width=7")
    assert {result.component for result in results} == {"toy-mean", "toy-mean:width=7"}


def test_a_case_raises_the_failure() -> None:
    found = {case.check.name: case for case in cases("fusion", FactorInAList)}
    with pytest.raises(AssertionError, match=r"parameters or buffers .* self.factors\[0\]"):
        found["every_tensor_is_registered"]()
    with pytest.raises(Skipped, match="it needs no tokens"):
        found["token_count"]()
    found["one_view"]()


def test_a_target_is_a_name_a_spec_a_package_or_a_file(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        '"""A plugin."""\nfrom fusionkit.contracts import Smoother\nfrom fusionkit.registry import SMOOTHERS\n\n\n'
        "@SMOOTHERS.register_module()\nclass StayAsYouAre(Smoother):\n    def smooth(self, x, frame_numbers):\n"
        "        return x\n",
        encoding="utf-8",
    )
    assert components_of(str(plugin)) == [("smoother", "stay-as-you-are")]
    with registered(FUSIONS, "gaussian", GoodFusion):
        assert components_of("gaussian") == [("fusion", "gaussian"), ("smoother", "gaussian")]
        assert components_of("smoothers/gaussian:sigma=2") == [("smoother", "gaussian:sigma=2")]
        assert components_of("fusion/gaussian") == [("fusion", "gaussian")]
    everything = components_of("fusionkit")
    assert {("fusion", "concat"), ("smoother", "hmm"), ("dataset", "folder"), ("backbone", "hog")} <= set(everything)
    assert ("fusion", "aff") in components_of("fusionkit_fusions")
    assert {kind for kind, _ in components_of("fusionkit_smoothers")} == {"smoother"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("concta", "did you mean 'concat'"),
        ("fusionkt", "did you mean 'fusionkit'"),
        ("fusion/gaussian", "not a component"),
        ("nothing.py", "cannot be read"),
        ("concat:width=[", "no closing"),
    ],
)
def test_a_wrong_target_is_refused(target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        components_of(target)


def test_a_file_that_registers_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="registers no component"):
        components_of(str(tmp_path / "empty.py"))
