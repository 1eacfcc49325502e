"""``fusionkit ablate`` and ``fusionkit robust`` on a small run: what is printed is what the calls give."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fusionkit.api import ablate, bench, robust
from fusionkit.cli import app
from fusionkit.grid.run import RunOptions
from fusionkit.predict.ablation import AblationOptions
from fusionkit.report.numbers import share, share_with_interval, signed_with_interval

CELL = "face,mouth/plain-concat/none"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, [*words], env={"COLUMNS": "140"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSIONKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("runs") / "run"
        bench(
            out=out,
            options=RunOptions(executor="serial"),
            datasets=["synthetic:train=8,val=6,test=6,clips=4,clip_length=8"],
            recipe={"epochs": 2},
            seeds=2,
            regions=["mouth", "face"],
            fusions=["plain-concat", "logit-mean"],
            smoothers=["none"],
        )
        yield out


def line_of(text: str, start: str) -> list[str]:
    """The cells of a row of a table."""
    (line,) = [line for line in text.splitlines() if re.match(rf"{re.escape(start)}  ", line)]
    return re.split(r"  +", line.strip())


def test_it_prints_every_view_and_where_the_gain_comes_from(folder: Path) -> None:
    result = run("ablate", str(folder), "--cell", CELL, "--draws", "2", "--seed", "3")
    assert result.exit_code == 0, result.output
    (found,) = ablate(folder, [CELL], options=AblationOptions(draws=2, seed=3))
    for view in ("face", "mouth"):
        values = [*(effect.difference for effect in found.effects[view].values()), found.shapley[view]]
        assert line_of(result.output, view) == [view, *map(signed_with_interval, values)]
    assert f"intact {share_with_interval(found.tested.intact)}; every view dropped" in result.output
    assert found.gain is not None
    assert f"gain over face/linear/none: {signed_with_interval(found.gain.together)}" in result.output
    assert f"  the region: {signed_with_interval(found.gain.region)}" in result.output
    assert f"6 units of {found.tested.axes.dataset}; recipe epochs=2; seeds 0, 1; 2 draws from seed 3" in result.output
    assert "warning: only 6 units were tested" in result.output
    assert f"written to {folder / 'attribution.csv'}" in result.output
    assert len((folder / "attribution.csv").read_text().splitlines()) == 1 + 2 + 8 + 3


def test_robust_prints_subsets_and_a_curve(folder: Path) -> None:
    result = run("robust", str(folder), "--cell", CELL, "--draws", "2", "--pattern", "run")
    assert result.exit_code == 0, result.output
    (found,) = robust(folder, [CELL], pattern="run", options=AblationOptions(draws=2))
    (curve,) = found.curves
    subsets, _, curves = result.output.partition("views missing")
    for present, effect in found.subsets[1:-1]:
        scores = share_with_interval(effect.score), signed_with_interval(effect.difference)
        assert line_of(subsets, ",".join(present)) == [",".join(present), *scores]
    assert curve.relative is not None
    assert curve.gain is not None
    assert line_of(curves, "mouth") == [
        "mouth",
        *(share(point.effect.score.value) for point in curve.points),
        share_with_interval(curve.relative),
        signed_with_interval(curve.gain),
    ]
    assert "missing: a run of frames in every clip; late fusion: face,mouth/logit-mean/none" in result.output


def test_without_a_late_fusion_there_is_no_gain(folder: Path) -> None:
    result = run("robust", str(folder), "--cell", "face,mouth/logit-mean", "--draws", "1", "--smoother", "none")
    assert result.exit_code == 0, result.output
    assert "gain" not in result.output
    assert "the folder has no other logit-mean row of these views" in result.output
    assert "not smoothed" in result.output


@pytest.mark.parametrize("command", ["ablate", "robust"])
def test_what_is_wrong_is_one_line(folder: Path, tmp_path: Path, command: str) -> None:
    for words, message in (
        ((str(tmp_path),), "holds no grid"),
        ((str(folder), "--cell", "nope"), "nothing is called 'nope'"),
    ):
        result = run(command, *words)
        assert result.exit_code == 2
        (line,) = result.output.strip().splitlines()
        assert line.startswith("error: ")
        assert message in line


@pytest.mark.parametrize("command", ["ablate", "robust"])
def test_its_help_can_be_read(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0, result.output
    assert "--cell" in result.output
