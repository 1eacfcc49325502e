"""A network of timm as a stem, a row of blocks and a tail, so that streams can be joined between two blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from fusionkit.errors import ConfigError


class Stages(ABC):
    """A network in stages.

    Args:
        network: (B, 3, H, W) to (B, D).

    Attributes:
        maps: whether features between blocks are maps (B, C, H, W); else tokens (B, K, C).
    """

    maps: ClassVar[bool] = False

    def __init__(self, network: nn.Module) -> None:
        self.network: Any = network

    @property
    @abstractmethod
    def depth(self) -> int:
        """How many blocks there are."""

    @abstractmethod
    def width(self, block: int) -> int:
        """Channels of the features after so many blocks."""

    @abstractmethod
    def stem(self, images: Tensor) -> Tensor:
        """What goes before the first block."""

    @abstractmethod
    def blocks(self, features: Tensor, first: int, last: int) -> Tensor:
        """The blocks from ``first`` up to and without ``last``."""

    @abstractmethod
    def tail(self, features: Tensor) -> Tensor:
        """What comes after the last block: (B, D)."""

    @abstractmethod
    def cut_off(self, block: int) -> None:
        """Take away all that comes after the first ``block`` blocks; the names of what is left stay."""


class TransformerStages(Stages):
    """A plain vision transformer: block k is its k-th transformer block, block 0 the embedding of patches."""

    @property
    def depth(self) -> int:
        """Transformer blocks."""
        return len(self.network.blocks)

    def width(self, block: int) -> int:
        """Of a token: the same everywhere."""
        return int(self.network.embed_dim)

    def stem(self, images: Tensor) -> Tensor:
        """Patches, class token and positions: (B, K, D)."""
        network = self.network
        tokens: Tensor = network._pos_embed(network.patch_embed(images))  # noqa: SLF001  (timm has no public step)
        found: Tensor = network.norm_pre(network.patch_drop(tokens))
        return found

    def blocks(self, features: Tensor, first: int, last: int) -> Tensor:
        """(B, K, D)."""
        for block in self.network.blocks[first:last]:
            features = block(features)
        return features

    def tail(self, features: Tensor) -> Tensor:
        """Norm and pooling."""
        found: Tensor = self.network.forward_head(self.network.norm(features), pre_logits=True)
        return found

    def cut_off(self, block: int) -> None:
        """Blocks and norms."""
        self.network.blocks = self.network.blocks[:block]
        self.network.norm = self.network.fc_norm = nn.Identity()


class ResNetStages(Stages):
    """A ResNet: block k is its k-th of four layers, block 0 what goes before the first."""

    maps: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3", "layer4")

    @property
    def depth(self) -> int:
        """Layers."""
        return len(self.names)

    def width(self, block: int) -> int:
        """Channels of the map."""
        return int(self.network.feature_info[block]["num_chs"])

    def stem(self, images: Tensor) -> Tensor:
        """First convolution and pooling: (B, C, H, W)."""
        network = self.network
        found: Tensor = network.maxpool(network.act1(network.bn1(network.conv1(images))))
        return found

    def blocks(self, features: Tensor, first: int, last: int) -> Tensor:
        """(B, C, H, W)."""
        for name in self.names[first:last]:
            features = getattr(self.network, name)(features)
        return features

    def tail(self, features: Tensor) -> Tensor:
        """Pooling."""
        found: Tensor = self.network.forward_head(features, pre_logits=True)
        return found

    def cut_off(self, block: int) -> None:
        """Layers."""
        for name in self.names[block:]:
            setattr(self.network, name, nn.Identity())


def stages_of(network: nn.Module) -> Stages:
    """The stages of a network.

    Raises:
        ConfigError: if it is neither a plain vision transformer nor a ResNet of timm.
    """
    from timm.models import ResNet, VisionTransformer

    if type(network) is VisionTransformer:
        return TransformerStages(network)
    if type(network) is ResNet:
        return ResNetStages(network)
    raise ConfigError(
        f"fusion: the position block:K takes a plain vision transformer or a ResNet of timm, not a "
        f"{type(network).__name__}",
        hint="the positions input, pooled and logits take any backbone",
    )
