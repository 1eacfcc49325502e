"""Behaviour of every command: help, mistyped words, completion, terminals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from command_line import call
from typer.main import get_command
from typer.testing import CliRunner

from fusionkit.cli import app, completion
from fusionkit.cli.console import plain
from fusionkit.registry import EXTRACTORS, REGISTRIES

GROUP = get_command(app)
COMMANDS = [
    (name, *below)
    for name, command in GROUP.commands.items()
    for below in ([(sub,) for sub in command.commands] if hasattr(command, "commands") else [()])
]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, whose output is not a terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    program = Path(sys.executable).with_name("fusionkit")
    return subprocess.run([program, *words], capture_output=True, text=True, env={**kept, **environment})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_and_the_type_of_its_options(words: tuple[str, ...]) -> None:
    result = call(*words, "--help", columns=100)
    assert result.exit_code == 0
    assert re.search(rf"Examples:\s+(torchrun .*)?fusionkit {' '.join(words)}\b", result.output)
    python_types = re.findall(r"(--[a-z-]+) .*<(?:str|path|int|float|list)\b", result.output)
    assert not python_types, "they want a metavar"
    command = GROUP
    for word in words:
        command = command.commands[word]
    assert all(parameter.help for parameter in command.params)
    for parameter in command.params:  # some releases of Typer take a metavar that is the name for the name itself
        assert all(option == option.lower() != f"--{parameter.metavar}".lower() for option in parameter.opts)
    assert "`" not in result.output


@pytest.mark.parametrize("name", ["concat", "smoothers/window", "timm", "folder", "recipe"])
def test_info_shows_no_marks_of_restructured_text(name: str) -> None:
    assert not re.search(r"`|:\w+:`", call("info", name).output)
    assert plain("``a`` of :class:`~x.B`, `c`") == "a of x.B, c"


def test_paragraphs_of_help_flow_with_the_terminal_and_examples_stay_apart() -> None:
    shown = call("bench", "--help", columns=200).output
    assert "The same command again, or a larger grid in the same folder, reuses them." in shown
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
        (
            ["bench", "--class-weights", "none"],
            "error: no such option --class-weights (write --recipe class_weights=...) (fusionkit bench --help)",
        ),
        (["report", "--epochs", "5"], "error: no such option --epochs (fusionkit report --help)"),
        (["--hlep"], "error: no such option --hlep (did you mean '--help'?) (fusionkit --help)"),
        (["report"], "error: missing argument 'DIR' (fusionkit report --help)"),
        (["bench", "a", "b"], "error: got unexpected extra argument(s) (b) (fusionkit bench --help)"),
    ],
)
def test_a_mistyped_word_is_one_line_with_the_right_one(words: list[str], line: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [line]
    assert not result.stdout


@pytest.mark.parametrize(("value", "fact"), [("x", "integer"), ("0", "greater than or equal to 1")])
def test_a_wrong_value_is_one_line_that_names_the_option(value: str, fact: str) -> None:
    result = call("bench", "--seeds", value)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: invalid value for '--seeds'")
    assert fact in line


def test_the_version_is_that_of_the_package() -> None:
    assert call("--version").stdout == f"fusionkit {version('fusionkit')}\n"


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusionkit.doctor.examine", lambda: 1 / 0)
    result = call("doctor")
    assert isinstance(result.exception, ZeroDivisionError)


def test_help_fits_a_narrow_terminal_and_no_option_is_cut_short() -> None:
    shown = call("bench", "--help", columns=60).output
    assert max(len(line) for line in shown.splitlines()) <= 60
    names = [name for parameter in GROUP.commands["bench"].params for name in parameter.opts if "--" in name]
    assert all(name in shown for name in names)


@pytest.mark.slow
def test_tables_fit_a_narrow_terminal_and_have_no_colour_in_a_file() -> None:
    shown = run("list", "fusions", COLUMNS="60").stdout
    assert "plain-concat" in shown
    assert max(len(line) for line in shown.splitlines()) <= 60
    assert "\x1b" not in shown


@pytest.mark.slow
def test_colour_can_be_refused() -> None:
    done = run("benhc", NO_COLOR="1", TERM="xterm")
    assert "'bench'" in done.stderr
    assert "\x1b" not in done.stderr


def complete(*words: str | Path) -> list[str]:
    """Return what bash offers for the last word."""
    line = " ".join(map(str, ["fusionkit", *words]))
    environment = {"_FUSIONKIT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    return CliRunner().invoke(app, [], prog_name="fusionkit", env=environment).stdout.split()


def test_the_shell_completes_commands_and_components_after_the_last_comma() -> None:
    assert complete("rep") == ["report"]
    assert complete("bench", "--fusion", "mlp,plain-c") == ["mlp,plain-concat"]


def test_options_of_components_and_their_values_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces/train").mkdir(parents=True)
    (tmp_path / "fable.txt").touch()
    extractors, datasets = completion.components("extractors"), completion.components("datasets")
    assert extractors("template:") == ["template:layout=", "template:layout=emotic", "template:boxes="]
    assert extractors("template:layout=a") == ["template:layout=arcface"]
    assert datasets("synthetic,folder:ro") == ["synthetic,folder:root=", "synthetic,folder:root=./"]
    assert datasets("folder:root=fa") == ["folder:root=fable.txt", "folder:root=faces/"]
    assert datasets("folder:root=faces/") == ["folder:root=faces/train/"]
    assert datasets("folder:root=nowhere/") == []
    assert datasets("folder:root=faces,syn") == ["folder:root=faces,synthetic"]
    assert datasets("synthetic:seed=2,tra")[0] == "synthetic:seed=2,train="
    assert datasets("nothing:ro") == []
    assert completion.components("smoothers")("window:width=a") == ["window:width=auto"]
    assert completion.components("fusions")("mlp:hidden=[64,128],sele") == ["mlp:hidden=[64,128],select=dev"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["--extractor", "template", ":", "lay"], ["layout=", "layout=emotic"]),
        (["--extractor", "template", ":", "layout", "=", "a"], ["arcface"]),
        (["--extractor", "template", ":", "layout", "="], ["emotic", "arcface"]),
        (["--extractor", "=", "template", ":", "lay"], ["layout=", "layout=emotic"]),
        (["--executor", "=", "ser"], ["serial"]),
        (["--regions", "eye,keep", ":", "mo"], ["mouth"]),
        (["--fusion", "plain-c"], ["plain-concat"]),
        (["--dataset", "folder", ":", "root", "=", "fa"], []),  # a single folder: bash completes it without a space
    ],
)
def test_bash_which_splits_at_colons_and_equals_signs_gets_the_rest_of_the_word(
    words: list[str],
    offered: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces").mkdir()
    line = ["fusionkit", "bench", *words]
    monkeypatch.setenv("_FUSIONKIT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(line))
    monkeypatch.setenv("COMP_CWORD", str(len(line) - 1))
    with pytest.raises(SystemExit), completion.whole_words_of_bash():
        app(prog_name="fusionkit")
    assert capfd.readouterr().out.split() == offered


@pytest.mark.slow
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
def test_views_are_completed_by_their_syntax(incomplete: str, offered: list[str]) -> None:
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
        'views,fusion,smoother\nface,linear,none\n"face,eye",mlp,none\n"face,eye",mlp,window\n', encoding="utf-8"
    )
    assert complete("ablate", tmp_path, "--cell", "face,eye/mlp/w") == ["face,eye/mlp/window"]
    assert complete("ablate", tmp_path / "nowhere", "--cell", "x") == []


@pytest.mark.parametrize(("command", "option"), [("pretrain", "--data"), ("finetune", "--dataset")])
def test_training_takes_data_sets_of_a_plugin_file(
    command: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def stop(*arguments: object) -> None:
        started.append(arguments)
        raise typer.Exit

    monkeypatch.setattr(f"fusionkit.training.{command}.{command}", stop)
    (tmp_path / "own.py").write_text(
        "from fusionkit.registry import DATASETS\n\n"
        "@DATASETS.register_module()\nclass OwnFaces(DATASETS.get('synthetic')):\n    pass\n",
        encoding="utf-8",
    )
    words = command, f"{command}/tiny", option, "own-faces:train=8"
    refused = call(*words)
    assert refused.exit_code == 2
    assert "own-faces" in refused.output
    result = call(*words, "--plugin", tmp_path / "own.py")
    assert result.exit_code == 0, result.output
    assert len(started) == 1


@pytest.mark.slow
def test_what_a_plugin_writes_to_the_descriptor_of_stdout_is_not_in_it(tmp_path: Path) -> None:
    lines = ["import ctypes, os", "print('python')", "os.write(1, b'raw\\n')", "os.system('echo child')"]
    native = "ctypes.CDLL(None).puts(b'native')" if os.name == "posix" else "print('native')"
    (tmp_path / "noisy.py").write_text("\n".join([*lines, native]) + "\n", encoding="utf-8")
    noisy = run("list", "fusions", "--plugin", str(tmp_path / "noisy.py"))
    assert noisy.stdout == run("list", "fusions").stdout
    assert sorted(noisy.stderr.split()) == ["child", "native", "python", "raw"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [["list"], ["--help"], ["--version"], ["doctor", "--json"]])
def test_a_full_disk_behind_stdout_is_one_line(words: list[str]) -> None:
    program = Path(sys.executable).with_name("fusionkit")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run([program, *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: standard output cannot be written: ")
