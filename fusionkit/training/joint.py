"""Networks of one or several views with a classifier, by the position at which the views are joined.

The main view's network is the ``trunk``. The other views' own parts are in ``streams``, with the same names inside.
Streams start as copies of the trunk, and projections as the average, so a joint network of equal views starts as the
network of one.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fusionkit.errors import ConfigError
from fusionkit.training.finetune_config import FusionShape

_SPREAD = 0.02  # standard deviation of a new classifier's weights


def build_network(shape: FusionShape, trunk: nn.Module, width: int, classes: int, views: int) -> ViewNetwork:
    """Build the network of a shape; torch's global generator draws its new weights.

    Raises:
        ConfigError: if the backbone cannot be joined at this position.
    """
    if shape.position == "alone":
        return ViewNetwork(trunk, width, classes)
    if shape.position == "block":
        return JoinedAtBlock(trunk, width, classes, views, shape.combine, shape.block)
    kinds = {"input": JoinedAtInput, "pooled": JoinedPooled, "logits": JoinedLogits}
    return kinds[shape.position](trunk, width, classes, views, shape.combine)


class ViewNetwork(nn.Module):
    """Images of every view to logits. This base uses the main view alone.

    Args:
        trunk: (B, 3, H, W) to (B, width).
        width: D.
        classes: C.
    """

    def __init__(self, trunk: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = _classifier(width, classes)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """Return (B, C) for (B, 3, H, W) per view, main view first."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Sequence[Tensor]) -> Tensor:
        """Return the classifier's input (B, D); here the main view's."""
        found: Tensor = self.trunk(images[0])
        return found


class JoinedAtInput(ViewNetwork):
    """The images are averaged, or stacked in channels for a widened first layer."""

    def __init__(self, trunk: nn.Module, width: int, classes: int, views: int, combine: str) -> None:
        super().__init__(trunk, width, classes)
        self.stacked = combine == "concat"
        if self.stacked:
            _widen(trunk, views)

    def features(self, images: Sequence[Tensor]) -> Tensor:
        """Return (B, D)."""
        joined = torch.cat(list(images), 1) if self.stacked else torch.stack(list(images)).mean(0)
        found: Tensor = self.trunk(joined)
        return found


class JoinedAtBlock(ViewNetwork):
    """Each view has its own first blocks; the later ones are shared."""

    def __init__(self, trunk: nn.Module, width: int, classes: int, views: int, combine: str, block: int) -> None:
        super().__init__(trunk, width, classes)
        self.block = block
        stages = stages_of(trunk)
        if block > stages.depth:
            raise ConfigError(
                f"fusion: position = block:{block} exceeds the {stages.depth} blocks of the backbone",
                hint=f"use block:0 to block:{stages.depth}",
            )
        self.streams = nn.ModuleList(copy.deepcopy(trunk) for _ in range(views - 1))
        for stream in self.streams:
            stages_of(stream).cut_off(block)
        self.combine = Combine(combine, views, stages.width(block), maps=stages.maps)

    def features(self, images: Sequence[Tensor]) -> Tensor:
        """Return (B, D)."""
        streams = [stages_of(network) for network in (self.trunk, *self.streams)]
        early = [
            stages.blocks(stages.stem(image), 0, self.block) for stages, image in zip(streams, images, strict=True)
        ]
        trunk = streams[0]
        return trunk.tail(trunk.blocks(self.combine(early), self.block, trunk.depth))


class JoinedPooled(ViewNetwork):
    """Each view has a network; the pooled features are combined for one classifier."""

    def __init__(self, trunk: nn.Module, width: int, classes: int, views: int, combine: str) -> None:
        super().__init__(trunk, width, classes)
        self.streams = nn.ModuleList(copy.deepcopy(trunk) for _ in range(views - 1))
        self.combine = Combine(combine, views, width)

    def features(self, images: Sequence[Tensor]) -> Tensor:
        """Return (B, D)."""
        each = [network(image) for network, image in zip((self.trunk, *self.streams), images, strict=True)]
        found: Tensor = self.combine(each)
        return found


