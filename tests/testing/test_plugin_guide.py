"""The guide to plugins: its code runs, its fusion passes the checks, and it shows the code of the example package."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fusionkit.cli import app
from fusionkit.testing.package_writer import KINDS

ROOT = Path(__file__).parents[2]
GUIDE_FILE = ROOT / "docs/plugins.md"
GUIDE = GUIDE_FILE.read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = GUIDE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


FUSION = blocks("python", README)[0]


def test_the_fusion_of_the_readme_passes_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gated_sum.py").write_text(FUSION, encoding="utf-8")
    (line,) = [line for line in README.splitlines() if "check gated_sum.py" in line]
    result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
    assert result.exit_code == 0, result.output
    assert " 0 failed, 0 expected failure" in result.output


def test_the_guide_shows_the_code_of_the_example_package() -> None:
    shown = [GUIDE_FILE.parent / path for path in re.findall(r"^```\{literalinclude\} (\S+)$", GUIDE, re.MULTILINE)]
    assert all(path.is_file() for path in shown)
    assert {path.stem for path in shown} == {kind.replace("-", "_") for kind in KINDS}


def test_the_test_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "gated_sum.py").write_text(FUSION, encoding="utf-8")
    (source,) = [block for block in blocks("python") if "@parametrize_checks" in block]
    space: dict[str, object] = {}
    exec(compile(source, "test_gated_sum.py", "exec"), space)
    (mark,) = space["test_contract"].pytestmark  # type: ignore[attr-defined]
    assert len(mark.args[1]) > 30
    for case in mark.args[1]:
        with contextlib.suppress(pytest.skip.Exception):
            case.values[0]()


def test_the_entry_point_of_the_guide_is_what_new_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("fusionkit new")]
    assert CliRunner().invoke(app, command.split()[1:]).exit_code == 0
    assert blocks("toml")[0] in Path("slow-gate/pyproject.toml").read_text(encoding="utf-8")
