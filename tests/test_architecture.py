"""The house rules that a reader relies on: imports go one way, the kernel knows no plugin, modules stay small."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
KERNEL = sorted((ROOT / "fusionkit").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))

# From the ground up. A room may import from the rooms below it and from its own row.
ROWS = [
    ["errors"],
    ["contracts"],
    ["options", "spec"],
    ["registry", "views", "identity"],
    ["artifact", "recipe", "splits", "plugin_file", "config_file"],
    ["config", "arrays"],
    ["testing"],
    ["exchange", "stats", "class_stats", "bootstrap", "attribution", "media"],
    ["engine"],
    ["grid"],
    ["training"],
    ["report"],
    ["predict"],
    ["api"],
    ["cli"],
    ["__main__"],
]
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}

PUBLIC = {"contracts", "errors", "registry", "testing"}
HEAVY = {
    "torch",
    "timm",
    "mmengine",
    "sklearn",
    "scipy",
    "cv2",
    "safetensors",
    "accelerate",
    "torchvision",
    "matplotlib",
    "av",
    "altair",
    "jinja2",
    "pandas",
    "vl_convert",
}
MAY_BE_HEAVY = {
    "contracts/fusion.py": {"torch"},
    "engine/batches.py": {"torch"},
    "engine/fit.py": {"torch"},
    "engine/view_heads.py": {"torch"},
    "testing/fusion_inputs.py": {"torch"},
    "testing/fusion_learning.py": {"torch"},
    "testing/fusion_storage.py": {"torch"},
    "testing/fusion_values.py": {"torch"},
    "testing/fusion_views.py": {"torch"},
    "testing/object_graph.py": {"torch"},
    "training/classifier.py": {"torch"},
    "training/joint.py": {"torch"},
    "training/mae.py": {"torch"},
    "training/patches.py": {"torch"},
    "training/stages.py": {"torch"},
}


def module_name(path: Path) -> str:
    base = ROOT / "plugins" if path.is_relative_to(ROOT / "plugins") else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in KERNEL}


def imported(path: Path, nodes: Iterator[ast.AST] | None = None) -> Iterator[tuple[str, str]]:
    """(module, name taken from it, or ``""``) of each import anywhere in a file: in functions and for types too."""
    package = module_name(path).split(".")[: None if path.name == "__init__.py" else -1]
    for node in nodes if nodes is not None else ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def kernel_imports(path: Path, nodes: Iterator[ast.AST] | None = None) -> set[str]:
    """The kernel's modules that a file imports; ``from fusionkit.engine import fit`` imports that module."""
    found = set()
    for module, name in imported(path, nodes):
        if module.partition(".")[0] == "fusionkit":
            below = f"{module}.{name}"
            found.add(below if below in NAMES else module)
    return found


def room(module: str) -> str:
    return module.split(".")[1]


def at_start(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The statements that importing a module runs: not those in functions, nor those for type checkers only."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_start(node.orelse)
            continue
        yield node
        for part in ("body", "orelse", "finalbody"):
            yield from at_start(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            yield from at_start(handler.body)


def test_the_reader_of_imports_sees_them_everywhere(tmp_path: Path) -> None:
    source = (
        "from typing import TYPE_CHECKING\nimport a.b\nif TYPE_CHECKING:\n    import c\nelse:\n    import d\n"
        "class X:\n    import e\ndef f():\n    from g import h\ntry:\n    import i\nexcept ImportError:\n    import j\n"
    )
    tree = ast.parse(source)
    assert {module for module, _ in imported(ROOT / "fusionkit/spec.py", ast.walk(tree))} == {
        "typing",
        *"cdegij",
        "a.b",
    }
    assert {module for module, _ in imported(ROOT / "fusionkit/spec.py", at_start(tree.body))} == {
        "typing",
        "a.b",
        *"deij",
    }
    relative = list(ast.walk(ast.parse("from . import x\nfrom .y import z\nfrom .. import w")))
    inside = set(imported(ROOT / "fusionkit/engine/fit.py", iter(relative)))
    assert inside == {("fusionkit.engine", "x"), ("fusionkit.engine.y", "z"), ("fusionkit", "w")}
    assert kernel_imports(ROOT / "fusionkit/grid/plan.py") >= {"fusionkit.engine.fit", "fusionkit.config"}


def test_every_module_of_the_kernel_stands_in_a_room() -> None:
    rooms = {room(name) for name in NAMES if name != "fusionkit"}
    assert rooms == set(RANK), "a new room is given its row above"


@pytest.mark.parametrize("path", KERNEL, ids=module_name)
def test_imports_go_one_way(path: Path) -> None:
    name = module_name(path)
    if name == "fusionkit":
        started = imported(path, at_start(ast.parse(path.read_bytes()).body))
        assert not {module for module, _ in started if module.startswith("fusionkit")}  # it looks up when asked to
        return
    upward = {other for other in kernel_imports(path) - {"fusionkit"} if RANK[room(other)] > RANK[room(name)]}
    assert not upward, f"{name} imports from above: {', '.join(sorted(upward))}"
    from_face = {what for module, what in imported(path) if module == "fusionkit" and f"fusionkit.{what}" not in NAMES}
    assert from_face <= {"__version__"}


def test_no_module_needs_itself_to_be_imported() -> None:
    graph = {
        module_name(path): kernel_imports(path, at_start(ast.parse(path.read_bytes()).body)) - {module_name(path)}
        for path in KERNEL
    }
    assert set(TopologicalSorter(graph).static_order()) == NAMES  # raises where there is a circle


@pytest.mark.parametrize("path", KERNEL, ids=module_name)
def test_the_kernel_imports_no_plugin(path: Path) -> None:
    assert not {module for module, _ in imported(path) if module.startswith("fusionkit_")}


@pytest.mark.parametrize("path", PLUGINS, ids=module_name)
def test_plugins_use_public_names_only(path: Path) -> None:
    used = {(module, name) for module, name in imported(path) if module.partition(".")[0] == "fusionkit"}
    assert {room(f"{module}.") for module, _ in used} <= PUBLIC
    assert not {name for _, name in used if not name or name.startswith("_")}


def test_no_module_is_long_and_half_of_them_are_short() -> None:
    lengths = {module_name(path): len(path.read_text().splitlines()) for path in KERNEL + PLUGINS}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    assert median(length for length in lengths.values() if length > 1) < 120


@pytest.mark.parametrize("path", KERNEL, ids=module_name)
def test_nothing_heavy_is_imported_before_it_is_needed(path: Path) -> None:
    started = {module.partition(".")[0] for module, _ in imported(path, at_start(ast.parse(path.read_bytes()).body))}
    allowed = MAY_BE_HEAVY.get(path.relative_to(ROOT / "fusionkit").as_posix(), set())
    assert started & HEAVY <= allowed