class JoinedLogits(ViewNetwork):
    """Each view has a network and a classifier; the logits are combined."""

    def __init__(self, trunk: nn.Module, width: int, classes: int, views: int, combine: str) -> None:
        super().__init__(trunk, width, classes)
        self.streams = nn.ModuleList(copy.deepcopy(trunk) for _ in range(views - 1))
        self.heads = nn.ModuleList(_classifier(width, classes) for _ in range(views - 1))
        self.combine = Combine(combine, views, classes)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """Return (B, C)."""
        networks, heads = (self.trunk, *self.streams), (self.head, *self.heads)
        each = [head(network(image)) for head, network, image in zip(heads, networks, images, strict=True)]
        found: Tensor = self.combine(each)
        return found


class Combine(nn.Module):
    """Combine the features of V views into features of the same shape.

    Args:
        how: ``average``; or ``concat``: concatenation in channels, then a linear map (for maps a 1 x 1 convolution) to
            the width of one view, which starts as the average.
        views: V.
        width: channels.
        maps: whether features are (B, C, H, W). Default: False, channels are last.
    """

    def __init__(self, how: str, views: int, width: int, *, maps: bool = False) -> None:
        super().__init__()
        self.axis = 1 if maps else -1
        self.project: nn.Conv2d | nn.Linear | None = None
        if how == "concat":
            self.project = nn.Conv2d(views * width, width, 1) if maps else nn.Linear(views * width, width)
            average = torch.eye(width).repeat(1, views) / views
            nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]
            with torch.no_grad():
                self.project.weight.copy_(average.reshape(self.project.weight.shape))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Combine."""
        if self.project is None:
            return torch.stack(list(features)).mean(0)
        found: Tensor = self.project(torch.cat(list(features), self.axis))
        return found


def _classifier(width: int, classes: int) -> nn.Linear:
    head = nn.Linear(width, classes)
    nn.init.trunc_normal_(head.weight, std=_SPREAD)
    nn.init.zeros_(head.bias)
    return head


def _widen(network: nn.Module, views: int) -> None:
    """Let the first convolution take the channels of all views; it starts as the average over views."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != 3 or first.groups != 1:
        raise ConfigError(
            "fusion: combine = concat at position = input needs a convolution of three channels as first layer",
            hint="use combine = average",
        )
    first.weight = nn.Parameter(first.weight.detach().repeat(1, views, 1, 1) / views)
    first.in_channels = 3 * views


