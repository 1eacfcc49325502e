"""Rules of the code base: imports go down, the kernel knows no plugin, the CLI calls the API, start-up stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNEL = sorted((ROOT / "fusionkit").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))

# From the bottom up. A room imports from rooms below it, and from itself.
ROOMS = [
    *("_version", "errors", "contracts", "registry", "storage", "stats", "config", "testing", "media", "engine"),
    *("grid", "data", "doctor", "training", "report", "predict", "api", "cli", "__main__"),
]
RANK = {room: rank for rank, room in enumerate(ROOMS)}
AT_THE_ROOT = {"__init__", "__main__", "_version", "api", "errors"}
OF_THE_CLI = {"api", "cli", "errors", "_version"}
PUBLIC = {"contracts", "errors", "registry", "testing"}


def module_name(path: Path) -> str:
    base = ROOT / "plugins" if path.is_relative_to(ROOT / "plugins") else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in KERNEL}


def imported(path: Path, source: bytes | None = None) -> Iterator[tuple[str, str]]:
    """(module, imported name or ``""``) of each import anywhere in a file, in functions and for type checkers too."""
    package = module_name(path).split(".")[: None if path.name == "__init__.py" else -1]
    for node in ast.walk(ast.parse(path.read_bytes() if source is None else source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


@cache
def imports_of(path: Path) -> tuple[tuple[str, str], ...]:
    return tuple(imported(path))


def kernel_imports(path: Path) -> set[str]:
    """Kernel modules that a file imports; ``from fusionkit.engine import fit`` imports ``fusionkit.engine.fit``."""
    found = set()
    for module, name in imports_of(path):
        if module.partition(".")[0] == "fusionkit":
            below = f"{module}.{name}"
            found.add(below if below in NAMES else module)
    return found


def room(module: str) -> str:
    return module.split(".")[1]


def test_imports_are_found_in_functions_and_type_checking_blocks() -> None:
    source = (
        b"from typing import TYPE_CHECKING\nimport a.b\nif TYPE_CHECKING:\n    import c\nelse:\n    import d\n"
        b"class X:\n    import e\ndef f():\n    from g import h\n"
        b"try:\n    import i\nexcept ImportError:\n    import j\n"
    )
    found = {module for module, _ in imported(ROOT / "fusionkit/api.py", source)}
    assert found == {"typing", "a.b", *"cdegij"}
    relative = set(imported(ROOT / "fusionkit/engine/fit.py", b"from . import x\nfrom .y import z\nfrom .. import w"))
    assert relative == {("fusionkit.engine", "x"), ("fusionkit.engine.y", "z"), ("fusionkit", "w")}
    assert kernel_imports(ROOT / "fusionkit/grid/plan.py") >= {"fusionkit.engine.fit"}


def test_the_package_has_five_modules_at_its_root_and_known_rooms() -> None:
    assert {path.stem for path in (ROOT / "fusionkit").glob("*.py")} == AT_THE_ROOT
    assert {room(name) for name in NAMES - {"fusionkit"}} == set(RANK), "give a new room its rank in ROOMS"


def test_imports_go_down() -> None:
    upward = [
        f"{module_name(path)} imports {other}"
        for path in KERNEL
        if path.name != "__init__.py" or path.parent.name != "fusionkit"
        for other in sorted(kernel_imports(path) - {"fusionkit"})
        if RANK[room(other)] > RANK[room(module_name(path))]
    ]
    assert upward == []


def test_no_circle_of_imports() -> None:
    graph = {module_name(path): kernel_imports(path) - {module_name(path)} for path in KERNEL}
    graph.pop("fusionkit")  # it looks up its public names when they are asked for
    assert set(TopologicalSorter(graph).static_order()) == NAMES - {"fusionkit"}  # raises CycleError, naming them


def test_the_cli_imports_the_api_only() -> None:
    past = [
        f"{module_name(path)} imports {other}"
        for path in (ROOT / "fusionkit/cli").glob("*.py")
        for other in sorted(kernel_imports(path))
        if room(other) not in OF_THE_CLI
    ]
    assert past == []


def test_the_kernel_imports_no_plugin() -> None:
    found = [
        f"{module_name(path)} imports {module}"
        for path in KERNEL
        for module, _ in imports_of(path)
        if module.startswith("fusionkit_")
    ]
    assert found == []


def test_plugins_use_public_names_only() -> None:
    private = [
        f"{module_name(path)} imports {module}.{name}"
        for path in PLUGINS
        for module, name in imports_of(path)
        if module.partition(".")[0] == "fusionkit"
        and (room(f"{module}.") not in PUBLIC or not name or name.startswith("_"))
    ]
    assert private == []


def test_paths_are_expanded_by_one_function() -> None:
    others = [path for path in (*KERNEL, *PLUGINS) if path.name != "errors.py" and b"expanduser" in path.read_bytes()]
    assert others == [], "use fusionkit.errors.expanded, which raises nothing for ~nobody"


def test_light_imports_load_nothing_heavy() -> None:
    light = ["fusionkit", "fusionkit.api", "fusionkit.registry", "fusionkit.errors"]
    light += [name for name in sorted(NAMES) if name.startswith("fusionkit.cli")]
    heavy = ["torch", "timm", "mmengine", "sklearn", "scipy", "cv2", "matplotlib", "altair", "pandas", "av", "jinja2"]
    script = f"import sys, {', '.join(light)}\nprint(*sorted({{*{heavy}, 'numpy'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
