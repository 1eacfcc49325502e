"""Fusions of maps in a grid: trained on stored maps, applied to new frames, and refused where a view has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_components import Blobs, Colours, carry_out, registered, toy_house, toy_plan  # noqa: F401

import fusionkit
from fusionkit.contracts import Fusion
from fusionkit.errors import ConfigError
from fusionkit.grid.folder import RunFolder
from fusionkit.registry import BACKBONES, FUSIONS

pytestmark = pytest.mark.usefixtures("toy_house")


class Quarters(Colours):
    """Mean colour of each quarter, also as a map."""

    token_dim, token_grid = 3, (2, 2)

    def tokens(self, views: np.ndarray) -> np.ndarray:
        return self.embed(views).reshape(len(views), 4, 3)


class Halves(Fusion):
    """The upper half of the maps."""

    needs = "map"

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return torch.cat([views[name][:, :, 0].mean(2) for name in self.in_dims], 1)


@pytest.fixture(autouse=True)
def components(toy_house: None) -> object:  # noqa: F811
    with registered(BACKBONES, "toy-quarters", Quarters), registered(FUSIONS, "toy-halves", Halves):
        yield


def test_a_head_on_maps_is_trained_and_predicts_frames_as_in_its_run(tmp_path: Path) -> None:
    plan = toy_plan(backbones=["toy-quarters"], fusions=["toy-halves"], seeds=1, reference="none")
    # 320 frames, two views of 2 x 2 x 3 values, of two bytes and of four
    assert "maps of 2 view(s) take 0.01465 MiB in the cache, and those of a head 0.0293 MiB in memory" in plan.notes[-1]
    outcome, results = carry_out(plan, tmp_path / "run")
    assert outcome.failed == {}
    (row,) = plan.rows
    (head,) = row.heads
    assert {item.tokens for item in head.embeddings.values()} == {"map"}
    expected = RunFolder(tmp_path / "run").read_logits(head.id).test
    rows = head.fold_data.rows.test
    predictor = fusionkit.load(tmp_path / "run", "toy-halves")
    views = predictor.embed(Blobs().images(rows))
    assert views["face"].shape == (len(rows), 2, 2, 3)
    np.testing.assert_allclose(predictor.logits(views)[0], expected, rtol=1e-5, atol=1e-6)
    assert results.cells()[0]["state"] == "done"


def test_a_backbone_without_maps_is_refused_by_name() -> None:
    with pytest.raises(ConfigError) as caught:
        toy_plan(fusions=["toy-halves", "toy-sum"])
    (problem,) = caught.value.problems
    assert problem == (
        "fusions: toy-halves needs maps, and backbone toy-colours has none (`fusionkit list backbones --long` shows "
        "which have maps)"
    )
