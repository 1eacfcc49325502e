"""A plan is the union of all work, each piece once, under identities that mean the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_components import Blobs, Colours, registered, toy_grid, toy_house, toy_plan  # noqa: F401

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.plan import Plan, make_plan
from fusionkit.registry import BACKBONES, DATASETS, FUSIONS

pytestmark = pytest.mark.usefixtures("toy_house")


def ids(plan: Plan) -> list[list[str]]:
    return [[row.id, *(head.id for head in row.heads)] for row in plan.rows]


def rows(plan: Plan) -> list[tuple[str, str, str]]:
    return [(row.axes.views, row.axes.fusion, row.axes.smoother) for row in plan.rows]


def test_the_reference_row_comes_first_and_once() -> None:
    plan = toy_plan(regions=["top", "bottom"], fusions=["toy-sum", "toy-recorder"])
    assert rows(plan) == [
        ("face", "linear", "toy-plain"),
        ("face,top", "toy-sum", "toy-plain"),
        ("face,top", "toy-recorder", "toy-plain"),
        ("face,bottom", "toy-sum", "toy-plain"),
        ("face,bottom", "toy-recorder", "toy-plain"),
    ]
    reference = plan.rows[0]
    assert reference.reference is None
    assert {row.reference for row in plan.rows[1:]} == {reference.id}


def test_a_number_of_views_that_a_fusion_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FUSIONS.get("toy-sum"), "max_views", 2)
    toy_plan(regions=["top", "bottom"], fusions=["toy-sum"])
    with pytest.raises(ConfigError) as caught:
        toy_plan(regions=["top", "top,bottom"], fusions=["toy-sum", "toy-recorder"])
    name = FUSIONS.get("toy-sum").__name__
    assert caught.value.problems == [f"fusions: {name} takes 1 to 2 views, not 3 (face, bottom, top)"]


def test_smoothers_share_their_heads() -> None:
    plan = toy_plan(smoothers=["toy-plain", "toy-box", "toy-learned"], seeds=3)
    assert len(plan.rows) == 6
    assert len(plan.heads) == 2 * 3
    by_views = {(row.axes.views): {head.id for head in row.heads} for row in plan.rows}
    for row in plan.rows:
        assert {head.id for head in row.heads} == by_views[row.axes.views]
    assert len({row.cell_id(head) for row in plan.rows for head in row.heads}) == 18


def test_each_row_is_held_against_the_reference_with_its_own_smoother() -> None:
    plan = toy_plan(smoothers=["toy-plain", "toy-box"])
    by_id = {row.id: row for row in plan.rows}
    for row in plan.rows:
        if row.reference:
            assert by_id[row.reference].axes.smoother == row.axes.smoother
            assert by_id[row.reference].axes.views == "face"


def test_without_a_main_view_the_first_region_set_is_the_reference() -> None:
    plan = toy_plan(main="none", regions=["bottom", "top", "top,bottom"])
    assert rows(plan) == [
        ("bottom", "toy-sum", "toy-plain"),
        ("top", "toy-sum", "toy-plain"),
        ("top,bottom", "toy-sum", "toy-plain"),
    ]
    assert [row.reference for row in plan.rows] == [None, *[plan.rows[0].id] * 2]


def test_without_a_reference_no_row_is_added() -> None:
    plan = toy_plan(reference="none", regions=["top", "bottom"])
    assert [row.reference for row in plan.rows] == [None, None]
    assert len(plan.rows) == 2


def test_the_face_beside_itself_is_the_equal_parameter_control() -> None:
    plan = toy_plan(regions=["face", "bottom"], fusions=["toy-sum"])
    control = plan.rows[1]
    assert control.axes.views == "face,face#2"
    embeddings = control.heads[0].embeddings
    assert list(embeddings) == ["face", "face#2"]
    assert embeddings["face"].key == embeddings["face#2"].key  # embedded once


def test_auxiliary_views_in_another_order_are_the_same_cell() -> None:
    one, other = toy_plan(regions=["top,bottom"]), toy_plan(regions=["bottom,top"])
    assert ids(one) == ids(other)


BASE: dict[str, Any] = {"seeds": [0], "reference": "none"}


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": [1]},
        {"recipe": {"epochs": 5, "lr": 0.05}},
        {"fusions": ["toy-recorder"]},
        {"regions": ["top"]},
        {"main": "top"},
        {"backbones": ["toy-colours:gain=2.0"]},
        {"datasets": ["toy-blobs:seed=1"]},
        {"split": "holdout"},
        {"limit": 60},
    ],
    ids=str,
)
def test_any_change_that_matters_makes_other_heads(change: dict[str, Any]) -> None:
    before = set(toy_plan(**BASE).heads)
    after = set(toy_plan(**{**BASE, **change}).heads)
    assert not before & after


def test_a_default_that_is_written_out_is_the_same_head() -> None:
    assert set(toy_plan(**BASE).heads) == set(toy_plan(**BASE, backbones=["toy-colours:gain=1.0"]).heads)


def test_the_order_and_number_of_seeds_do_not_change_a_head() -> None:
    few, many = toy_plan(seeds=[1]), toy_plan(seeds=4)
    assert set(few.heads) < set(many.heads)
    assert [row.id for row in few.rows] == [row.id for row in many.rows]


def test_a_raised_revision_makes_other_heads_and_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    before = toy_plan(**BASE)
    monkeypatch.setattr(Colours, "revision", 2)
    after = toy_plan(**BASE)
    assert not set(before.heads) & set(after.heads)
    assert before.rows[0].id != after.rows[0].id


def test_a_component_from_other_source_makes_other_heads(tmp_path: Path) -> None:
    plugin = """
