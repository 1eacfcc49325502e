"""The package as a whole: dependencies and extras are those that are imported, and text has a stated encoding."""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from fusionkit.errors import ConfigError
from fusionkit.grid.ray_executor import ray_module
from fusionkit.media.video import Video
from fusionkit.media.video_writer import VideoWriter
from fusionkit.report.run import Results
from fusionkit.training.images import VideoFrames
from fusionkit.training.processes import start_processes
from fusionkit_datasets.embeddings import Embeddings
from fusionkit_datasets.hub import Hub

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
    assert "timm" in IMPORTED
    assert "PIL" in IMPORTED


def test_every_dependency_is_imported() -> None:
    assert named(PROJECT["dependencies"]) - set().union(*IMPORTED.values()) == set()


CALLS = [
    ("accelerate", "train", "training", lambda _: start_processes("cpu", "float32")),
    ("av", "video", "{}", lambda path: list(Video(path).frames())),
    ("av", "video", "{}", VideoWriter),
    ("av", "video", "{}", lambda path: len(VideoFrames(path))),
    ("datasets", "hub", "hub: {}", lambda path: Hub(path=str(path))),
    ("pandas", "pandas", r"to_frame\(\)", lambda _: Results.to_frame(SimpleNamespace())),
    ("pyarrow", "parquet", "embeddings: {}", lambda path: Embeddings(path=path.with_suffix(".parquet"))),
    ("ray", "ray", "--executor ray", lambda _: ray_module()),
]


@pytest.mark.parametrize(("module", "name", "use", "call"), CALLS)
def test_a_missing_extra_is_named(
    module: str, name: str, use: str, call: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "clip.mp4"
    for file in (path, path.with_suffix(".parquet")):
        file.write_bytes(bytes(100))
    beginning = use.format(r"\S+clip\.\w+")
    with pytest.raises(
        ConfigError, match=rf"^{beginning}: {module} is not installed \(pip install 'fusionkit\[{name}\]'\)$"
    ):
        call(path)


def test_each_extra_holds_what_is_imported_under_its_name() -> None:
    tested_elsewhere = {"demo", "heif", "onnx"}  # with the page, the reading of images, and export
    assert {name for _, name, _, _ in CALLS} | tested_elsewhere == EXTRAS.keys() - {"all", "test", "docs", "dev"}
    assert all(module in named(EXTRAS[name]) for module, name, _, _ in CALLS)
    assert not named(PROJECT["dependencies"]) & {module for module, *_ in CALLS}
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.extras == EXTRAS.keys() - {"all", "test", "docs", "dev"}


TEXT_FILE = {"read_text", "write_text", "fdopen"}
OTHER_OPENERS = (
    "os",
    "_upright(item, options, notes)",
    "av",
    "archive",
    "item",
    "options",
    "result.source",
    "webbrowser",
    "PixelTable",
    "Image",
)


def without_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the system, which is another one on Windows."""
    if any(keyword.arg in {"encoding", None} for keyword in call.keywords):
        return False
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    if any(isinstance(value, ast.Constant) and value.value in {"rb", "wb", "ab", "w+b", "r+b"} for value in values):
        return False
    if not isinstance(call.func, ast.Attribute):
        text = any(isinstance(value, ast.Constant) and value.value == "r" for value in values)
        return isinstance(call.func, ast.Name) and (call.func.id == "open" or (call.func.id == "open_file" and text))
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
