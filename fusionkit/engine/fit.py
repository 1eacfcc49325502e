"""Fit: one head, trained on stored embeddings; its logits on dev and test, and what is needed to use it again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.contracts.dataset import UNLABELLED
from fusionkit.contracts.fusion import FittedFusion, Fusion
from fusionkit.contracts.task import SingleLabel
from fusionkit.engine.apply import evaluate, evaluate_fitted, named
from fusionkit.engine.batches import HeldBatches, StreamedBatches, Tensors, batches_of
from fusionkit.engine.features import AnyPart, Features, FoldRows
from fusionkit.engine.flops import gflops
from fusionkit.engine.losses import criterion
from fusionkit.engine.part import Part
from fusionkit.engine.view_heads import WithViewHeads, drop_views
from fusionkit.errors import CellError
from fusionkit.recipe import Recipe
from fusionkit.registry import FUSIONS
from fusionkit.spec import Spec

REVISION = 1  # raise when the same features give other heads than before


@dataclass(frozen=True, eq=False)
class Head:
    """A trained head.

    Attributes:
        state: its learned arrays by name.
        dev_logits: (m, C) float32, NaN rows for frames without any view.
        test_logits: (k, C) float32, as above.
        test_whole: (k,) bool: the test frames that have every view.
        params: learned numbers, the head and the fusion together.
        gflops: of one frame, forward, by torch's flop counter with fused attention off; 0 for a fitted fusion.
        history: dev macro-F1 of each epoch.
        best_epoch: the epoch that was kept, from 1; 0 for a fitted fusion.
    """

    state: dict[str, np.ndarray]
    dev_logits: np.ndarray
    test_logits: np.ndarray
    test_whole: np.ndarray
    params: int
    gflops: float
    history: list[float]
    best_epoch: int


def fit(features: Features, rows: FoldRows, classes: int, fusion: Spec, recipe: Recipe, seed: int, device: str) -> Head:
    """Train one head.

    Args:
        features: train, dev and test features of a fold.
        rows: the fold; no test labels in it.
        classes: C.
        fusion: what is trained.
        recipe: how.
        seed: of initialisation, batches and whatever the fusion draws.
        device: where.

    Raises:
        CellError: if a loss or logit is not finite, or a fusion that is fitted in one go needs more features in memory
            than the limit allows.
        PluginError: if the fusion fails or gives the wrong shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = FUSIONS.build(fusion, in_dims=features.widths, num_classes=classes)
        if isinstance(built, FittedFusion):
            return _fit_at_once(built, features, rows, fusion, seed)
        built.attach_head()
        if recipe.view_heads:
            built = WithViewHeads(built, recipe.view_heads, recipe.gradient_modulation)
        return _Training(built.to(device), features, rows, fusion, recipe, seed, device).run()


def needs_of(fusion: Spec) -> int:
    """How many tokens a view the fusion asks for; 0 where it takes pooled embeddings."""
    cls = FUSIONS.get(fusion.name)
    if getattr(cls, "needs", "pooled") != "tokens":
        return 0
    return int(fusion.options.get("token_count", cls.token_count))


