"""Lone files and modules that register components."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusionkit.errors import ConfigError, PluginError
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.plugin_file import load_module, load_plugin_file

SOURCE = """
from fusionkit.contracts import Smoother
from fusionkit.registry import SMOOTHERS

@SMOOTHERS.register_module({name!r})
class Lone(Smoother):
    answer = {answer}
    def smooth(self, x, frame_numbers):
        return x
"""


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Leave the registry and the loaded modules as they were."""
    registered, modules = dict(SMOOTHERS._registered), set(sys.modules)
    yield
    for name in set(SMOOTHERS._registered) - set(registered):
        del SMOOTHERS._registered[name]
        SMOOTHERS._classes.module_dict.pop(name)
    for name in set(sys.modules) - modules:
        if name.startswith("fusionkit_plugin_") or name == "fk_test_project":
            del sys.modules[name]


def write(path: Path, name: str = "lone-test", answer: int = 1) -> str:
    path.write_text(SOURCE.format(name=name, answer=answer))
    return str(path)


def test_a_file_registers_what_it_decorates_and_is_named_as_the_origin(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py")
    load_plugin_file(path)
    assert SMOOTHERS.get("lone-test").answer == 1
    assert SMOOTHERS.origins()["lone-test"][0].provider == f"file {path}"


def test_a_file_is_imported_once_whatever_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "mine.py")
    load_plugin_file(path)
    first = SMOOTHERS.get("lone-test")
    monkeypatch.chdir(tmp_path)
    for again in (path, "mine.py", "../" + tmp_path.name + "/mine.py"):
        load_plugin_file(again)
    assert SMOOTHERS.get("lone-test") is first


def test_a_file_that_has_changed_is_imported_again(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", answer=1)
    load_plugin_file(path)
    write(tmp_path / "mine.py", answer=2)
    load_plugin_file(path)
    assert SMOOTHERS.get("lone-test").answer == 2


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    for folder, name in (("a", "lone-a"), ("b", "lone-b")):
        (tmp_path / folder).mkdir()
        load_plugin_file(write(tmp_path / folder / "mine.py", name))
    assert {"lone-a", "lone-b"} <= set(SMOOTHERS.names())


def test_a_name_that_is_taken_is_refused_naming_both_files(tmp_path: Path) -> None:
    load_plugin_file(write(tmp_path / "one.py"))
    with pytest.raises(PluginError) as refused:
        load_plugin_file(write(tmp_path / "two.py"))
    message = str(refused.value)
    assert "'lone-test' is registered twice" in message
    assert str(tmp_path / "one.py") in message
    assert str(tmp_path / "two.py") in message


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("def (:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("raise SystemExit('done')", "SystemExit: done"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
    ],
)
def test_a_file_that_fails_is_reported_on_one_line_with_its_cause_and_may_be_corrected(
    tmp_path: Path, source: str, cause: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source + "\n")
    with pytest.raises(PluginError) as refused:
        load_plugin_file(str(path))
    assert f"plugin {str(path)!r} cannot be imported: {cause}" in str(refused.value)
    assert "\n" not in str(refused.value)
    write(path)
    load_plugin_file(str(path))
    assert SMOOTHERS.get("lone-test").answer == 1


@pytest.mark.parametrize("path", ["nothing.py", ".", "text.txt", "~nobody-of-this-name/x.py", "a\0b.py", ""])
def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("x = 1\n")
    with pytest.raises(ConfigError, match="plugin "):
        load_plugin_file(path)


def test_a_module_is_imported_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "fk_test_project.py", "project-test")
    monkeypatch.syspath_prepend(tmp_path)
    load_module("fk_test_project")
    assert SMOOTHERS.origins()["project-test"][0].provider == "module fk_test_project"


def test_a_missing_module_is_reported_on_one_line() -> None:
    with pytest.raises(PluginError, match="custom_imports: 'nothing_like_it' cannot be imported: ModuleNotFoundError"):
        load_module("nothing_like_it")
