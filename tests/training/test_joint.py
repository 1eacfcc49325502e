from __future__ import annotations

import copy
from typing import Literal

import pytest
import timm
import torch

from fusionkit.errors import ConfigError
from fusionkit.training.finetune_config import FusionShape
from fusionkit.training.joint import Combine, ViewNetwork, build_network, stages_of

CLASSES = 3
Combining = Literal["average", "concat"]
SHAPES = [
    FusionShape(position, block, combine)
    for position, block in (("input", 0), ("block", 0), ("block", 1), ("block", 2), ("pooled", 0), ("logits", 0))
    for combine in ("average", "concat")
]
RESNET_SHAPES = [FusionShape("block", block, combine) for block in (0, 1, 3, 4) for combine in ("average", "concat")]


def transformer(pool: str = "avg") -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        img_size=16,
        patch_size=4,
        embed_dim=16,
        depth=2,
        num_heads=2,
        global_pool=pool,
    ).eval()


def resnet() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=0).eval()


def images(views: int, side: int = 16) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, side, side, generator=draws) for _ in range(views)]


def joined(shape: FusionShape, trunk: torch.nn.Module, width: int, views: int) -> ViewNetwork:
    torch.manual_seed(5)
    return build_network(shape, copy.deepcopy(trunk), width, CLASSES, views).eval()


def name(shape: FusionShape) -> str:
    return shape.folder


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=name)
@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("pool", ["avg", "token"])
def test_equal_views_are_as_one_at_the_start(shape: FusionShape, views: int, pool: str) -> None:
    """Streams are copies and projections averages: the same image in every view gives what one view gives."""
    trunk = transformer(pool)
    alone, network = joined(FusionShape("alone"), trunk, 16, 1), joined(shape, trunk, 16, views)
    (image,) = images(1)
    network.head.load_state_dict(alone.head.state_dict())
    if shape.position == "logits":
        for head in network.heads:
            head.load_state_dict(alone.head.state_dict())
    torch.testing.assert_close(network([image] * views), alone([image]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", RESNET_SHAPES, ids=name)
def test_equal_views_are_as_one_in_a_resnet(shape: FusionShape) -> None:
    alone, network = joined(FusionShape("alone"), resnet(), 96, 1), joined(shape, resnet(), 96, 2)
    network.head.load_state_dict(alone.head.state_dict())
    (image,) = images(1, 32)
    torch.testing.assert_close(network([image, image]), alone([image]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [*SHAPES, *RESNET_SHAPES[:4]], ids=name)
def test_gradients_reach_everything_in_both_streams(shape: FusionShape) -> None:
    is_resnet = shape in RESNET_SHAPES[:4] and shape not in SHAPES
    trunk, width = (resnet(), 96) if is_resnet else (transformer(), 16)
    network = joined(shape, trunk, width, 2)
    one, two = images(2, 32 if is_resnet else 16)
    for image in (one, two):
        image.requires_grad_()
    network([one, two]).square().sum().backward()
    for image in (one, two):
        assert image.grad is not None
        assert image.grad.abs().sum() > 0
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []  # several processes wait for every gradient


def test_the_forward_pass_of_a_block_is_the_one_written_out() -> None:
    """Own first block, mean of tokens, shared second block, norm and pooling as timm has them."""
    trunk = transformer()
    network = joined(FusionShape("block", 1), trunk, 16, 2)
    with torch.no_grad():
        for parameter in network.streams[0].parameters():
            parameter.mul_(1.1)  # another stream than the trunk
    tokens = []
    for image, own in zip(images(2), (network.trunk, network.streams[0]), strict=True):
        patches = own.patch_embed(image)
        with_class = torch.cat([own.cls_token.expand(2, -1, -1), patches], 1) + own.pos_embed
        tokens.append(own.blocks[0](with_class))
    shared = network.trunk.blocks[1]((tokens[0] + tokens[1]) / 2)
    pooled = network.trunk.fc_norm(shared[:, 1:].mean(1))
    torch.testing.assert_close(network(images(2)), network.head(pooled))


def test_pooled_and_logits_are_sums_over_views_and_blocks_are_not() -> None:
    """f(a, b) - f(a, d) - f(c, b) + f(c, d) is 0 for whatever is a sum: such a joint cannot learn an interaction."""

    def interaction(shape: FusionShape) -> float:
        network = joined(shape, transformer(), 16, 2)
        a, b, c, d = images(4)
        with torch.no_grad():
            found = network([a, b]) - network([a, d]) - network([c, b]) + network([c, d])
        return float(found.abs().max())

    for combine in ("average", "concat"):
        assert interaction(FusionShape("pooled", 0, combine)) < 1e-6
        assert interaction(FusionShape("logits", 0, combine)) < 1e-6
        assert interaction(FusionShape("block", 1, combine)) > 1e-4
        assert interaction(FusionShape("input", 0, combine)) > 1e-4


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_sizes_are_those_counted_by_hand(shape: FusionShape) -> None:
    block = 12 * 16 * 16 + 13 * 16  # attention and MLP of width 16 with their biases, two norms
    patches, rest = 4 * 4 * 3 * 16 + 16, 16 + 17 * 16  # class token and positions
    stem = patches + rest
    norm, head = 2 * 16, 16 * CLASSES + CLASSES
    trunk = stem + 2 * block + norm
    own = {
        "input": 0,
        "block": stem + shape.block * block,
        "pooled": trunk,
        "logits": trunk + head,
    }[shape.position]
    projection = 0
    if shape.combine == "concat":
        projection = {"input": patches - 16, "logits": 2 * CLASSES * CLASSES + CLASSES}.get(
            shape.position, 2 * 16 * 16 + 16
        )
    network = joined(shape, transformer(), 16, 2)
    assert sum(parameter.numel() for parameter in network.parameters()) == trunk + head + own + projection


def test_maps_are_projected_pixel_by_pixel() -> None:
    combine = Combine("concat", 2, 4, maps=True)
    torch.nn.init.normal_(combine.project.weight)
    one, two = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    weight = combine.project.weight[:, :, 0, 0]
    found = combine([one, two])
    expected = weight @ torch.cat([one[1, :, 2, 0], two[1, :, 2, 0]])
    torch.testing.assert_close(found[1, :, 2, 0], expected)


def test_a_network_that_cannot_be_joined_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"block:3 exceeds the 2 blocks of the backbone \(.*block:2"):
        joined(FusionShape("block", 3), transformer(), 16, 2)
    with pytest.raises(ConfigError, match=r"block:K needs a plain vision transformer or a ResNet .* Mob"):
        joined(FusionShape("block", 1), timm.create_model("mobilenetv3_small_050", num_classes=0), 1024, 2)
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4))
    with pytest.raises(ConfigError, match=r"combine = concat at position = input .*combine = average"):
        joined(FusionShape("input", 0, "concat"), flat, 4, 2)
    assert joined(FusionShape("input"), flat, 4, 2)(images(2)).shape == (2, CLASSES)


def test_stages_of_a_whole_network_are_the_network() -> None:
    for trunk, side in ((transformer("token"), 16), (transformer(), 16), (resnet(), 32)):
        stages = stages_of(trunk)
        (image,) = images(1, side)
        found = stages.tail(stages.blocks(stages.stem(image), 0, stages.depth))
        torch.testing.assert_close(found, trunk(image))
