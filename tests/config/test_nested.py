"""Options that name another component: built from text or a dict, checked, and part of the identity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from toy_components import Blobs, Halves, registered, toy_house  # noqa: F401

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.engine.source import open_source
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS, EXTRACTORS
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity

pytestmark = pytest.mark.usefixtures("toy_house")


class Wrapper(Blobs):
    """Another data set as it is."""

    nested: ClassVar[Mapping[str, str]] = {"source": "dataset", "extractor": "extractor"}

    def __init__(self, source: str | dict[str, Any] = "toy-blobs", extractor: str = "toy-marked") -> None:
        self.source: FaceDataset = DATASETS.build(source)
        self.made: np.ndarray | None = None

    @property
    def frames(self) -> FrameTable:
        return self.source.frames

    def content(self) -> str:
        return self.source.content()

    def composed_of(self) -> np.ndarray | None:
        return self.made


class Marked(Halves):
    """Depends on the bytes of a file."""

    files: ClassVar[tuple[str, ...]] = ("weights",)

    def __init__(self, weights: str = "") -> None: ...


@pytest.fixture(autouse=True)
def wrapped():
    with registered(DATASETS, "toy-wrapper", Wrapper), registered(EXTRACTORS, "toy-marked", Marked):
        yield


def test_a_component_is_built_from_a_spec_its_text_or_a_dict() -> None:
    digests = {
        DATASETS.build(value).table().digest()
        for value in (Spec("toy-blobs", {"seed": 3}), "toy-blobs:seed=3", {"type": "toy-blobs", "seed": 3})
    }
    assert digests == {Blobs(seed=3).table().digest()}


def test_the_identity_of_the_inner_component_enters_that_of_the_outer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, data in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(data)

    def fingerprint(source: str, weights: str = "a") -> str:
        spec = Spec("toy-wrapper", {"source": source, "extractor": f"toy-marked:weights={tmp_path / weights}"})
        return open_source(spec, None).fingerprint

    first = fingerprint("toy-blobs:seed=1")
    assert first == fingerprint("toy-blobs:seed=1,root=elsewhere", "b")  # places and paths do not count
    assert first != fingerprint("toy-blobs:seed=2")
    assert first != fingerprint("toy-blobs:seed=1", "c")
    monkeypatch.setattr(Marked, "revision", 2)
    assert first != fingerprint("toy-blobs:seed=1")
    monkeypatch.setattr(Marked, "revision", 1)
    monkeypatch.setattr(Blobs, "revision", 2)
    assert first != fingerprint("toy-blobs:seed=1")


def test_nested_options_enter_as_identities_not_as_text() -> None:
    inner = {"type": "toy-blobs", "root": "here"}
    identities = [
        component_identity(DATASETS, Spec("toy-wrapper", {"source": source}))
        for source in (inner, "toy-blobs:root=there")
    ]
    assert identities[0] == identities[1]
    assert identities[0]["nested"]["source"]["name"] == "toy-blobs"
    assert "source" not in identities[0]["options"]
    assert "nested" not in component_identity(DATASETS, Spec("toy-blobs"))


def test_problems_of_an_inner_component_are_reported_before_anything_is_built() -> None:
    spec = Spec("toy-wrapper", {"source": "toy-blobs:sed=3", "extractor": "toy-market"})
    source, extractor = DATASETS.problems(spec)
    assert source == "dataset 'toy-wrapper': source: dataset 'toy-blobs': unknown option 'sed' (did you mean 'seed'?)"
    assert extractor.startswith("dataset 'toy-wrapper': extractor: unknown extractor 'toy-market' (did you mean 'toy-m")
    with pytest.raises(ConfigError, match="is not a component"):
        DATASETS.build(Spec("toy-wrapper", {"source": {"seed": 3}}))


def test_a_source_has_the_units_of_its_composites_with_a_limit_too() -> None:
    source = open_source(Spec("toy-wrapper"), None)
    assert source.composites() is None
    made = np.full((len(source.table), 2), -1)
    made[[3, 300]] = [[0, 40], [7, -1]]
    source.dataset.made = made  # type: ignore[attr-defined]
    found = source.composites()
    unit = source.table.unit
    assert found is not None
    assert found.rows.tolist() == [3, 300]
    assert found.units.tolist() == [[unit[0], unit[40]], [unit[7], ""]]
    part = source.take(np.arange(250, 320)).composites()
    assert part is not None
    assert (part.rows.tolist(), part.units.tolist()) == ([50], [[unit[7], ""]])


@pytest.mark.parametrize("made", [np.zeros((5, 2), int), np.zeros(320, int), np.full((320, 1), 320)])
def test_composites_of_rows_that_are_not_there_are_refused(made: np.ndarray) -> None:
    source = open_source(Spec("toy-wrapper"), None)
    source.dataset.made = made  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="composed_of must"):
        source.composites()
