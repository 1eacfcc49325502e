"""Networks of one or several views with a classifier, by where the views are joined.

The main view's network is the ``trunk``; what other views have of their own, with the same names inside, is in
``streams``. Streams begin as copies of the trunk, and a projection begins as the average, so that a joint network of
equal views begins as the network of one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusionkit.errors import ConfigError
from fusionkit.training.fusion_shape import FusionShape
from fusionkit.training.stages import stages_of

_SPREAD = 0.02  # of a new classifier's weights


class Combine(nn.Module):
    """Features of V views into features of the same shape.

    Args:
        how: ``average``, or ``concat``: side by side in channels, then a linear map (of maps: a 1 x 1 convolution) back
            to the width of one, which begins as the average.
        views: V.
        width: channels.
        maps: whether features are (B, C, H, W); else channels are last.
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


class ViewNetwork(nn.Module):
    """Base: images of every view to logits.

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
        """(B, C) of one (B, 3, H, W) a view, main view first."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Sequence[Tensor]) -> Tensor:
        """(B, D): what the classifier is given; here the main view's."""
        found: Tensor = self.trunk(images[0])
        return found


class JoinedAtInput(ViewNetwork):
    """The images are averaged, or stacked in channels for a first layer that is widened."""

    def __init__(self, trunk: nn.Module, width: int, classes: int, views: int, combine: str) -> None:
        super().__init__(trunk, width, classes)
        self.stacked = combine == "concat"
        if self.stacked:
            _widen(trunk, views)

    def features(self, images: Sequence[Tensor]) -> Tensor:
        """(B, D)."""
        joined = torch.cat(list(images), 1) if self.stacked else torch.stack(list(images)).mean(0)
        found: Tensor = self.trunk(joined)
        return found


class JoinedAtBlock(ViewNetwork):
    """Each view has its own first blocks; the others are shared."""

    def __init__(self, trunk: nn.Module, width: int, classes: int, views: int, combine: str, block: int) -> None:
        super().__init__(trunk, width, classes)
        self.block = block
        stages = stages_of(trunk)
        if block > stages.depth:
            raise ConfigError(
                f"fusion: position = block:{block} is beyond the last of {stages.depth} blocks of the backbone",
                hint=f"block:0..block:{stages.depth}",
            )
        self.streams = nn.ModuleList(copy.deepcopy(trunk) for _ in range(views - 1))
        for stream in self.streams:
            stages_of(stream).cut_off(block)
        self.combine = Combine(combine, views, stages.width(block), maps=stages.maps)

    def features(self, images: Sequence[Tensor]) -> Tensor:
        """(B, D)."""
        streams = [stages_of(network) for network in (self.trunk, *self.streams)]
        coarse = [
            stages.blocks(stages.stem(image), 0, self.block) for stages, image in zip(streams, images, strict=True)
        ]
        trunk = streams[0]
        return trunk.tail(trunk.blocks(self.combine(coarse), self.block, trunk.depth))


class JoinedPooled(ViewNetwork):
    """Each view has a network; their pooled features are combined before one classifier."""

    def __init__(self, trunk: nn.Module, width: int, classes: int, views: int, combine: str) -> None:
        super().__init__(trunk, width, classes)
        self.streams = nn.ModuleList(copy.deepcopy(trunk) for _ in range(views - 1))
        self.combine = Combine(combine, views, width)

    def features(self, images: Sequence[Tensor]) -> Tensor:
        """(B, D)."""
        each = [network(image) for network, image in zip((self.trunk, *self.streams), images, strict=True)]
        found: Tensor = self.combine(each)
        return found


class JoinedLogits(ViewNetwork):
    """Each view has a network and a classifier; their logits are combined."""

    def __init__(self, trunk: nn.Module, width: int, classes: int, views: int, combine: str) -> None:
        super().__init__(trunk, width, classes)
        self.streams = nn.ModuleList(copy.deepcopy(trunk) for _ in range(views - 1))
        self.heads = nn.ModuleList(_classifier(width, classes) for _ in range(views - 1))
        self.combine = Combine(combine, views, classes)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """(B, C)."""
        networks, heads = (self.trunk, *self.streams), (self.head, *self.heads)
        each = [head(network(image)) for head, network, image in zip(heads, networks, images, strict=True)]
        found: Tensor = self.combine(each)
        return found


def build_network(shape: FusionShape, trunk: nn.Module, width: int, classes: int, views: int) -> ViewNetwork:
    """The network of a shape; torch's generator draws its new weights.

    Raises:
        ConfigError: if the backbone cannot be joined there.
    """
    if shape.position == "alone":
        return ViewNetwork(trunk, width, classes)
    if shape.position == "block":
        return JoinedAtBlock(trunk, width, classes, views, shape.combine, shape.block)
    kinds = {"input": JoinedAtInput, "pooled": JoinedPooled, "logits": JoinedLogits}
    return kinds[shape.position](trunk, width, classes, views, shape.combine)


def _classifier(width: int, classes: int) -> nn.Linear:
    head = nn.Linear(width, classes)
    nn.init.trunc_normal_(head.weight, std=_SPREAD)
    nn.init.zeros_(head.bias)
    return head


def _widen(network: nn.Module, views: int) -> None:
    """Let the first convolution take the channels of all views; it begins as the average over views."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != 3 or first.groups != 1:
        raise ConfigError(
            "fusion: the first layer of this backbone is no convolution of three channels: position = input takes "
            "combine = average"
        )
    first.weight = nn.Parameter(first.weight.detach().repeat(1, views, 1, 1) / views)
    first.in_channels = 3 * views
