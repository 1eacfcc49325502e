"""How the command line behaves, whatever the command: help, mistyped words, completion, terminals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from fusionkit.cli import app, completion, finetune, pretrain
from fusionkit.registry import EXTRACTORS, REGISTRIES

GROUP = get_command(app)
COMMANDS = [
    (name, *below)
    for name, command in GROUP.commands.items()
    for below in ([(sub,) for sub in command.commands] if hasattr(command, "commands") else [()])
]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, whose output is no terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    program = Path(sys.executable).with_name("fusionkit")
    return subprocess.run([program, *words], capture_output=True, text=True, env={**kept, **environment})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_and_says_what_its_options_take(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert re.search(rf"Examples:\s+(torchrun .*)?fusionkit {' '.join(words)}\b", result.output)
    python_types = re.findall(r"(--[a-z-]+) .*<(?:str|path|int|float|list)\b", result.output)
    assert not python_types, "they want a metavar"
    command = GROUP
    for word in words:
        command = command.commands[word]
    assert all(parameter.help for parameter in command.params)


def test_paragraphs_of_help_flow_with_the_terminal_and_examples_stay_apart() -> None:
    shown = CliRunner().invoke(app, ["bench", "--help"], env={"COLUMNS": "200"}).output
    assert (
        "Each piece of work is done once and kept: the same command again, or a larger grid in the same folder" in shown
    )
    assert "\n   fusionkit bench bench/regions --seeds 3 --dry-run" in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["benhc"], "error: no such command 'benhc'. Did you mean 'bench'? (fusionkit --help)"),
        (["data", "chekc"], "error: no such command 'chekc'. Did you mean 'check'? (fusionkit data --help)"),
        (
            ["bench", "--dry-rnu"],
            "error: no such option --dry-rnu (did you mean '--dry-run'?) (fusionkit bench --help)",
        ),
        (["--hlep"], "error: no such option --hlep (did you mean '--help'?) (fusionkit --help)"),
        (["report"], "error: missing argument 'DIR' (fusionkit report --help)"),
        (["bench", "a", "b"], "error: got unexpected extra argument(s) (b) (fusionkit bench --help)"),
    ],
)
def test_a_mistyped_word_is_one_line_with_what_would_be_right(words: list[str], line: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [line]
    assert not result.stdout


@pytest.mark.parametrize(("value", "said"), [("x", "'--seeds'"), ("0", "greater than or equal to 1")])
def test_a_wrong_value_is_one_line_that_names_the_option(value: str, said: str) -> None:
    result = CliRunner().invoke(app, ["bench", "--seeds", value])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: invalid value for '--seeds'")
    assert said in line


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"fusionkit {version('fusionkit')}\n"


def test_an_error_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusionkit.doctor.examine", lambda: 1 / 0)
    result = CliRunner().invoke(app, ["doctor"])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("words", [("--help",), ("bench", "--help"), ("list", "fusions")], ids=" ".join)
def test_a_narrow_terminal_is_kept_to_and_no_option_is_cut_short(words: tuple[str, ...]) -> None:
    shown = run(*words, COLUMNS="60").stdout
    assert max(len(line) for line in shown.splitlines()) <= 60
    if "bench" in words:
        names = [name for parameter in GROUP.commands["bench"].params for name in parameter.opts if "--" in name]
        assert all(name in shown for name in names)


@pytest.mark.parametrize(("words", "environment"), [("list", {}), ("benhc", {"NO_COLOR": "1", "TERM": "xterm"})])
def test_nothing_is_coloured_where_nobody_looks_or_colour_is_refused(words: str, environment: dict[str, str]) -> None:
    done = run(words, **environment)
    assert done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def complete(*words: str) -> list[str]:
    """What bash is offered after the last word."""
    done = run(
        _FUSIONKIT_COMPLETE="complete_bash",
        COMP_WORDS=" ".join(["fusionkit", *words]),
        COMP_CWORD=str(len(words)),
    )
    return done.stdout.split()


def test_the_shell_completes_commands_and_components_after_the_last_comma() -> None:
    assert complete("rep") == ["report"]
    assert complete("bench", "--fusion", "mlp,plain-c") == ["mlp,plain-concat"]


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import os, sys\n"
        "os.environ.update(_FUSIONKIT_COMPLETE='complete_bash', COMP_CWORD='3')\n"
        "os.environ['COMP_WORDS'] = 'fusionkit bench --fusion c'\n"
        "sys.argv = ['fusionkit']\n"
        "from fusionkit.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'mmengine', 'cv2'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "concat" in done.stdout.split()
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("incomplete", "offered"),
    [
        ("", ["face", "brow", "eye", "mouth", "nose", "keep:", "drop:"]),
        ("eye,mo", ["eye,mouth"]),
        ("eye+n", ["eye+nose"]),
        ("face,drop:m", ["face,drop:mouth"]),
    ],
)
def test_views_are_completed_in_their_own_language(incomplete: str, offered: list[str]) -> None:
    assert completion.views(incomplete) == offered


def test_the_regions_that_are_offered_are_those_of_the_default_extractor() -> None:
    assert set(completion.REGIONS) == set(EXTRACTORS.build("template").regions)


def test_configs_kinds_and_names_are_completed() -> None:
    assert completion.configs("")("bench/q") == ["bench/quickstart"]
    assert completion.configs("pretrain")("") == ["pretrain/embedded", "pretrain/mae_face_vitb", "pretrain/tiny"]
    assert completion.kinds("f") == ["fusions"]
    assert completion.kind("f") == ["fusion"]
    assert completion.component("updown-m") == ["updown-mean"]
    assert completion.components("smoothers")("hmm-") == ["hmm-filter"]
    assert set(completion.kinds("")) == set(REGISTRIES)


def test_rows_are_completed_from_the_folder_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(
        'views,fusion,smoother\nface,linear,none\n"face,eye",mlp,none\n"face,eye",mlp,window\n'
    )
    command = "ablate", str(tmp_path), "--cell", "face,eye/mlp/w"
    assert complete(*command) == ["face,eye/mlp/window"]
    assert complete("ablate", str(tmp_path / "nowhere"), "--cell", "x") == []


@pytest.mark.parametrize(("command", "option"), [(pretrain, "--data"), (finetune, "--dataset")])
def test_training_takes_data_sets_of_a_lone_file(
    command: ModuleType, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = []
    monkeypatch.setattr(command, "_run", lambda *arguments: resolved.append(arguments))
    (tmp_path / "own.py").write_text(
        "from fusionkit.registry import DATASETS\n\n"
        "@DATASETS.register_module()\nclass OwnFaces(DATASETS.get('synthetic')):\n    pass\n"
    )
    name = command.__name__.rpartition(".")[2]
    words = [name, f"{name}/tiny", option, "own-faces:train=8"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "own-faces" in refused.output
    result = CliRunner().invoke(app, [*words, "--plugin", str(tmp_path / "own.py")])
    assert result.exit_code == 0, result.output
    assert len(resolved) == 1
