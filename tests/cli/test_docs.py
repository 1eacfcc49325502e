"""What the README and the docs tell people to type works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fusionkit.cli import app

ROOT = Path(__file__).parents[2]
PIPELINE = "paper/pipeline_tiny"  # its commands go together: test_paper_pipeline.py
SMALL = "--dataset synthetic:train=8,val=6,test=6,clips=4,clip_length=8 --recipe epochs=1 --seeds 1 --smoother none"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every ``fusionkit`` command in README and docs that needs no data, files or cluster of the reader's own."""
    found = [
        line.partition("#")[0].strip()
        for name in ("README.md", "docs/plugins.md", "docs/results.md", "docs/paper.md")
        for block in blocks(name, "bash")
        if PIPELINE not in block
        for line in block.splitlines()
        if line.startswith("fusionkit ")
    ]
    own = ("root=faces", "gated_sum.py", "root=Aff-Wild2", "fusionkit submit")
    return [line for line in found if not any(text in line for text in own)]


@pytest.mark.parametrize("command", commands())
def test_commands_can_be_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = command.split()[1:]
    words += ["--dry-run"] if words[0] == "bench" and "--dry-run" not in words else []
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


def test_the_first_block_of_the_readme_is_all_the_set_up() -> None:
    assert blocks("README.md", "bash")[0].splitlines() == [
        "pip install -e . && fusionkit bench --regions eye,mouth --fusion concat",
        "pip install -e '.[test]' && pytest",
    ]


def test_the_fusion_of_the_plugin_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = blocks("docs/plugins.md", "python")[0]
    assert len(source.splitlines()) < 25
    Path("gated_sum.py").write_text(source)
    command = next(line for block in blocks("docs/plugins.md", "bash") for line in block.splitlines())
    result = CliRunner().invoke(app, [*command.split()[1:], *SMALL.split(), "--executor", "serial"])
    assert result.exit_code == 0, result.output
    assert "gated-sum" in result.output


def test_face_and_sound_of_the_data_guide_run_and_print_their_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (source,) = [block for block in blocks("docs/data.md", "python") if "from_arrays" in block]
    exec(compile(source, "sound.py", "exec"), {})
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("face")]
    assert [row[:2] for row in rows] == [["face", "linear"], ["face,sound", "mlp"], ["face,sound", "gated"]]
    alone, *both = [float(row[3]) for row in rows]
    assert alone < 0.5 < 0.6 < min(both), "the face tells half of the label"
