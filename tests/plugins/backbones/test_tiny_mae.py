"""The backbone that is part of the package: its tokens, averaged in fields of the view."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open

from fusionkit.config.config_file import find_config, read_config
from fusionkit.registry import BACKBONES
from fusionkit.registry.spec import Spec
from fusionkit.training.pretrain_config import resolve_pretrain
from fusionkit_backbones.timm_model import TimmModel
from fusionkit_backbones.tiny_mae import WEIGHTS, TinyMae

VIEWS = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("grid", [1, 2, 4, 8])
def test_a_field_is_the_mean_of_its_tokens(grid: int) -> None:
    tokens = TimmModel(checkpoint=str(WEIGHTS), pool="avg", precision="float32").tokens(VIEWS)
    assert tokens.shape == (3, 64, 128)
    model = TinyMae(grid, precision="float32")
    found = model(VIEWS)
    assert found.shape == (3, model.dim) == (3, grid * grid * 128)
    side = 8 // grid
    for row in range(grid):
        for column in range(grid):
            inside = [8 * y + x for y in range(8) for x in range(8) if (y // side, x // side) == (row, column)]
            start = (row * grid + column) * 128
            expected = tokens[:, inside].mean(1)
            np.testing.assert_allclose(found[:, start : start + 128], expected, rtol=1e-5, atol=1e-5)


def test_it_is_small_and_its_weights_decide_its_identity() -> None:
    assert WEIGHTS.stat().st_size < 4e6
    params, gflop = TinyMae().cost()
    assert 0.7e6 < params < 0.9e6
    assert 0 < gflop < 0.2
    assert "weights" in TinyMae.files


def test_it_comes_from_the_config_that_is_shipped() -> None:
    with safe_open(WEIGHTS, "np") as file:
        about = json.loads(file.metadata()["fusionkit"])["about"]
    assert about["config"] == resolve_pretrain(read_config(find_config("pretrain/embedded")), "embedded").digest()


def test_wrong_grids_are_refused() -> None:
    (problem,) = BACKBONES.problems(Spec("tiny-mae", {"grid": 3}))
    assert "grid = 3" in problem
    assert "1, 2, 4, 8" in problem


@pytest.mark.parametrize("grid", [1, 4])
def test_tokens_and_maps_do_not_depend_on_the_fields(grid: int) -> None:
    whole = TimmModel(checkpoint=str(WEIGHTS), pool="avg", precision="float32").tokens(VIEWS)
    backbone = TinyMae(grid=grid, precision="float32")
    assert (backbone.token_dim, backbone.token_grid) == (128, (8, 8))
    np.testing.assert_array_equal(backbone(VIEWS, 64), whole)
    np.testing.assert_array_equal(backbone(VIEWS, "map"), whole.reshape(3, 8, 8, 128))
