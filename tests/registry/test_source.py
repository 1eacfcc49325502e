"""Source of components: what a component imports of its own surroundings decides its results, and nothing else does."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fusionkit.errors import ConfigError
from fusionkit.registry import BACKBONES, FUSIONS, SMOOTHERS, ComponentRegistry
from fusionkit.registry.source import _import_statements, _plugin_packages, changed_files, source_digest, source_files
from fusionkit.registry.spec import Spec
from fusionkit.storage.record import component_record

SMOOTHER = "    def smooth(self, x, n):\n        return x\n"

# By file: the component is mine.Mine.
FILES = {
    "fk_pkg/__init__.py": "",
    "fk_pkg/near.py": "WIDTH = 3\n",
    "fk_pkg/far.py": "DEPTH = 1\n",
    "fk_pkg/late.py": "X = 1\n",
    "fk_pkg/named.py": "X = 1\n",
    "fk_pkg/between.py": "from . import far\nfrom .near import WIDTH\n",
    "fk_pkg/base.py": f"from fusionkit.contracts import Smoother\nclass Base(Smoother):\n{SMOOTHER}",
    "fk_pkg/mine.py": (
        "import importlib\n"
        "import fk_pkg.between as between\n"
        "import fk_other.deep.part\n"
        "from fk_pkg.base import Base\n"
        "class Mine(Base):\n"
        "    def more(self):\n"
        "        from .late import X\n"
        "        return importlib.import_module('fk_pkg.named')\n"
    ),
    "fk_pkg/stranger.py": "from fk_lone import X\n",
    "fk_other/__init__.py": "X = 1\n",
    "fk_other/deep/part.py": "import fk_lone\n",  # without __init__.py: a namespace package
    "fk_other/deep/stranger.py": "X = 1\n",
    "fk_lone.py": "import numpy, json, torch.nn, fusionkit.errors\n",
}


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith(("fk_", "fusionkit_plugin_"))]:
        del sys.modules[name]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., type[Any]]:
    """Writes the files below a folder, some of them changed, and gives the component freshly imported."""

    def make(changed: str = "", folder: str = "here") -> type[Any]:
        for name in [name for name in sys.modules if name.startswith("fk_")]:
            del sys.modules[name]
        root = tmp_path / folder
        for name, text in FILES.items():
            write(root / name, text + ("\nNEW = 1\n" if name == changed else ""))
        monkeypatch.setattr(sys, "path", [str(root), *(each for each in sys.path if str(tmp_path) not in each)])
        importlib.invalidate_caches()
        cls: type[Any] = importlib.import_module("fk_pkg.mine").Mine
        return cls

    return make


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


COUNTED = [name for name in FILES if "stranger" not in name]


@pytest.mark.parametrize("changed", COUNTED)
def test_what_a_component_imports_of_its_surroundings_counts(make: Callable[..., type[Any]], changed: str) -> None:
    before = source_digest(make())
    assert source_digest(make()) == before
    assert source_digest(make(changed)) != before


@pytest.mark.parametrize("changed", ["fk_pkg/stranger.py", "fk_other/deep/stranger.py"])
def test_a_module_that_is_not_imported_does_not_count(make: Callable[..., type[Any]], changed: str) -> None:
    assert source_digest(make(changed)) == source_digest(make())


def test_the_files_are_exactly_the_own_ones_and_nothing_is_imported(make: Callable[..., type[Any]]) -> None:
    make()
    before = set(sys.modules)
    found = {source.module for source in source_files("fk_pkg.mine")}
    paths = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in COUNTED}
    assert found == paths
    assert set(sys.modules) == before
    assert "fk_pkg.late" not in before


def test_the_folder_does_not_count(make: Callable[..., type[Any]]) -> None:
    assert source_digest(make(folder="here")) == source_digest(make(folder="there"))


def test_two_files_that_exchange_their_content_are_another_source(
    make: Callable[..., type[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = "WIDTH = 3\n", "WIDTH = 1\n"
    digests = []
    for contents in ((near, far), (far, near)):
        for name, text in zip(("near", "far"), contents, strict=True):
            monkeypatch.setitem(FILES, f"fk_pkg/{name}.py", text)
        digests.append(source_digest(make()))
    assert digests[0] != digests[1]


def test_a_compiled_module_counts_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    binary = write(tmp_path / f"fk_fast{suffix}", "\0 one")
    write(tmp_path / "fk_mine.py", "def f():\n    import fk_fast\n")
    first = {source.name: source.hash for source in source_files("fk_mine")}
    binary.write_text("\0 two", encoding="utf-8")
    second = {source.name: source.hash for source in source_files("fk_mine")}
    assert set(first) == {"fk_mine", "fk_fast"}
    assert first["fk_mine"] == second["fk_mine"]
    assert first["fk_fast"] != second["fk_fast"]


@pytest.mark.parametrize("text", ["def (:", "x = '\0'", "from ... import beyond\nimport fk_nowhere\n"])
def test_a_module_that_cannot_be_parsed_or_found_counts_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / "fk_broken.py", text)
    write(tmp_path / "fk_mine.py", "def f():\n    import fk_broken\n")
    assert [source.name for source in source_files("fk_mine")] == ["fk_mine", "fk_broken"]


# -- installed distributions -------------------------------------------------------------------------------------------

DISTRIBUTIONS = {
    "fk_mine/__init__.py": f"import fk_core, fk_library\nfrom fusionkit.contracts import Smoother\n"
    f"class Mine(Smoother):\n{SMOOTHER}",
    "fk_core/__init__.py": "X = 1\n",
    "fk_library/__init__.py": "X = 1\n",
    "fk_mine-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: fk-mine\nVersion: 1\n",
    "fk_mine-1.dist-info/entry_points.txt": "[fusionkit.smoothers]\nfk-mine = fk_mine:Mine\n",
    "fk_mine-1.dist-info/RECORD": "fk_mine/__init__.py,,\nfk_core/__init__.py,,\nfk_mine-1.dist-info/METADATA,,\n",
    "fk_library-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: fk-library\nVersion: 1\n",
    "fk_library-1.dist-info/RECORD": "fk_library/__init__.py,,\n",
}


@pytest.mark.parametrize("folder", ["site-packages", "target"])
@pytest.mark.parametrize(("changed", "counts"), [("fk_mine", True), ("fk_core", True), ("fk_library", False)])
def test_of_installed_distributions_those_with_components_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, changed: str, counts: bool
) -> None:
    for name, text in DISTRIBUTIONS.items():
        write(tmp_path / folder / name, text)
    monkeypatch.syspath_prepend(tmp_path / folder)
    from fusionkit.registry.source import installed_entry_points

    for cached in (installed_entry_points, _plugin_packages):
        cached.cache_clear()
    try:
        digests = []
        for extra in ("", "Y = 1\n"):
            path = tmp_path / folder / changed / "__init__.py"
            path.write_text(DISTRIBUTIONS[f"{changed}/__init__.py"] + extra, encoding="utf-8")
            for module in [name for name in sys.modules if name.startswith("fk_")]:
                del sys.modules[module]
            importlib.invalidate_caches()
            digests.append(source_digest(importlib.import_module("fk_mine").Mine))
        assert (digests[0] != digests[1]) == counts
    finally:
        for cached in (installed_entry_points, _plugin_packages):
            cached.cache_clear()


def test_a_first_party_fusion_counts_what_it_imports_and_no_other_fusion() -> None:
    def names(registry: ComponentRegistry, name: str) -> set[str]:
        return {source.module for source in source_files(registry.get(name).__module__)}

    assert names(FUSIONS, "mlp") == {"fusionkit_fusions", "fusionkit_fusions.mlp"}
    assert "fusionkit_fusions.masked_fusion" in names(FUSIONS, "concat")
    assert "fusionkit_fusions.mlp" not in names(FUSIONS, "concat")
    assert "fusionkit_backbones.checkpoint" in names(BACKBONES, "mae-face")
    assert not any(name.partition(".")[0] in ("fusionkit", "torch", "numpy") for name in names(BACKBONES, "mae-face"))


# -- code in memory and on disk ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_file_that_changed_after_its_import_is_refused(make: Callable[..., type[Any]], tmp_path: Path) -> None:
    cls = make()
    SMOOTHERS.register_module("fk-changed", module=cls)
    before = source_digest(cls)
    component_record(SMOOTHERS, Spec("fk-changed"))
    write(tmp_path / "here/fk_pkg/near.py", "WIDTH = 4\n")
    assert source_digest(cls) == before  # that of the code in memory
    assert changed_files(cls) == [tmp_path / "here/fk_pkg/near.py"]
    with pytest.raises(ConfigError, match=r"smoother 'fk-changed': .*near\.py has changed since it was imported"):
        component_record(SMOOTHERS, Spec("fk-changed"))


def test_a_helper_in_memory_keeps_its_hash_for_components_that_come_later(
    make: Callable[..., type[Any]], tmp_path: Path
) -> None:
    source_digest(make())
    write(tmp_path / "here/fk_pkg/near.py", "WIDTH = 4\n")
    write(tmp_path / "here/fk_later.py", f"{FILES['fk_pkg/base.py']}\nfrom fk_pkg.near import WIDTH\n")
    later = importlib.import_module("fk_later").Base
    assert changed_files(later) == [tmp_path / "here/fk_pkg/near.py"]


# -- classes without a file --------------------------------------------------------------------------------------------


def typed(text: str, before: str = "") -> type[Any]:
    """A smoother as it is typed into a notebook, after other lines."""
    space: dict[str, Any] = {"__name__": "typed_in"}
    exec(f"from fusionkit.contracts import Smoother\n{before}\nclass Typed(Smoother):\n{text}", space)
    cls: type[Any] = space["Typed"]
    return cls


def test_a_class_without_a_file_counts_by_its_code() -> None:
    first = "    def smooth(self, x, n):\n        return x + 1\n"
    assert source_digest(typed(first)) == source_digest(typed(first))
    others = [
        "    def smooth(self, x, n):\n        return x + 2\n",
        "    def smooth(self, x, n):\n        return x - 1\n",
        "    def smooth(self, x, n, gain=1):\n        return x + 1\n",
        "    def smooth(self, x, n, gain=2):\n        return x + 1\n",
        "    def smooth(self, x, n):\n        return (lambda y: y + 2)(x)\n",
        "    def smooth(self, x, n):\n        return (lambda y: y + 3)(x)\n",
        first + "    causal = True\n",
        first + "    @property\n    def more(self):\n        return 5\n",
        first + "    @property\n    def more(self):\n        return 6\n",
    ]
    assert len({source_digest(typed(text)) for text in [first, *others]}) == 1 + len(others)


def test_a_class_without_a_file_counts_with_the_globals_that_it_uses() -> None:
    code = "    def smooth(self, x, n):\n        return GAIN * scaled(x, Table)\n"
    before = [
        "GAIN = 1\ndef scaled(x, t):\n    return x\nclass Table:\n    size = 1\n",
        "GAIN = 2\ndef scaled(x, t):\n    return x\nclass Table:\n    size = 1\n",
        "GAIN = 1\ndef scaled(x, t):\n    return -x\nclass Table:\n    size = 1\n",
        "GAIN = 1\ndef scaled(x, t):\n    return x\nclass Table:\n    size = 2\n",
        "GAIN = 1\nMORE = 1\ndef scaled(x, t):\n    return x + MORE\nclass Table:\n    size = 1\n",
        "GAIN = 1\nMORE = 2\ndef scaled(x, t):\n    return x + MORE\nclass Table:\n    size = 1\n",
    ]
    assert len({source_digest(typed(code, text)) for text in before}) == len(before)
    assert source_digest(typed(code, before[0])) == source_digest(typed(code, f"{before[0]}UNUSED = 1\n"))


def test_a_global_that_is_set_later_counts_from_then_on() -> None:
    cls = typed("    def smooth(self, x, n):\n        return x * GAIN\n")
    before = source_digest(cls)
    cls.smooth.__globals__["GAIN"] = 3
    assert source_digest(cls) != before


def test_a_class_without_a_file_counts_with_the_modules_that_it_uses(make: Callable[..., type[Any]]) -> None:
    def digest(changed: str) -> str:
        make(changed)
        cls = typed("    def smooth(self, x, n):\n        return f(x)\n", "from fk_pkg import between as f")
        return source_digest(cls)

    assert digest("") == digest("fk_pkg/stranger.py")
    assert digest("") != digest("fk_pkg/far.py")


def test_imports_in_every_kind_of_statement_are_found(tmp_path: Path) -> None:
    """Each name is imported in another kind of block; the list is by hand."""
    (tmp_path / "blocks.py").write_text(
        """
import a
if 1: import b
else: from .c import d
for _ in (): import e
else: import f
while 0: import g
try: import h
except ValueError: import i
else: import j
finally: import k
with open(0): import l
match 1:
    case 1: import m
class C:
    async def run(self):
        async for _ in self: import n
        async with self: import o
        return lambda: [each for each in ()]
""",
        encoding="utf-8",
    )
    found = {name for name, _ in _import_statements(tmp_path / "blocks.py", "")}
    assert found == set("abefghijklmno") | {".c"}