import numpy as np
from fusionkit.contracts import Backbone
class Plugged(Backbone):
    dim = 3
    input_size = (4, 4)
    def embed(self, views):
        return views.mean((1, 2)) * {factor}
"""
    found = []
    for factor in (1, 2):
        space: dict[str, Any] = {}
        file = tmp_path / f"plug{factor}.py"
        file.write_text(plugin.format(factor=factor), encoding="utf-8")
        space = _imported(file)
        with registered(BACKBONES, "toy-plugged", space["Plugged"]):
            found.append(set(toy_plan(**BASE, backbones=["toy-plugged"]).heads))
    assert not found[0] & found[1]


def _imported(file: Path) -> dict[str, Any]:
    import importlib.util

    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return vars(module)


def test_where_the_data_lie_changes_no_id() -> None:
    one, other = (toy_plan(datasets=[f"toy-blobs:root={root}"]) for root in ("/data/here", "/mnt/there"))
    assert ids(one) == ids(other)
    assert one.protocol == other.protocol


_PRINT_IDS = """
from toy_components import toys, toy_plan
with toys():
    plan = toy_plan(regions=["top", "bottom"], smoothers=["toy-plain", "toy-box"], seeds=2, split="kfold:k=3")
    print(plan.protocol, *[row.id for row in plan.rows], *plan.heads)
