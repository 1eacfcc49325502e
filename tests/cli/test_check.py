"""``fusionkit check``: what it prints, and its exit code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_line import call, refusal_of

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
TENSOR = '''"""A plugin."""
import torch
from torch import nn

from fusionkit.contracts import Fusion
from fusionkit.registry import FUSIONS


@FUSIONS.register_module()
class OuterProduct(Fusion):
    """Outer product of all views.

    Reference: Zadeh et al., Tensor fusion network, EMNLP 2017.
    """

    def __init__(self, in_dims, num_classes):
        super().__init__(in_dims, num_classes)
        self.project = nn.ModuleDict({name: nn.Linear(width, 6) for name, width in in_dims.items()})
        self.post = nn.Linear(7 ** len(in_dims), 8)

    def fuse(self, views, present):
        joint = torch.ones_like(views[self.main][:, :1])
        for name, layer in self.project.items():
            one = nn.functional.pad(layer(views[name]), (1, 0), value=1)
            joint = (joint.unsqueeze(2) * one.unsqueeze(1)).flatten(1)
        return self.post(joint)
'''


def check(*words: str | Path) -> tuple[int, str]:
    result = call("check", *words)
    return result.exit_code, result.output


def test_a_good_plugin_passes_and_skipped_checks_are_listed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD, encoding="utf-8")
    code, text = check(str(tmp_path / "mine.py"))
    assert code == 0
    row = next(line.split() for line in text.splitlines() if line.startswith("smoother"))
    assert row[:5] == ["smoother", "stay-as-you-are", "22", "0", "0"]
    assert int(row[5]) == 11
    ahead = "causal_uses_no_later_frame, frame_by_frame_is_the_clip, streams_are_independent"
    assert f"  {ahead}: it uses later frames (stay-as-you-are)\n" in text
    assert "33 checks: 22 passed, 0 failed, 0 expected failure, 11 skipped" in text


def test_a_broken_plugin_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD.replace("return x", "return 0.9 * x + 0.025"), encoding="utf-8")
    code, text = check(str(tmp_path / "mine.py"))
    assert code == 1
    assert "constant_clip_stays: smooth(): a constant clip is changed (largest difference" in text


def test_an_expected_failure_is_listed_and_is_none(tmp_path: Path) -> None:
    source = GOOD.replace("return x", "return x if len(x) == 1 else 0.9 * x + 0.025").replace("    def smooth(", KNOWN)
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    code, text = check(str(tmp_path / "mine.py"))
    assert code == 0
    assert "constant_clip_stays: it is made to forget" in text
    assert "1 expected failure" in text


@pytest.mark.parametrize("target", ["concta", "nothing.py", "no-such-package"])
def test_a_wrong_target_is_refused_before_anything_runs(target: str) -> None:
    code, text = check("none", target)
    assert code == 2
    assert "checks:" not in text


@pytest.mark.parametrize(
    ("spec", "facts"), [("median:widht=3", ["'widht'", "'width'"]), ("hog:size=large", ["size = 'large'", "int"])]
)
def test_wrong_options_are_a_wrong_request_and_no_failed_check(spec: str, facts: list[str]) -> None:
    line = refusal_of("check", "none", spec)
    assert spec.partition(":")[0] in line
    assert all(fact in line for fact in facts)


def test_a_component_that_needs_data_is_skipped_with_the_reason() -> None:
    code, text = check("ferplus")
    assert code == 0
    assert "no example options; give some, for example ferplus:root=... (ferplus)" in text


def test_an_expected_failure_that_does_not_fail_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD.replace("    def smooth(", KNOWN), encoding="utf-8")
    code, text = check(str(tmp_path / "mine.py"))
    assert code == 1
    assert "constant_clip_stays: expected_failures: expected this check to fail; it passes" in text
    assert "21 passed, 1 failed, 0 expected failure" in text


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_a_fusion_too_large_for_twelve_views_fails_one_check(tmp_path: Path) -> None:
    """It asks for 7 ** 12 * 8 weights: 413 GiB."""
    (tmp_path / "mine.py").write_text(TENSOR, encoding="utf-8")
    code, text = check(str(tmp_path / "mine.py"))
    assert code == 1
    assert "twelve_views: ran out of memory: RuntimeError" in text
    assert "38 checks: 30 passed, 1 failed" in text


def test_a_check_that_hangs_or_ends_its_process_fails_and_the_next_component_is_checked(tmp_path: Path) -> None:
    for name, change in {"hangs": "time.sleep(60)", "ends": "os._exit(3)"}.items():
        source = GOOD.replace("StayAsYouAre", name.capitalize()).replace("return x", f"{change}\n        return x")
        (tmp_path / f"{name}.py").write_text(f"import os\nimport time\n{source}", encoding="utf-8")
    code, text = check(tmp_path / "hangs.py", tmp_path / "ends.py", "smoothers/none", "--timeout", "0.5")
    assert code == 1
    rows = {line.split()[1]: line.split()[2:5] for line in text.splitlines() if line.startswith("smoother")}
    assert [rows[name][1] for name in ("hangs", "ends", "none")] == ["1", "1", "0"]
    assert "failed: hangs: builds_and_runs: took longer than 0.5 s" in text
    assert "failed: ends: builds_and_runs: its process ended with exit code 3" in text
    assert "builds_and_runs took longer than 0.5 s (hangs)" in text  # the reason why the later checks are skipped


def test_what_a_plugin_prints_is_not_in_stdout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = f"import os\nprint('imported')\n{GOOD}".replace("return x", "print('smoothed')\n        return x")
    source = source.replace("print('smoothed')", "print('smoothed')\n        os.write(1, b'written')")
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    result = call("check", tmp_path / "mine.py")
    shown = capfd.readouterr()
    assert result.stdout.splitlines()[0].split()[:2] == ["kind", "component"]
    assert "imported" not in result.stdout + shown.out
    assert "imported" in result.stderr
    assert ("smoothed" in shown.out + result.stdout, "written" in shown.out) == (False, False)
    assert "smoothed" in shown.err
    assert "written" in shown.err


def test_a_missing_method_is_named(tmp_path: Path) -> None:
    head = "from fusionkit.contracts import Fusion, StackedFusion\nfrom fusionkit.registry import FUSIONS\n\n\n"
    bodies = "@FUSIONS.register_module()\nclass Short(StackedFusion):\n    pass\n\n\n"
    bodies += "@FUSIONS.register_module()\nclass Long(Fusion):\n    pass\n"
    (tmp_path / "mine.py").write_text(head + bodies, encoding="utf-8")
    code, text = check(str(tmp_path / "mine.py"))
    assert code == 1
    assert "failed: NotImplementedError: combine() is not written (short)" in text
    assert "failed: NotImplementedError: fuse() is not written (long)" in text


def test_several_targets_are_checked_each_once() -> None:
    code, text = check("none", "smoothers/none", "median:width=3")
    assert code == 0
    rows = [line.split()[1] for line in text.splitlines() if line.startswith("smoother")]
    assert rows == ["none", "median", "median:width=3"]