class _Training:
    """The training loop: batches in an order that the seed draws, early stopping on dev macro-F1."""

    def __init__(
        self,
        fusion: Fusion,
        features: Features,
        rows: FoldRows,
        spec: Spec,
        recipe: Recipe,
        seed: int,
        device: str,
    ) -> None:
        self.fusion = fusion
        self.spec = spec
        self.recipe = recipe
        self.device = device
        self.task = SingleLabel(fusion.num_classes)
        kept = np.flatnonzero(features.train.seen)
        self.kept = torch.from_numpy(kept)
        self.train = batches_of(features.train, device)
        self.target = torch.from_numpy(rows.train_label[kept]).to(device)
        self.dev = batches_of(features.dev, device)
        self.dev_seen = features.dev.seen
        self.dev_label = rows.dev_label
        if not ((rows.dev_label != UNLABELLED) & self.dev_seen).any():
            raise CellError("no dev frame has both a label and a view: there is nothing to choose an epoch on")
        self.features = features
        self.generator = torch.Generator().manual_seed(seed)
        self.filling = {  # a missing view holds its training mean, which scaling brings to zero
            name: torch.from_numpy(mean * (not recipe.standardize)).to(device) for name, mean in features.mean.items()
        }
        fusion.criterion = criterion(recipe, self.target, fusion.num_classes)

    def run(self) -> Head:
        optimizer = _optimizer(self.recipe, self.fusion)
        history: list[float] = []
        best, best_state = -1.0, self._state()
        for epoch in range(self.recipe.epochs):
            self._epoch(optimizer, epoch)
            history.append(self._dev_score())
            if history[-1] > best or not self.recipe.patience:
                best, best_epoch, best_state = history[-1], epoch + 1, self._state()
            elif epoch + 1 - best_epoch >= self.recipe.patience:
                break
        self.fusion.load_state_dict(best_state)
        return Head(
            state=self._arrays(best_state),
            dev_logits=self._logits(self.dev, self.features.dev),
            test_logits=self._logits(batches_of(self.features.test, self.device), self.features.test),
            test_whole=self.features.test.whole,
            params=sum(parameter.numel() for parameter in self.fusion.parameters()),
            gflops=_gflops(self.fusion, self.dev),
            history=history,
            best_epoch=best_epoch,
        )

    def _epoch(self, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        self.fusion.train()
        order = torch.randperm(len(self.target), generator=self.generator)
        size = self.recipe.batch_size
        if len(order) > 1 and len(torch.split(order, size)[-1]) == 1:
            order = order[:-1]  # batch normalisation cannot learn from one row
        targets = torch.split(self.target[order.to(self.device)], size)
        for target, (views, present) in zip(targets, self._drawn(self.kept[order], size), strict=True):
            output = self.fusion(views, present)
            loss = self.fusion.loss(output, target)
            if not math.isfinite(loss.item()):
                raise CellError(
                    f"fusion {self.spec}: the loss is {loss.item()} in epoch {epoch + 1} on views "
                    + ", ".join(f"{name} {tuple(value.shape)}" for name, value in views.items())
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.fusion.after_backward()
            optimizer.step()

    def _drawn(self, order: Tensor, size: int) -> Iterator[Tensors]:
        share = self.recipe.view_dropout
        for views, present in self.train.drawn(order, size):
            yield drop_views(views, present, share, self.filling, self.generator) if share else (views, present)

    def _dev_score(self) -> float:
        predicted = np.nan_to_num(self._logits(self.dev, self.features.dev)).argmax(1)
        rows = np.flatnonzero((self.dev_label != UNLABELLED) & self.dev_seen)
        return self.task.metric(self.task.counts(self.dev_label[rows], predicted[rows]))

    def _logits(self, batches: HeldBatches | StreamedBatches, part: AnyPart) -> np.ndarray:
        return evaluate(self.fusion, batches, part, self.spec)

    def _state(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.fusion.state_dict().items()}

    def _arrays(self, state: dict[str, Tensor]) -> dict[str, np.ndarray]:
        return {**{f"fusion.{name}": value.cpu().numpy() for name, value in state.items()}, **_scaling(self.features)}


def _optimizer(recipe: Recipe, fusion: Fusion) -> torch.optim.Optimizer:
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    chosen: torch.optim.Optimizer = kinds[recipe.optimizer](
        fusion.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )
    return chosen


def _fit_at_once(fusion: FittedFusion, features: Features, rows: FoldRows, spec: Spec, seed: int) -> Head:
    held = [part for part in (features.train, features.dev, features.test) if isinstance(part, Part)]
    if len(held) < 3:
        raise CellError(
            f"fusion {spec} is fitted in one go: its features need {features.size / 2**30:.1f} GiB, "
            f"above the limit of {features.limit / 2**30:.1f} GiB",
            hint="--memory raises it",
        )
    train, dev, test = held
    kept = np.flatnonzero(train.seen)
    train = train.take(kept)
    with named(spec, train):
        fusion.fit(train.views, rows.train_label[kept], rows.train_unit[kept], seed)

    state = {f"fusion.{name}": value for name, value in fusion.state().items()}
    return Head(
        state={**state, **_scaling(features)},
        dev_logits=evaluate_fitted(fusion, dev, spec),
        test_logits=evaluate_fitted(fusion, test, spec),
        test_whole=test.whole,
        params=sum(value.size for value in state.values()),
        gflops=0.0,
        history=[],
        best_epoch=0,
    )


def _scaling(features: Features) -> dict[str, np.ndarray]:
    return {
        **{f"mean.{name}": value for name, value in features.mean.items()},
        **{f"scale.{name}": value for name, value in features.scale.items()},
    }


def _gflops(fusion: Fusion, batches: HeldBatches | StreamedBatches) -> float:
    views, present = next(batches.drawn(torch.zeros(1, dtype=torch.long), 1))
    return gflops(lambda: fusion(views, present))
