"""The package as a whole: the dependencies are those that are imported, and text has a stated encoding."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OF_THE_WHEEL = [*(ROOT / "fusionkit").rglob("*.py"), *ROOT.glob("plugins/fusionkit_*/**/*.py")]
OURS = {"fusionkit", *(path.name for path in ROOT.glob("plugins/fusionkit_*"))}


def normalised(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def named(requirements: list[str]) -> set[str]:
    return {normalised(Requirement(text).name) for text in requirements}


def libraries() -> Iterator[tuple[str, Path]]:
    """(top-level module, file that imports it) of each import of another package, in functions too."""
    for path in OF_THE_WHEEL:
        for node in ast.walk(ast.parse(path.read_bytes())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            for module in modules:
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in OURS:
                    yield top, path


INSTALLED = packages_distributions()
IMPORTED = {
    top: {normalised(name) for name in INSTALLED.get(top, [top])}
    for top, path in libraries()
    if (top, path.name) != ("pytest", "parametrize.py")  # a plugin's tests, which pytest itself runs
}


def test_every_library_that_is_imported_is_declared() -> None:
    declared = named(PROJECT["dependencies"]).union(
        *(named(listed) for extra, listed in EXTRAS.items() if extra not in {"test", "docs", "dev"})
    )
    assert {top for top, names in IMPORTED.items() if not names & declared} == set()
    assert "torchvision" in IMPORTED
    assert "PIL" in IMPORTED


def test_every_dependency_is_imported() -> None:
    assert named(PROJECT["dependencies"]) - set().union(*IMPORTED.values()) == set()


TEXT_FILE = {"read_text", "write_text", "fdopen"}
OTHER_OPENERS = ("os", "av", "archive", "item", "options", "result.source", "PixelTable", "Image")


def without_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the system, which is another one on Windows."""
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    if any(isinstance(value, ast.Constant) and value.value in {"rb", "wb", "ab", "w+b", "r+b"} for value in values):
        return False
    if not isinstance(call.func, ast.Attribute):
        return isinstance(call.func, ast.Name) and call.func.id == "open"
    opens = call.func.attr == "open" and ast.unparse(call.func.value) not in OTHER_OPENERS
    process = ast.unparse(call.func.value) == "subprocess" and any(keyword.arg == "text" for keyword in call.keywords)
    return opens or process or call.func.attr in TEXT_FILE


def test_text_is_read_and_written_in_a_stated_encoding() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in OF_THE_WHEEL
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and without_encoding(node)
    ]
    assert found == []
    assert without_encoding(ast.parse("path.read_text()", mode="eval").body)  # type: ignore[arg-type]
