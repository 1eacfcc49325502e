"""Identity: equal things have equal digests, and what changes results changes the digest."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.contracts import Smoother
from fusionkit.errors import ConfigError
from fusionkit.registry import BACKBONES, ComponentRegistry
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import canonical, component_identity, digest, file_digest

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
    assert (digest(one) == digest(other)) == (canonical(one) == canonical(other))


def test_a_path_that_is_not_utf8_has_a_digest() -> None:
    path = os.fsdecode(b"faces/IMG_\xd5\xc5")
    assert canonical({"root": path}) == '{"root":"faces/IMG_\\udcd5\\udcc5"}'
    assert json.loads(canonical(path)) == path


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {1, 2}, Path("x"), {"a": object()}])
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


def test_places_never_count_and_files_count_by_content(tmp_path: Path) -> None:
    class Mine(Smoother):
        places, files = ("root",), ("weights",)

        def __init__(self, width: int = 3, root: str = ".", weights: str | None = None) -> None:
            pass

        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            return x

    registry = ComponentRegistry("smoother", "Smoother")
    registry.register_module("mine", module=Mine)
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"weights")
    one = component_identity(registry, Spec("mine", {"root": "/a", "weights": str(tmp_path / "one")}))
    two = component_identity(registry, Spec("mine", {"root": "/b", "weights": str(tmp_path / "two")}))
    assert one == two
    assert set(one["options"]) == {"width", "weights"}
    assert one["options"]["weights"] == file_digest(str(tmp_path / "one"), "x")
    assert component_identity(registry, Spec("mine"))["options"]["weights"] is None