class Stages(ABC):
    """Access to a network block by block.

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
        """Number of blocks."""

    @abstractmethod
    def width(self, block: int) -> int:
        """Return the channels of the features after ``block`` blocks."""

    @abstractmethod
    def stem(self, images: Tensor) -> Tensor:
        """Compute the input of the first block."""

    @abstractmethod
    def blocks(self, features: Tensor, first: int, last: int) -> Tensor:
        """Apply the blocks ``first`` to ``last - 1``."""

    @abstractmethod
    def tail(self, features: Tensor) -> Tensor:
        """Apply the layers after the last block: (B, D)."""

    @abstractmethod
    def cut_off(self, block: int) -> None:
        """Remove everything after the first ``block`` blocks; names of the rest stay."""


class TransformerStages(Stages):
    """A plain vision transformer. Block k is its k-th transformer block; block 0 is the patch embedding."""

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return len(self.network.blocks)

    def width(self, block: int) -> int:
        """Return the width of a token, the same after every block."""
        return int(self.network.embed_dim)

    def stem(self, images: Tensor) -> Tensor:
        """Embed patches and add class token and positions: (B, K, D)."""
        network = self.network
        tokens: Tensor = network._pos_embed(network.patch_embed(images))  # noqa: SLF001  (timm has no public step)
        found: Tensor = network.norm_pre(network.patch_drop(tokens))
        return found

    def blocks(self, features: Tensor, first: int, last: int) -> Tensor:
        """Apply blocks to (B, K, D)."""
        for block in self.network.blocks[first:last]:
            features = block(features)
        return features

    def tail(self, features: Tensor) -> Tensor:
        """Apply norm and pooling."""
        found: Tensor = self.network.forward_head(self.network.norm(features), pre_logits=True)
        return found

    def cut_off(self, block: int) -> None:
        """Remove later blocks and norms."""
        self.network.blocks = self.network.blocks[:block]
        self.network.norm = self.network.fc_norm = nn.Identity()


class ResNetStages(Stages):
    """A ResNet. Block k is its k-th of four layers; block 0 is the stem."""

    maps: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3", "layer4")

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.names)

    def width(self, block: int) -> int:
        """Return the channels of the map."""
        return int(self.network.feature_info[block]["num_chs"])

    def stem(self, images: Tensor) -> Tensor:
        """Apply the first convolution and pooling: (B, C, H, W)."""
        network = self.network
        found: Tensor = network.maxpool(network.act1(network.bn1(network.conv1(images))))
        return found

    def blocks(self, features: Tensor, first: int, last: int) -> Tensor:
        """Apply layers to (B, C, H, W)."""
        for name in self.names[first:last]:
            features = getattr(self.network, name)(features)
        return features

    def tail(self, features: Tensor) -> Tensor:
        """Apply pooling."""
        found: Tensor = self.network.forward_head(features, pre_logits=True)
        return found

    def cut_off(self, block: int) -> None:
        """Remove later layers."""
        for name in self.names[block:]:
            setattr(self.network, name, nn.Identity())


def stages_of(network: nn.Module) -> Stages:
    """Return the stages of a network.

    Raises:
        ConfigError: if it is neither a plain vision transformer nor a ResNet of timm.
    """
    from timm.models import ResNet, VisionTransformer

    if type(network) is VisionTransformer:
        return TransformerStages(network)
    if type(network) is ResNet:
        return ResNetStages(network)
    raise ConfigError(
        f"fusion: position = block:K needs a plain vision transformer or a ResNet of timm; this backbone is a "
        f"{type(network).__name__}",
        hint="the positions input, pooled and logits work with any backbone",
    )


class Classifier(nn.Module):
    """Normalises images; returns logits, or the loss of a batch.

    Args:
        network: normalised images to logits.
        mean: per RGB channel, of values scaled to 0..1.
        std: likewise.
        criterion: logits (B, C) and labels (B,) to a scalar.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: ViewNetwork,
        mean: Sequence[float],
        std: Sequence[float],
        criterion: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the loss for (B, 3, H, W) uint8 per view, and labels (B,)."""
        *views, labels = tensors
        return self.criterion(self.logits(views), labels)

    def logits(self, views: Sequence[Tensor]) -> Tensor:
        """Return (B, C) for (B, 3, H, W) uint8 per view."""
        found: Tensor = self.network([self.normalized(view) for view in views])
        return found

    def normalized(self, view: Tensor) -> Tensor:
        """Normalise a view to (B, 3, H, W) float32."""
        return (view.float() / 255 - self.mean) / self.std


def parameter_groups(network: ViewNetwork, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups with ``weight_decay`` and ``lr_scale``, a factor on the learning rate.

    Biases, norms and the parameters that timm's model excludes (class token, positions) are not decayed. With
    ``layer_decay`` below 1 the rate of each layer of the trunk is that of the next layer times ``layer_decay``; layers
    of streams have the rate of the trunk's layer of the same name. The last layer, classifiers and projections have the
    full rate.

    Raises:
        ConfigError: if ``layer_decay`` is below 1 and the trunk does not define its layers.

    Reference:
        Layer-wise decay: Clark et al., ELECTRA, ICLR 2020; for vision transformers Bao et al., BEiT, ICLR 2022. Layers
        are those of timm's ``group_matcher``.
    """
    trunk: Any = network.trunk
    undecayed = set(trunk.no_weight_decay()) if hasattr(trunk, "no_weight_decay") else set()
    scales = _layer_scales(trunk, layer_decay) if layer_decay < 1 else {}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        own = _own_name(name)
        decay = 0.0 if parameter.ndim <= 1 or own in undecayed else weight_decay
        scale = scales.get(own, 1.0) if own else 1.0
        group = groups.setdefault((scale, decay), {"params": [], "lr_scale": scale, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


def _own_name(name: str) -> str:
    """Return the name of a parameter inside the trunk or a stream; empty for new layers."""
    part, _, rest = name.partition(".")
    if part == "trunk":
        return rest
    return rest.partition(".")[2] if part == "streams" else ""


def _layer_scales(trunk: nn.Module, layer_decay: float) -> dict[str, float]:
    """Return the factor of each parameter, by name."""
    from timm.models import group_parameters

    model: Any = trunk
    if not hasattr(model, "group_matcher"):
        raise ConfigError(
            f"recipe: layer_decay = {layer_decay} needs a timm model that defines its layers; {type(trunk).__name__} "
            "does not",
            hint="use layer_decay=1",
        )
    layers: dict[str, int] = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    return {name: layer_decay ** (last - layer) for name, layer in layers.items()}
