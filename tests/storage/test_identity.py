"""Identity: equal things have equal digests, and what changes results changes the digest."""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.errors import ConfigError
from fusionkit.registry import BACKBONES, ComponentRegistry
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import canonical, component_identity, digest, file_digest, source_digest

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(PLAIN)
def test_canonical_json_reads_back_and_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    def turned(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: turned(part[key]) for key in reversed(part)}
        return [turned(item) for item in part] if isinstance(part, list) else part

    try:
        text = canonical(value)
    except ConfigError:  # half a surrogate pair
        assert "\\ud" in json.dumps(value)
        return
    assert json.loads(text) == value
    assert canonical(turned(value)) == text
    assert digest(turned(value)) == digest(value)


@given(PLAIN, PLAIN)
def test_digests_differ_where_the_text_does(one: Any, other: Any) -> None:
    try:
        assert (digest(one) == digest(other)) == (canonical(one) == canonical(other))
    except ConfigError:
        assert "\\ud" in json.dumps([one, other])


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {1, 2}, Path("x"), {"a": object()}, "\ud800"])
def test_other_than_plain_data_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="is not plain data"):
        digest(value)


def test_an_explicit_default_changes_nothing() -> None:
    bare = component_identity(BACKBONES, Spec("hog"))
    for name, value in bare["options"].items():
        assert component_identity(BACKBONES, Spec("hog", {name: value})) == bare
    size = component_identity(BACKBONES, Spec("hog", {"size": 64}))
    assert digest(size) != digest(bare)


def test_a_file_counts_by_its_bytes_and_not_by_its_path(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"weights")
    two.write_bytes(b"weights")
    assert file_digest(str(one), "x") == file_digest(str(two), "x")
    state = one.stat()
    one.write_bytes(b"Weights")
    os.utime(one, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert file_digest(str(one), "x") != file_digest(str(two), "x")


@pytest.mark.parametrize("path", ["nothing", ".", "~nobody-of-this-name/x", "a\0b"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"backbone 'x': checkpoint = .* cannot be read: "):
        file_digest(path, "backbone 'x': checkpoint")


FILES = {
    "__init__.py": "",
    "near.py": "WIDTH = 3\n",
    "far.py": "DEPTH = 1\n",
    "between.py": "from . import far\nfrom .near import WIDTH\n",
    "base.py": (
        "from fusionkit.contracts import Smoother\n"
        "class Base(Smoother):\n    def smooth(self, x, n):\n        return x\n"
    ),
    "mine.py": (
        "import fk_identity.between as between\n"
        "from fk_identity.base import Base\n"
        "class Mine(Base):\n"
        "    def __init__(self, width=between.WIDTH, root='.', weights=None):\n        pass\n"
        "    places, files = ('root',), ('weights',)\n"
    ),
    "stranger.py": "X = 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., type[Any]]:
    """Writes the package with some files changed, and gives its component freshly imported."""
    folder = tmp_path / "fk_identity"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def make(**changed: str) -> type[Any]:
        for name in [name for name in sys.modules if name.partition(".")[0] == "fk_identity"]:
            monkeypatch.delitem(sys.modules, name)
        for name, text in FILES.items():
            (folder / name).write_text(text + changed.get(name.removesuffix(".py"), ""))
        importlib.invalidate_caches()
        cls: type[Any] = importlib.import_module("fk_identity.mine").Mine
        return cls

    return make


@pytest.mark.parametrize("changed", ["mine", "base", "between", "near", "far"])
def test_the_source_counts_with_its_bases_and_what_it_imports_of_its_package(
    package: Callable[..., type[Any]], changed: str
) -> None:
    before = source_digest(package())
    assert source_digest(package()) == before
    assert source_digest(package(**{changed: "\nNEW = 1\n"})) != before


def test_a_module_that_is_not_imported_does_not_count(package: Callable[..., type[Any]]) -> None:
    assert source_digest(package(stranger="\nNEW = 1\n")) == source_digest(package())


def test_places_never_count_and_files_count_by_content(package: Callable[..., type[Any]], tmp_path: Path) -> None:
    registry = ComponentRegistry("smoother", "Smoother")
    registry.register_module("mine", module=package())
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"weights")
    one = component_identity(registry, Spec("mine", {"root": "/a", "weights": str(tmp_path / "one")}))
    two = component_identity(registry, Spec("mine", {"root": "/b", "weights": str(tmp_path / "two")}))
    assert one == two
    assert set(one["options"]) == {"width", "weights"}
    assert one["options"]["weights"] == file_digest(str(tmp_path / "one"), "x")
    assert component_identity(registry, Spec("mine"))["options"]["weights"] is None


def test_a_class_without_a_file_counts_by_its_code() -> None:
    def typed(text: str) -> str:
        space: dict[str, Any] = {"__name__": "typed_in"}
        exec(f"from fusionkit.contracts import Smoother\nclass Typed(Smoother):\n{text}", space)
        return source_digest(space["Typed"])

    first = "    def smooth(self, x, n):\n        return x + 1\n"
    assert typed(first) == typed(first)
    others = [
        "    def smooth(self, x, n):\n        return x + 2\n",
        "    def smooth(self, x, n):\n        return x - 1\n",
        "    def smooth(self, x, n):\n        return (lambda y: y + 2)(x)\n",
        "    def smooth(self, x, n):\n        return (lambda y: y + 3)(x)\n",
        first + "    causal = True\n",
        first + "    @property\n    def more(self):\n        return 5\n",
        first + "    @property\n    def more(self):\n        return 6\n",
    ]
    assert len({typed(text) for text in [first, *others]}) == 1 + len(others)
