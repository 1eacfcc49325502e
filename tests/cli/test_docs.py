"""What the README and the docs tell people to type works.

Each command runs as it stands, in a folder with toy data under the names that the pages use, except that ``bench`` only
plans (``--dry-run``), training stops before its first step, and a few lines whose files nobody but the reader has are
parsed and not carried out.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import docs_folder
import pytest
import torch
import typer
from command_line import call, output_of
from docs_folder import CHANGES, PAGES, ROOT, TINY, blocks, fusionkit_commands
from typer.main import get_command

import fusionkit
from fusionkit import api
from fusionkit.cli import app
from fusionkit.registry import LONE_FILE

COMMANDS = fusionkit_commands()
GROUP = get_command(app)
# They name weights, frames that a detector finds, a run, or a challenge's file that only the reader has.
PARSED_ONLY = re.compile(
    r"\.\.\.|\.pth|weights\.safetensors|best/backbone|yunet|insightface|onnx:|cropped_aligned|every=10|\bsubmit\b|\bexport\b|\$head"
    r"|compare swaps A B|fer-fusions|compare over-time|\$task|compare tasks-|root=DFEW"
)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("FUSIONKIT_CACHE", str(place / "cache"))
        patch.setattr("fusionkit.report.page.write.write_report", lambda *_, **__: None)
        docs_folder.build(place)
    return place


@pytest.fixture
def docs_run(made_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in [name for name in sys.modules if name.startswith(LONE_FILE)]:
        monkeypatch.delitem(sys.modules, module)  # a plugin file registers anew in each test
    monkeypatch.chdir(made_once)
    monkeypatch.setenv("FUSIONKIT_CACHE", str(made_once / "cache"))
    return made_once


def test_every_page_is_looked_at_and_has_the_commands_that_it_is_about() -> None:
    assert {"README.md", "docs/tutorial.md", "docs/data.md", "docs/faq.md"} <= set(PAGES)
    assert len(COMMANDS) > 60
    assert {words[0] for words in COMMANDS.values()} >= set(GROUP.commands) - {"cache", "info", "list"}


def test_commands_can_be_parsed() -> None:
    wrong = {}
    for command, words in COMMANDS.items():
        try:
            parsed(words)
        except typer.TyperException as error:
            wrong[command] = str(error)
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in COMMANDS if not PARSED_ONLY.search(command)])
def test_commands_can_be_run(command: str, docs_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = COMMANDS[command]
    trained = []

    def stop(*arguments: object) -> None:
        trained.append(arguments)
        raise typer.Exit

    for function in ("pretrain.pretrain", "finetune.finetune"):
        monkeypatch.setattr(f"fusionkit.training.{function}", stop)
    name = " ".join(words[:2]) if words[0] == "data" else words[0]
    change = CHANGES.get(name, lambda same, _: same)
    result = call(*change(words, tmp_path / "fresh"))
    assert result.exit_code == 0, result.output
    assert bool(trained) == (name in ("pretrain", "finetune"))


def parsed(words: list[str]) -> None:
    command, rest = GROUP, words
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context("fusionkit", rest)


@pytest.mark.parametrize("page", PAGES)
def test_every_bash_block_is_bash(page: str) -> None:
    for block in blocks(page, "bash"):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert not done.stderr, block


def anchors(page: Path) -> set[str]:
    """The headings of a page as a repository's host names them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"])
def test_links_inside_the_repository_lead_somewhere(page: str) -> None:
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / page).read_text(encoding="utf-8")):
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_extras_and_scripts_that_are_named_exist() -> None:
    known = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    )
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"fusionkit\[(\w+)\]", text)) <= known
    lines = [words for page in PAGES for words in docs_folder.command_lines(page) if words[:1] == ["python"]]
    assert lines
    for words in lines:
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in source for word in words[2:] if word.startswith("--")), words


def test_the_first_block_of_the_readme_is_all_the_set_up() -> None:
    assert blocks("README.md", "bash")[0].splitlines() == [
        "pip install -e . && fusionkit bench --regions eye,mouth --fusion concat",
        "pip install -e '.[test]' && pytest -n auto",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "block", "name", "lines"),
    [
        ("README.md", 0, "gated-sum", 25),
        ("docs/tutorial.md", 0, "strongest", 25),
        ("docs/tutorial.md", 1, "lately", 40),
    ],
)
def test_the_fusion_of_a_guide_gets_a_row(
    page: str, block: int, name: str, lines: int, docs_run: Path, tmp_path: Path
) -> None:
    assert len(blocks(page, "python")[block].splitlines()) < lines
    file = f"{name.replace('-', '_')}.py"
    (words,) = [words for words in docs_folder.command_lines(page) if "--plugin" in words and file in words]
    small = f"--dataset {TINY} --recipe epochs=1 --seeds 1 --smoother none --executor serial"
    assert name in output_of(*docs_folder.redirected(words[1:], "--out", str(tmp_path)), *small.split())


@pytest.mark.slow
def test_the_python_of_the_tutorial_runs(
    docs_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = partial(api.bench, datasets=[TINY], seeds=1, recipe={"epochs": 1}, executor="serial")
    monkeypatch.setattr(api, "bench", small)
    space: dict[str, object] = {}
    exec(blocks("docs/tutorial.md", "python")[-1], space)
    assert "mlp" in capsys.readouterr().out
    assert len(space["frame"]) == len(space["results"].rows)  # type: ignore[arg-type, attr-defined]


def test_weights_beside_other_objects_are_taken_out_as_the_faq_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.chdir(tmp_path)
    weight = torch.arange(6.0).reshape(2, 3).T
    torch.save({"state_dict": {"weight": weight}, "settings": Path("object")}, "theirs.pth")
    exec(blocks("docs/faq.md", "python")[0], {})
    assert torch.equal(load_file("theirs.safetensors")["weight"], weight)


def test_all_other_python_is_python() -> None:
    for page in PAGES:
        for block in blocks(page, "python"):
            ast.parse(block)


def test_fusionkit_has_what_the_reference_lists() -> None:
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    own = [name for name in dir(api) if getattr(getattr(api, name), "__module__", "") == api.__name__]
    assert len(own) > 30
    for name in [*fusionkit.__all__, *own]:
        assert name.startswith("_") or name in page, name


def test_the_readme_counts_the_components() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\nIncluded: ")[2].partition("`fusionkit")[0]
    stated = re.findall(r"(\d+)\s+(fusions|smoothers|data sets|backbones|region extractors|tasks)", text)
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    named = {kind: "fusionkit." + kind.replace("data sets", "datasets").split()[-1] for _, kind in stated}
    assert len(named) == 6
    assert {kind: int(count) for count, kind in stated} == {kind: len(groups[group]) for kind, group in named.items()}
