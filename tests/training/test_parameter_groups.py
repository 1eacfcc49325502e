from __future__ import annotations

import pytest
import timm
import torch

from fusionkit.errors import ConfigError
from fusionkit.training.finetune_config import FusionShape
from fusionkit.training.joint import ViewNetwork, build_network, parameter_groups


def transformer(depth: int = 2) -> torch.nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        img_size=16,
        patch_size=4,
        embed_dim=16,
        depth=depth,
        num_heads=2,
        global_pool="avg",
    )


def by_name(network: ViewNetwork, *rates: float) -> dict[str, tuple[float, float]]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = {}
    for group in parameter_groups(network, *rates):
        for parameter in group["params"]:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = (group["lr_scale"], group["weight_decay"])
    assert set(found) == set(names.values())  # each parameter once, and none left out
    return found


def test_rates_and_decay_of_a_transformer_are_those_computed_by_hand() -> None:
    """Layers from the output: head and norm 0, block 1 is 1, block 0 is 2, the embedding of patches 3."""
    network = build_network(FusionShape("alone"), transformer(), 16, 3, 1)
    found = by_name(network, 0.05, 0.5)
    assert found["head.weight"] == (1.0, 0.05)
    assert found["head.bias"] == (1.0, 0.0)
    assert found["trunk.fc_norm.weight"] == (1.0, 0.0)
    assert found["trunk.blocks.1.mlp.fc1.weight"] == (0.5, 0.05)
    assert found["trunk.blocks.0.mlp.fc1.weight"] == (0.25, 0.05)
    assert found["trunk.blocks.0.mlp.fc1.bias"] == (0.25, 0.0)
    assert found["trunk.patch_embed.proj.weight"] == (0.125, 0.05)
    assert found["trunk.pos_embed"] == (0.125, 0.0)
    assert found["trunk.cls_token"] == (0.125, 0.0)


def test_a_stream_learns_as_the_trunk_s_layers_of_the_same_name_and_new_parts_at_full_rate() -> None:
    network = build_network(FusionShape("block", 1, "concat"), transformer(3), 16, 3, 3)
    found = by_name(network, 0.1, 0.5)
    for index in (0, 1):
        assert found[f"streams.{index}.blocks.0.attn.qkv.weight"] == (0.125, 0.1)
        assert found[f"streams.{index}.pos_embed"] == (0.0625, 0.0)
        assert f"streams.{index}.blocks.1.attn.qkv.weight" not in found
    assert found["trunk.blocks.0.attn.qkv.weight"] == (0.125, 0.1)
    assert found["combine.project.weight"] == (1.0, 0.1)
    logits = by_name(build_network(FusionShape("logits"), transformer(), 16, 3, 2), 0.1, 0.5)
    assert logits["heads.0.weight"] == (1.0, 0.1)


def test_without_layer_decay_there_is_one_rate() -> None:
    network = build_network(FusionShape("alone"), transformer(), 16, 3, 1)
    assert {scale for scale, _ in by_name(network, 0.05, 1.0).values()} == {1.0}


def test_a_convolutional_network_has_its_layers_too() -> None:
    network = build_network(FusionShape("alone"), timm.create_model("test_resnet", num_classes=0), 96, 3, 1)
    found = by_name(network, 0.1, 0.5)
    depths = [found[f"trunk.layer{layer}.0.conv1.weight"][0] for layer in (1, 2, 3, 4)]
    assert depths == [0.125, 0.25, 0.5, 1.0]  # one residual block a layer
    assert found["trunk.conv1.0.weight"] == (0.0625, 0.1)
    assert found["head.weight"] == (1.0, 0.1)


def test_layer_decay_without_layers_is_refused() -> None:
    network = ViewNetwork(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)), 4, 2)
    assert len(parameter_groups(network, 0.1, 1.0)) == 2
    with pytest.raises(ConfigError, match=r"layer_decay = 0\.5 .* Sequential .*layer_decay=1"):
        parameter_groups(network, 0.1, 0.5)
