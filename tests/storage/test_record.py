"""Records hold the identity that gives an artifact its key, and the distribution of each component."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from toy_components import Colours, registered, toy_house, toy_plan  # noqa: F401

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.engine.source import open_source
from fusionkit.registry import BACKBONES, DATASETS, FUSIONS, SMOOTHERS
from fusionkit.registry.plugin_file import load_plugin_file
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity, digest
from fusionkit.storage.record import component_record, distribution_of, identity_of

pytestmark = pytest.mark.usefixtures("toy_house")


def test_a_component_is_recorded_with_its_distribution() -> None:
    spec = Spec("hog", {"cell_size": 6})
    record = component_record(BACKBONES, spec)
    assert record == {
        **component_identity(BACKBONES, spec),
        "files": [],
        "distribution": f"fusionkit {version('fusionkit')}",
    }
    assert component_record(BACKBONES, Spec("timm", {"model": "test_vit"}))["files"] == ["checkpoint"]


def test_a_plugin_file_has_no_distribution(tmp_path: Path) -> None:
    (tmp_path / "lone.py").write_text(
        "from fusionkit.contracts import StackedFusion\nfrom fusionkit.registry import FUSIONS\n"
        "@FUSIONS.register_module()\nclass Lone(StackedFusion):\n"
        "    def combine(self, views, present):\n        return views.sum(1)\n",
        encoding="utf-8",
    )
    load_plugin_file(str(tmp_path / "lone.py"))
    assert distribution_of(FUSIONS, "lone") == ""


def test_a_component_of_a_module_has_the_distribution_of_its_package() -> None:
    found = type("Found", (Colours,), {"__module__": "pytest"})
    with registered(BACKBONES, "toy-found", found):
        assert distribution_of(BACKBONES, "toy-found") == f"pytest {version('pytest')}"


def test_the_name_of_an_embedding_is_the_digest_of_what_its_record_holds() -> None:
    (head,) = toy_plan(seeds=1, reference="none").heads.values()
    for name, embedding in head.embeddings.items():
        parts = dict(embedding.record)
        parts["data"] = parts["data"]["fingerprint"]
        for kind in ("extractor", "backbone"):
            extra = ("files", "distribution")
            parts[kind] = parts[kind] and {key: value for key, value in parts[kind].items() if key not in extra}
        assert digest(parts) == embedding.key
        assert (parts["extractor"] is None) == (name == "face")


def test_the_name_of_a_head_is_the_digest_of_what_its_record_holds() -> None:
    (head,) = toy_plan(seeds=1, reference="none").heads.values()
    fusion = {key: value for key, value in head.record["fusion"].items() if key not in ("files", "distribution")}
    parts = {
        **head.record,
        "data": head.record["data"]["fingerprint"],
        "fold": head.record["fold"]["digest"],
        "embeddings": [[name, embedding.key] for name, embedding in head.embeddings.items()],
        "fusion": fusion,
        "tasks": [identity_of(each) for each in head.record["tasks"]],
    }
    del parts["views"]
    assert digest(parts)[:12] == head.id
    assert {name: {**view, "data": head.record["data"]} for name, view in head.record["views"].items()} == {
        name: embedding.record for name, embedding in head.embeddings.items()
    }


def test_data_are_recorded_with_their_location_which_is_no_part_of_their_fingerprint() -> None:
    spec, elsewhere = (Spec("toy-blobs", {"root": root}) for root in ("/somewhere", "/elsewhere"))
    source = open_source(spec, 60)
    assert source.fingerprint == open_source(elsewhere, 60).fingerprint
    record = source.record
    assert record["fingerprint"] == source.fingerprint
    assert (record["frames"], record["of"]) == (len(source.table), 320)
    assert "/somewhere" in str(record)


def test_a_default_of_a_data_set_that_is_no_plain_data_is_recorded_as_text() -> None:
    class Odd(FaceDataset):
        classes = ("a", "b")

        def __init__(self, kept: object = frozenset({1}), size: tuple[int, int] = (2, 3)) -> None:
            pass

        @property
        def frames(self) -> FrameTable:
            return FrameTable.of(["a", "b"], [0, 0], [0, 1])

    with registered(DATASETS, "toy-odd", Odd):
        options = open_source(Spec("toy-odd"), None).record["options"]
    assert options == {"kept": "frozenset({1})", "size": [2, 3]}


def test_a_row_is_recorded_with_its_smoother_and_the_revisions_of_the_kernel() -> None:
    (row,) = toy_plan(seeds=1, reference="none", smoothers=["toy-box:width=9"]).rows
    assert row.record["smoother"] == component_record(SMOOTHERS, Spec("toy-box", {"width": 9}))
    assert set(row.record["revisions"]) == {"smoothing", "scoring"}
    assert row.record["recipe"] == row.axes.recipe
