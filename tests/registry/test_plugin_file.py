"""Lone files and modules that register components."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusionkit.errors import ConfigError, PluginError
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.plugin_file import load_module, load_plugin_file
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity

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
        if name.startswith(("fusionkit_plugin_", "fk_")):
            del sys.modules[name]


def write(path: Path, name: str = "lone-test", answer: int = 1) -> str:
    path.write_text(SOURCE.format(name=name, answer=answer), encoding="utf-8")
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


# -- modules beside a plugin file --------------------------------------------------------------------------------------

BESIDE = """
import fk_package.deep
import fk_helper as named
from fk_helper import GAIN
from .fk_helper import GAIN as RELATIVE
from fusionkit.contracts import Smoother
from fusionkit.registry import SMOOTHERS

@SMOOTHERS.register_module({name!r})
class Beside(Smoother):
    def smooth(self, x, frame_numbers):
        from fk_late import MORE  # imported when it is called, long after the file was loaded
        return x * GAIN + MORE * fk_package.deep.ONE
"""


def beside(folder: Path, name: str, gain: int, more: int) -> str:
    """Write a plugin file and its helpers into a folder: it maps x to gain * x + more."""
    (folder / "fk_package").mkdir(parents=True, exist_ok=True)
    (folder / "fk_package/__init__.py").write_text("", encoding="utf-8")
    (folder / "fk_package/deep.py").write_text("ONE = 1\n", encoding="utf-8")
    (folder / "fk_helper.py").write_text(
        "from fk_constants import GAIN as HIDDEN\nGAIN = HIDDEN + 0\n", encoding="utf-8"
    )
    (folder / "fk_constants.py").write_text(f"GAIN = {gain}\n", encoding="utf-8")
    (folder / "fk_late.py").write_text(f"MORE = {more}\n", encoding="utf-8")
    (folder / "mine.py").write_text(BESIDE.format(name=name), encoding="utf-8")
    return str(folder / "mine.py")


def result(name: str) -> float:
    return float(SMOOTHERS.get(name)().smooth(10, None))


def test_a_file_imports_what_is_beside_it_and_two_folders_do_not_meet(tmp_path: Path) -> None:
    before = list(sys.path)
    paths = [beside(tmp_path / folder, f"beside-{folder}", *values) for folder, *values in (("a", 2, 3), ("b", 5, 7))]
    for path in paths:
        load_plugin_file(path)
    assert (result("beside-a"), result("beside-b")) == (23, 57)
    assert sys.path == before
    assert not {"fk_helper", "fk_constants", "fk_late", "fk_package"} & set(sys.modules)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("fk_helper")


@pytest.mark.parametrize(("file", "expected"), [("fk_constants.py", 33), ("fk_late.py", 23)])
def test_a_changed_helper_is_another_identity_and_its_code_runs(tmp_path: Path, file: str, expected: int) -> None:
    path = beside(tmp_path, "beside-test", 2, 3)
    load_plugin_file(path)
    before = component_identity(SMOOTHERS, Spec("beside-test"))
    assert result("beside-test") == 23
    load_plugin_file(path)
    assert component_identity(SMOOTHERS, Spec("beside-test")) == before
    (tmp_path / file).write_text(
        (tmp_path / file).read_text(encoding="utf-8").replace("2", "3").replace("MORE = 3", "MORE = 3 + 0"),
        encoding="utf-8",
    )
    load_plugin_file(path)
    assert result("beside-test") == expected
    assert component_identity(SMOOTHERS, Spec("beside-test")) != before


def test_a_copy_of_the_folder_and_another_name_of_the_file_are_the_same_component(tmp_path: Path) -> None:
    digests = []
    for folder, name in (("a", "mine.py"), ("b/c", "yours.py")):
        path = Path(beside(tmp_path / folder, "beside-test", 2, 3))
        load_plugin_file(str(path.rename(path.with_name(name))))
        digests.append(component_identity(SMOOTHERS, Spec("beside-test")))
        SMOOTHERS._registered.pop("beside-test")
    assert digests[0] == digests[1]


def test_a_helper_that_failed_may_be_corrected(tmp_path: Path) -> None:
    path = beside(tmp_path, "beside-test", 2, 3)
    (tmp_path / "fk_constants.py").write_text("NOTHING = 1\n", encoding="utf-8")
    with pytest.raises(PluginError, match="cannot import name 'GAIN'"):
        load_plugin_file(path)
    (tmp_path / "fk_constants.py").write_text("GAIN = 4\n", encoding="utf-8")
    load_plugin_file(path)
    assert result("beside-test") == 43


def test_two_files_of_one_folder_share_their_helpers(tmp_path: Path) -> None:
    (tmp_path / "fk_base.py").write_text("class Shared: pass\n", encoding="utf-8")
    for name in ("one", "two"):
        (tmp_path / f"fk_{name}.py").write_text(
            f"from fk_base import Shared\n{SOURCE.format(name=f'shared-{name}', answer=1)}\n    shared = Shared\n",
            encoding="utf-8",
        )
        load_plugin_file(str(tmp_path / f"fk_{name}.py"))
    assert SMOOTHERS.get("shared-one").shared is SMOOTHERS.get("shared-two").shared


def test_a_module_that_is_importable_anyway_is_not_loaded_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = beside(tmp_path, "beside-test", 2, 3)
    with monkeypatch.context() as context:
        context.syspath_prepend(tmp_path)
        load_plugin_file(path)
        assert result("beside-test") == 23
        assert "fk_helper" in sys.modules
        first = component_identity(SMOOTHERS, Spec("beside-test"))
    for name in [name for name in sys.modules if name.startswith(("fk_", "fusionkit_plugin_"))]:
        del sys.modules[name]
    load_plugin_file(path)
    assert component_identity(SMOOTHERS, Spec("beside-test")) == first  # wherever its helpers are found


def test_a_file_with_the_name_of_a_library_imports_the_library(tmp_path: Path) -> None:
    path = tmp_path / "numpy.py"
    path.write_text(
        f"import numpy\nimport fusionkit.errors\nPI = numpy.pi\n{SOURCE.format(name='lone-test', answer=1)}",
        encoding="utf-8",
    )
    (tmp_path / "fusionkit").mkdir()
    (tmp_path / "fusionkit/__init__.py").write_text("raise RuntimeError('a copy of the kernel')\n", encoding="utf-8")
    (tmp_path / "torch").mkdir()  # a folder without __init__.py hides nothing
    (tmp_path / "other.py").write_text("import torch, time\nTENSOR = torch.tensor\n", encoding="utf-8")
    load_plugin_file(str(path))
    load_plugin_file(str(tmp_path / "other.py"))
    assert SMOOTHERS.get("lone-test").answer == 1


def test_the_innermost_line_of_the_plugin_is_named_not_that_of_a_library(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import os\nimport beside_it\n", encoding="utf-8")
    (tmp_path / "beside_it.py").write_text("import json\n\njson.loads('{')\n", encoding="utf-8")
    with pytest.raises(PluginError) as refused:
        load_plugin_file(str(tmp_path / "mine.py"))
    assert str(refused.value).endswith(f" ({tmp_path / 'beside_it.py'}, line 3)")


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
    path.write_text(source + "\n", encoding="utf-8")
    with pytest.raises(PluginError) as refused:
        load_plugin_file(str(path))
    assert f"plugin {str(path)!r} cannot be imported: {cause}" in str(refused.value)
    assert str(refused.value).endswith("mine.py, line 1)")
    assert "\n" not in str(refused.value)
    write(path)
    load_plugin_file(str(path))
    assert SMOOTHERS.get("lone-test").answer == 1


@pytest.mark.parametrize("path", ["nothing.py", ".", "text.txt", "~nobody-of-this-name/x.py", "a\0b.py", ""])
def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("x = 1\n", encoding="utf-8")
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
