"""``fusionkit ablate`` and ``fusionkit robust``: what they print is what the calls return."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from command_line import call, output_of, refusal_of

from fusionkit.api import ablate, robust
from fusionkit.report.numbers import share, share_with_interval, signed_with_interval

CELL = "face,mouth/plain-concat/none"


def cells_of(text: str, start: str) -> list[str]:
    """Return the cells of the table row that starts with a text."""
    (line,) = [line for line in text.splitlines() if re.match(rf"{re.escape(start)}  ", line)]
    return re.split(r"  +", line.strip())


@pytest.mark.slow
def test_ablate_prints_every_view_and_the_origin_of_the_gain(run_copy: Path) -> None:
    text = output_of("ablate", run_copy, "--cell", CELL, "--draws", "2", "--seed", "3")
    assert len((run_copy / "attribution.csv").read_text(encoding="utf-8").splitlines()) == 1 + 2 + 8 + 3
    assert str(run_copy / "attribution.csv") in text.splitlines()[-1]
    (found,) = ablate(run_copy, [CELL], draws=2, seed=3)
    for view in ("face", "mouth"):
        values = [*(effect.difference for effect in found.effects[view].values()), found.shapley[view]]
        assert cells_of(text, view) == [view, *map(signed_with_interval, values)]
    assert found.gain is not None
    for estimate in (found.gain.together, found.gain.region, found.gain.parameters):
        assert signed_with_interval(estimate) in text
    assert share_with_interval(found.tested.intact) in text
    assert "face/linear/none" in text
    for fact in ("6 units", found.tested.axes.dataset, "recipe epochs=2", "seeds 0, 1", "2 draws", "seed 3"):
        assert fact in " ".join(text.split())
    assert re.search("^warning: .*6 units", text, re.MULTILINE)


@pytest.mark.slow
def test_robust_prints_subsets_and_a_curve(run_copy: Path) -> None:
    text = output_of("robust", run_copy, "--cell", CELL, "--draws", "2", "--pattern", "run")
    (found,) = robust(run_copy, [CELL], pattern="run", draws=2)
    (curve,) = found.curves
    start = next(number for number, line in enumerate(text.splitlines()) if "75 %" in line)
    subsets, curves = ("\n".join(part) for part in (text.splitlines()[:start], text.splitlines()[start:]))
    for present, effect in found.subsets[1:-1]:
        scores = share_with_interval(effect.score), signed_with_interval(effect.difference)
        assert cells_of(subsets, ",".join(present)) == [",".join(present), *scores]
    assert curve.relative is not None
    assert curve.gain is not None
    assert cells_of(curves, "mouth") == [
        "mouth",
        *(share(point.effect.score.value) for point in curve.points),
        share_with_interval(curve.relative),
        signed_with_interval(curve.gain),
    ]
    assert "a run of frames" in curves
    assert "face,mouth/logit-mean/none" in curves


@pytest.mark.slow
def test_without_a_late_fusion_there_is_no_gain(run_copy: Path) -> None:
    text = output_of("robust", run_copy, "--cell", "face,mouth/logit-mean", "--draws", "1", "--smoother", "none")
    assert "gain" not in text
    assert "logit-mean row" in text
    assert "not smoothed" in text


@pytest.mark.parametrize("command", ["ablate", "robust"])
def test_a_wrong_request_is_one_line(finished_run: Path, tmp_path: Path, command: str) -> None:
    assert str(tmp_path) in refusal_of(command, tmp_path)
    assert "'nope'" in refusal_of(command, finished_run, "--cell", "nope")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ablate", "robust"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_computed(
    command: str, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touch(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    computed: list[object] = []
    for module in ("ablation.ablate_rows", "robustness.robust_rows"):
        monkeypatch.setattr(f"fusionkit.predict.{module}", lambda *given: computed.append(given) or [])
    monkeypatch.setattr(Path, "touch", touch)
    result = call(command, run_copy)
    assert (result.exit_code, computed) == (1, [])
    assert re.match(r"error: .*\.csv cannot be written: Read-only file system \(.* writable", result.output)
