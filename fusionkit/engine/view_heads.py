"""A trainable step on each view before any fusion, with a classifier of its own: what unimodal losses act on."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Fusion, FusionOutput, Views


class WithViewHeads(Fusion):
    """Any fusion, behind an adapter for each view: ``h_v = x_v + A_v x_v + b_v``, which starts as the identity.

    Stored embeddings do not learn, so a loss on a single view would teach its own classifier and nothing else. The
    adapters stand for the views' encoders: the fusion and a linear classifier for each view learn from them together.
    The loss is the fusion's, plus ``weight`` times the mean of the views' own.

    With ``modulation`` the adapters of a view that is ahead are held back (OGM-GE): with s_v the probability that view
    v's own classifier gives to the truth, summed over the batch, and r_v = s_v over the mean of the other views' s, the
    gradients of a view with r_v > 1 are multiplied by ``1 - tanh(modulation * r_v)``, and every adapter's gradient gets
    normal noise of its own spread.

    Args:
        inner: the fusion, its head attached.
        weight: of the views' own losses.
        modulation: alpha; 0 leaves gradients as they are.

    Reference: Peng et al. 2022, "Balanced Multimodal Learning via On-the-fly Gradient Modulation", equations 7-11
    (https://arxiv.org/abs/2203.15332). They modulate convolutions of two encoders; adapters on stored embeddings, and
    the mean of the others for more than two views, are our reading.
    """

    provided: ClassVar[tuple[str, ...]] = ("inner", "weight", "modulation")

    def __init__(self, inner: Fusion, weight: float, modulation: float) -> None:
        super().__init__(inner.in_dims, inner.num_classes)
        self.inner, self.weight, self.modulation = inner, weight, modulation
        self.needs, self.missing, self.token_count = inner.needs, inner.missing, inner.token_count  # type: ignore[misc]
        self.adapters = nn.ModuleList([_identity(dim) for dim in self.in_dims.values()])
        self.classifiers = nn.ModuleList([nn.Linear(dim, self.num_classes) for dim in self.in_dims.values()])
        self._said: FusionOutput | None = None
        self._ratios: list[float] = []

    def fuse(self, views: Views, present: Views) -> FusionOutput:
        """The fusion of the adapted views, and each view's own logits."""
        adapted = {
            name: views[name] + layer(views[name]) for name, layer in zip(self.in_dims, self.adapters, strict=True)
        }
        self._said = self.inner(adapted, present)
        own = {
            name: layer(value.mean(1) if value.ndim == 3 else value)
            for (name, value), layer in zip(adapted.items(), self.classifiers, strict=True)
        }
        return FusionOutput(logits=self._said.logits, view_logits=own)

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """The fusion's loss, and the mean of the views' own."""
        assert self._said is not None
        assert output.view_logits is not None
        self.inner.criterion = self.criterion
        own = [self.criterion(logits, target) for logits in output.view_logits.values()]
        if self.modulation:
            self._ratios = ratios([logits.detach() for logits in output.view_logits.values()], target)
        return self.inner.loss(self._said, target) + self.weight * torch.stack(own).mean()

    def after_backward(self) -> None:
        """What the fusion does, then the modulation of the adapters' gradients."""
        self.inner.after_backward()
        if not self.modulation:
            return
        for ratio, layer in zip(self._ratios, self.adapters, strict=True):
            kept = 1 - torch.tanh(torch.tensor(self.modulation * ratio)).item() if ratio > 1 else 1.0
            for parameter in layer.parameters():
                if parameter.grad is not None:
                    spread = parameter.grad.std(correction=0).item()
                    parameter.grad.mul_(kept).add_(torch.randn_like(parameter.grad), alpha=spread)


def ratios(logits: list[Tensor], target: Tensor) -> list[float]:
    """How far each view is ahead: its summed probability of the truth over the mean of the other views'."""
    sums = [one.softmax(1).gather(1, target[:, None]).sum().item() for one in logits]
    if len(sums) == 1:
        return [1.0]
    others = [(sum(sums) - own) / (len(sums) - 1) for own in sums]
    return [own / max(other, 1e-12) for own, other in zip(sums, others, strict=True)]


def _identity(dim: int) -> nn.Linear:
    layer = nn.Linear(dim, dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def drop_views(
    views: Views, present: Views, share: float, filling: Views, generator: torch.Generator
) -> tuple[Views, Views]:
    """Modality dropout: each view of each row is taken away with probability ``share``, but never all of them.

    A view that is taken away is as one that is missing: False in ``present``, and its training mean in its place. A row
    that would lose every view keeps one of those that it had.

    Args:
        views: (B, ...) a view.
        present: (B,) bool a view.
        share: probability, 0..1.
        filling: (D_v,) a view: what stands in for a missing one.
        generator: draws.

    Reference: Neverova et al. 2016, "ModDrop: Adaptive Multi-Modal Gesture Recognition", section 4
    (https://arxiv.org/abs/1501.00102).
    """
    names = list(views)
    there = torch.stack([present[name] for name in names], 1)
    chance = torch.rand(there.shape, generator=generator).to(there.device)
    kept = there & (chance >= share)
    # The view with the best chance among those that are there stays where nothing else would.
    best = chance.masked_fill(~there, -1.0).argmax(1, keepdim=True)
    saved = torch.zeros_like(kept).scatter(1, best, value=True) & there & ~kept.any(1, keepdim=True)
    kept = kept | saved
    left: Views = {}
    for place, name in enumerate(names):
        lost = there[:, place] & ~kept[:, place]
        shape = (-1, *[1] * (views[name].ndim - 1))
        left[name] = torch.where(lost.view(shape), filling[name], views[name])
    return left, {name: kept[:, place] for place, name in enumerate(names)}