"""


@pytest.mark.slow
def test_ids_are_the_same_in_every_process(tmp_path: Path) -> None:
    shared = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "FUSIONKIT_CACHE": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "PATH": os.environ["PATH"],
    }
    words = [sys.executable, "-c", _PRINT_IDS]
    started = [  # at the same time: they spend it on imports
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={**shared, "PYTHONHASHSEED": seed})
        for seed in ("0", "12345")
    ]
    outputs = [process.communicate()[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert outputs[0] == outputs[1]
    plan = toy_plan(regions=["top", "bottom"], smoothers=["toy-plain", "toy-box"], seeds=2, split="kfold:k=3")
    assert outputs[0] == [plan.protocol, *[row.id for row in plan.rows], *plan.heads]


def test_folds_stand_in_one_row_and_are_heads_of_their_own() -> None:
    plan = toy_plan(split="kfold:k=3", seeds=2, reference="none")
    (row,) = plan.rows
    assert row.axes.split == "kfold:k=3"
    assert [(head.seed, head.fold_data.fold.name) for head in row.heads] == [
        (seed, f"kfold/{fold}") for seed in (0, 1) for fold in range(3)
    ]
    assert len(plan.heads) == 6


def test_the_protocol_is_data_and_split_and_nothing_else() -> None:
    base = toy_plan()
    same = toy_plan(regions=["top"], fusions=["toy-forest"], seeds=5, recipe={}, smoothers=["toy-box"])
    assert base.protocol == same.protocol
    for other in ({"datasets": ["toy-blobs:seed=1"]}, {"split": "holdout"}, {"limit": 60}):
        assert toy_plan(**other).protocol != base.protocol


def test_a_file_that_a_backbone_reads_counts_by_its_bytes_not_its_path(tmp_path: Path) -> None:
    class Weighted(Colours):
        files = ("weights",)

        def __init__(self, weights: str) -> None:
            super().__init__(1.0)

    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with registered(BACKBONES, "toy-weighted", Weighted):
        plans = [toy_plan(**BASE, backbones=[f"toy-weighted:weights={tmp_path / name}"]) for name in "abc"]
    assert set(plans[0].heads) == set(plans[1].heads)
    assert not set(plans[0].heads) & set(plans[2].heads)
    assert plans[0].rows[0].id == plans[1].rows[0].id


def test_data_that_cannot_be_divided_are_named() -> None:
    with pytest.raises(DataError, match=r"data set toy-blobs:official=false: .*official .*train"):
        toy_plan(datasets=["toy-blobs:official=false"], split="official")


class Ready(FaceDataset):
    """Brings its own embeddings."""

    @property
    def classes(self) -> tuple[str, ...]:
        return ("a", "b")

    @property
    def frames(self) -> FrameTable:
        return FrameTable.of([f"{n:03d}" for n in range(60)], [0] * 60, [0, 1] * 30)

    @property
    def views(self) -> tuple[str, ...]:
        return ("face", "voice")

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        return np.random.default_rng(len(view)).normal(size=(60, 5)).astype(np.float32)[rows]


def test_a_view_that_a_data_set_of_ready_embeddings_lacks_is_refused_with_a_suggestion() -> None:
    with registered(DATASETS, "toy-ready", Ready):
        plan = toy_plan(datasets=["toy-ready"], regions=["voice"])
        assert all(item.backbone is None for head in plan.heads.values() for item in head.embeddings.values())
        with pytest.raises(ConfigError, match=r"toy-ready has no view 'voise'.*'voice'"):
            toy_plan(datasets=["toy-ready"], regions=["voise"])


def test_data_sets_extractors_and_backbones_are_axes() -> None:
    grid = toy_grid(
        datasets=["toy-blobs", "toy-blobs:seed=1"], backbones=["toy-colours", "toy-colours:gain=2.0"], seeds=1
    )
    plan = make_plan(grid, "cpu")
    assert [(row.axes.dataset, row.axes.backbone, row.axes.views) for row in plan.rows] == [
        (dataset, backbone, views)
        for dataset in ("toy-blobs", "toy-blobs:seed=1")
        for backbone in ("toy-colours", "toy-colours:gain=2.0")
        for views in ("face", "face,bottom")
    ]
    for index in range(0, 8, 2):
        assert plan.rows[index + 1].reference == plan.rows[index].id


def test_planning_reads_no_image() -> None:
    toy_plan(regions=["top", "bottom"])
    assert Blobs.reads == []
    assert Colours.calls == []


def test_boxes_that_do_not_fit_aligned_crops_are_told_once_per_extractor(monkeypatch: pytest.MonkeyPatch) -> None:
    extractors = ["template:layout=emotic", "template:layout=arcface"]
    assert toy_plan(extractor=extractors, regions=["eye"]).notes == []
    monkeypatch.setattr(Blobs, "where", lambda _self, row: f"data/cropped_aligned/clip/{row:05d}.jpg", raising=False)
    (note,) = toy_plan(extractor=extractors, regions=["eye"]).notes
    assert note.startswith("extractor template:layout=emotic: the boxes of layout=emotic do not fit")
    assert toy_plan(extractor=extractors, regions=["face"]).notes == []  # no box is used
