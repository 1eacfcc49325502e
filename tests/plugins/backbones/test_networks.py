"""The network of each backbone computes what the backbone does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from fusionkit.registry import BACKBONES
from fusionkit.registry.spec import Spec
from fusionkit_backbones.networks import grey

SPECS = [
    *("hog", "hog:size=33,colour=true,block_size=3,cell_size=7,orientations=6", "dct", "dct:size=32,block=16,keep=20"),
    *("random-features:size=9", "tiny-mae:grid=2,precision=float32", "timm:model=test_vit,precision=float32"),
    "timm:model=test_resnet,size=64,precision=float32",
]


@pytest.mark.parametrize("spec", SPECS)
def test_networks_equal_their_backbones(spec: str) -> None:
    backbone = BACKBONES.build(Spec.parse(spec))
    views = np.random.default_rng(0).integers(0, 256, (3, *backbone.input_size, 3), dtype=np.uint8)
    views[1] = views[1] // 128 * 255  # saturated: gradients and ties
    with torch.no_grad():
        found = backbone.as_network(tokens=False).eval()(torch.from_numpy(views))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), backbone(views), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", ["tiny-mae:grid=1,precision=float32", "timm:model=test_vit,precision=float32"])
def test_networks_give_tokens(spec: str) -> None:
    backbone = BACKBONES.build(Spec.parse(spec))
    views = np.random.default_rng(0).integers(0, 256, (2, *backbone.input_size, 3), dtype=np.uint8)
    with torch.no_grad():
        found = backbone.as_network(tokens=True).eval()(torch.from_numpy(views)).numpy()
    np.testing.assert_allclose(found, backbone.tokens(views), rtol=1e-4, atol=1e-5)


def test_grey_values_are_those_of_opencv() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grey(torch.from_numpy(colours[None]))[0], cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY))
