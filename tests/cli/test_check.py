"""``fusionkit check``: what it prints, and its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fusionkit.cli import app

GOOD = '''"""A plugin."""
from fusionkit.contracts import Smoother
from fusionkit.registry import SMOOTHERS


@SMOOTHERS.register_module()
class StayAsYouAre(Smoother):
    """Leaves every frame as it is.

    Reference: none.
    """

    def smooth(self, x, frame_numbers):
        return x
'''
KNOWN = '    expected_failures = {"constant_clip_stays": "it is made to forget"}\n\n    def smooth('


def check(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *words])
    return result.exit_code, result.output


def test_a_good_plugin_passes_and_what_was_skipped_is_listed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD)
    code, said = check(str(tmp_path / "mine.py"))
    assert code == 0
    row = next(line.split() for line in said.splitlines() if line.startswith("smoother"))
    assert row[:5] == ["smoother", "stay-as-you-are", "18", "0", "0"]
    assert int(row[5]) == 9
    ahead = "causal_looks_at_no_later_frame, frame_by_frame_is_the_clip, streams_do_not_disturb_each_other"
    assert f"  {ahead}: it looks at later frames (stay-as-you-are)\n" in said
    assert "27 checks: 18 passed, 0 failed, 0 expected failure, 9 skipped" in said


def test_a_broken_one_fails_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD.replace("return x", "return 0.9 * x + 0.025"))
    code, said = check(str(tmp_path / "mine.py"))
    assert code == 1
    assert "constant_clip_stays: a clip without change is changed (by up to" in said


def test_an_expected_failure_is_listed_and_is_none(tmp_path: Path) -> None:
    source = GOOD.replace("return x", "return 0.9 * x + 0.025").replace("    def smooth(", KNOWN)
    (tmp_path / "mine.py").write_text(source)
    code, said = check(str(tmp_path / "mine.py"))
    assert code == 0
    assert "constant_clip_stays: it is made to forget" in said
    assert "1 expected failure" in said


@pytest.mark.parametrize("target", ["concta", "nothing.py", "no-such-package"])
def test_a_wrong_target_is_refused_before_anything_runs(target: str) -> None:
    code, said = check("none", target)
    assert code == 2
    assert "checks:" not in said


def test_several_targets_are_checked_each_once() -> None:
    code, said = check("none", "smoothers/none", "median:width=3")
    assert code == 0
    rows = [line.split()[1] for line in said.splitlines() if line.startswith("smoother")]
    assert rows == ["none", "median", "median:width=3"]
