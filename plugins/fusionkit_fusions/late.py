"""What late fusions share: a classifier a view, learning by itself, and who of them is heard."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, FusionOutput, require_choice, require_count
from fusionkit_fusions.presence import readable


class LateFusion(Fusion):
    """A classifier per view, each trained by its own loss; a subclass says how their logits become one.

    The loss is the sum of the base's loss on each view's logits: no classifier knows of the others, as where each had
    been trained alone. An absent view is not heard; a frame without any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        hidden: width of a hidden layer in each classifier; 0 for a linear one.
        learn: ``separate``: each classifier by its own loss. ``joint``: one loss on what they say together.

    Attributes:
        name: of the fusion, as errors give it.
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"hidden": 8, "learn": "joint"})
    name: ClassVar[str]

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        hidden: int = 0,
        learn: Literal["separate", "joint"] = "separate",
    ) -> None:
        super().__init__(in_dims, num_classes)
        require_count(f"{self.name}: hidden", hidden, least=0)
        require_choice(f"{self.name}: learn", learn, ("separate", "joint"))
        self.learn = learn
        self.classifiers = nn.ModuleList([_classifier(dim, hidden, num_classes) for dim in in_dims.values()])

    def decide(self, logits: Tensor, there: Tensor) -> Tensor:
        """What the classifiers say together.

        Args:
            logits: (B, V, C).
            there: (B, V) bool, at least one view a frame.

        Returns:
            (B, C).
        """
        raise NotImplementedError

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        """Logits (B, C), and those of each view.

        Args:
            views: (B, D_v) a view.
            present: (B,) bool a view.
        """
        single = {name: layer(views[name]) for name, layer in zip(self.in_dims, self.classifiers, strict=True)}
        there = readable(torch.stack([present[name] for name in self.in_dims], 1))
        return FusionOutput(logits=self.decide(torch.stack(list(single.values()), 1), there), view_logits=single)

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """The sum of the views' own losses, or the loss of what they say together."""
        if self.learn == "joint":
            return super().loss(output, target)
        assert output.view_logits is not None
        losses = [self.criterion(logits, target) for logits in output.view_logits.values()]
        return torch.stack(losses).sum()


def _classifier(dim: int, hidden: int, classes: int) -> nn.Module:
    if not hidden:
        return nn.Linear(dim, classes)
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, classes))
