from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fusionkit.errors import ConfigError
from fusionkit.training.encoder import EncoderOptions, build_encoder, write_encoder
from fusionkit_backbones.timm_model import TimmModel

SMALL = EncoderOptions(model="vit_tiny_patch16_224", size=32, patch=8, width=24, depth=2, heads=3, mlp_ratio=2.0)


@pytest.fixture
def encoder() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return build_encoder(SMALL).eval()


def test_sizes_reach_the_model(encoder) -> None:
    assert encoder.patch_embed.grid_size == (4, 4)
    assert (encoder.embed_dim, len(encoder.blocks), encoder.blocks[0].attn.num_heads) == (24, 2, 3)
    assert encoder.blocks[0].mlp.fc1.out_features == 48
    own = build_encoder(EncoderOptions(model="vit_tiny_patch16_224"))
    assert (own.embed_dim, len(own.blocks), own.patch_embed.grid_size) == (192, 12, (14, 14))


@pytest.mark.parametrize("pool", [None, "avg"])
def test_the_file_is_a_backbone_by_itself(encoder, tmp_path: Path, pool: str | None) -> None:
    path = tmp_path / "encoder.safetensors"
    write_encoder(path, encoder, SMALL, {"run": "test"})
    backbone = TimmModel(checkpoint=str(path), pool=pool, precision="float32")
    assert (backbone.dim, backbone.input_size, backbone.interpolation) == (24, (32, 32), "cubic")
    assert backbone.mean == (0.485, 0.456, 0.406)
    assert backbone.std == (0.229, 0.224, 0.225)
    views = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    scaled = (views / 255 - np.array(backbone.mean)) / np.array(backbone.std)
    images = torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        if pool is None:
            expected = encoder.forward_features(images)[:, 0]
        else:  # the mean of the patches, then the norm that was trained before the pooling
            tokens = encoder.blocks(encoder._pos_embed(encoder.patch_embed(images)))
            expected = encoder.norm(tokens[:, 1:].mean(1))
    np.testing.assert_allclose(backbone(views), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_name_of_the_model_may_be_given_but_not_another(encoder, tmp_path: Path) -> None:
    path = str(tmp_path / "encoder.safetensors")
    write_encoder(Path(path), encoder, SMALL, {})
    assert TimmModel(model="vit_tiny_patch16_224", checkpoint=path).dim == 24
    with pytest.raises(ConfigError, match=r"vit_tiny_patch16_224, not .*vit_small_patch16_224"):
        TimmModel(model="vit_small_patch16_224", checkpoint=path)


NARROW = {"width": 48, "depth": 1, "heads": 3}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"model": "vit_tinny_patch16_224"}, "timm has no model 'vit_tinny_patch16_224' (did you mean 'vit_tiny_"),
        ({"model": "resnet18"}, "resnet18 is no plain vision transformer"),
        ({"model": "vit_base_patch16_siglip_224", **NARROW}, "is no plain vision transformer with one class token"),
        ({"model": "vit_base_patch16_gap_224", **NARROW}, "is no plain vision transformer with one class token"),
        ({"model": "vit_tiny_patch16_224", "width": 50}, "timm cannot build vit_tiny_patch16_224 with these sizes"),
        ({"model": "vit_tiny_patch16_224", "size": 60}, "patches of 16 px do not tile a square of 60 px"),
        ({"model": "vit_tiny_patch16_224", "width": 30, "heads": 3}, "width = 30 must be a multiple of 4"),
    ],
)
def test_an_unsuitable_encoder_is_refused_in_one_line(options: dict, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_encoder(EncoderOptions(**options))
    assert line in str(error.value)
    assert "\n" not in str(error.value)
