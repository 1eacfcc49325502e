"""Fine-tuning of the backbone ``timm``: a network to train, and a file from which it is restored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_training import tiny_encoder

from fusionkit.contracts import Backbone
from fusionkit.errors import ConfigError, PluginError
from fusionkit_backbones.hog import Hog
from fusionkit_backbones.timm_model import TimmModel

VIEWS = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"model": "test_vit", "size": 32},
        {"model": "test_vit", "size": 32, "pool": "avg"},
        {"model": "test_resnet", "size": 32},
        {"model": "mobilenetv3_small_050", "size": 32},
    ],
    ids=str,
)
def test_an_exported_file_restores_the_same_backbone(options: dict, tmp_path: Path) -> None:
    backbone = TimmModel(**options, precision="float32")
    network = backbone.trainable(0.0, 0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.05)
    file = tmp_path / "backbone.safetensors"
    file.write_bytes(backbone.export(network, {"trained_on": [["data", "fold"]], "note": 1}))
    back = TimmModel(checkpoint=str(file), precision="float32")
    mean, std = (torch.tensor(values)[:, None, None] for values in (backbone.mean, backbone.std))
    with torch.no_grad():
        expected = network.eval()((torch.from_numpy(VIEWS).permute(0, 3, 1, 2) / 255 - mean) / std).numpy()
    np.testing.assert_allclose(back(VIEWS), expected, rtol=1e-3, atol=1e-4)
    assert np.abs(back(VIEWS) - backbone(VIEWS)).max() > 1e-3
    assert (back.input_size, back.pool, back.name) == ((32, 32), options.get("pool"), options["model"])
    assert (back.mean, back.std, back.interpolation) == (backbone.mean, backbone.std, backbone.interpolation)
    assert back.trained_on() == (("data", "fold"),)


def test_what_is_trained_on_leaves_the_backbone_as_it_was_and_needs_gradients() -> None:
    backbone = TimmModel("test_vit", size=32, precision="float32")
    before = backbone(VIEWS)
    network = backbone.trainable(0.0, 0)
    assert all(parameter.requires_grad for parameter in network.parameters())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(backbone(VIEWS), before)


def test_the_seed_draws_random_weights_and_leaves_loaded_ones(tmp_path: Path) -> None:
    scratch = TimmModel("test_vit", size=32)
    one, other, again = (scratch.trainable(0.0, seed).state_dict()["blocks.0.attn.qkv.weight"] for seed in (1, 2, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    loaded = TimmModel(checkpoint=str(tiny_encoder(tmp_path)))
    states = [loaded.trainable(0.0, seed).state_dict()["blocks.0.attn.qkv.weight"] for seed in (1, 2)]
    assert torch.equal(*states)


@pytest.mark.slow
def test_drop_path_grows_with_depth_and_is_refused_where_there_is_none(tmp_path: Path) -> None:
    network = TimmModel(checkpoint=str(tiny_encoder(tmp_path, depth=3))).trainable(0.2, 0)
    shares = [getattr(block.drop_path1, "drop_prob", 0.0) for block in network.blocks]
    assert shares == pytest.approx([0.0, 0.1, 0.2])
    with pytest.raises(ConfigError, match=r"drop_path=0\.2"):
        TimmModel("vgg11", size=32).trainable(0.2, 0)


def test_a_backbone_without_weights_cannot_be_fine_tuned() -> None:
    with pytest.raises(PluginError, match="backbone Hog cannot be fine-tuned"):
        Hog().trainable(0.0, 0)
    with pytest.raises(PluginError, match="cannot be fine-tuned"):
        Backbone.export(Hog(), torch.nn.Identity(), {})


def test_a_file_says_what_is_needed_and_a_later_format_is_refused(tmp_path: Path) -> None:
    backbone = TimmModel("test_resnet", size=32)
    file = tmp_path / "b.safetensors"
    file.write_bytes(backbone.export(backbone.trainable(0.0, 0), {}))
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["fusionkit"])
    assert (header["format"], header["model"], header["size"], header["options"]) == (2, "test_resnet", 32, {})
    assert TimmModel(checkpoint=str(file)).trained_on() == ()
