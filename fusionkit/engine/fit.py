"""Fit: one head, trained on stored embeddings; its logits on dev and test, and what is needed to use it again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.contracts.dataset import UNLABELLED
from fusionkit.contracts.fusion import FittedFusion, Fusion, Views
from fusionkit.contracts.task import SingleLabel
from fusionkit.engine.features import Features, FoldRows, Part
from fusionkit.engine.losses import criterion
from fusionkit.errors import CellError, PluginError
from fusionkit.recipe import Recipe
from fusionkit.registry import FUSIONS
from fusionkit.spec import Spec

REVISION = 1  # raise when the same features give other heads than before
_EVALUATION_BATCH = 4096

Tensors = tuple[Views, Views]  # views, present


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
        CellError: if a loss or logit is not finite.
        PluginError: if the fusion fails or gives the wrong shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = FUSIONS.build(fusion, in_dims=features.widths, num_classes=classes)
        if isinstance(built, FittedFusion):
            return _fit_at_once(built, features, rows, fusion, seed)
        built.attach_head()
        return _Training(built.to(device), features, rows, fusion, recipe, seed, device).run()


def needs_of(fusion: Spec) -> int:
    """How many tokens a view the fusion asks for; 0 where it takes pooled embeddings."""
    cls = FUSIONS.get(fusion.name)
    if getattr(cls, "needs", "pooled") != "tokens":
        return 0
    return int(fusion.options.get("token_count", cls.token_count))


class _Training:
    """The training loop: features in memory, batches by index, early stopping on dev macro-F1."""

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
        self.train = _tensors(features.train.take(kept), device)
        self.target = torch.from_numpy(rows.train_label[kept]).to(device)
        self.dev = _tensors(features.dev, device)
        self.dev_seen = features.dev.seen
        self.dev_label = rows.dev_label
        if not ((rows.dev_label != UNLABELLED) & self.dev_seen).any():
            raise CellError("no dev frame has both a label and a view: there is nothing to choose an epoch on")
        self.features = features
        self.generator = torch.Generator().manual_seed(seed)
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
            dev_logits=self._logits(self.dev, self.dev_seen),
            test_logits=self._logits(_tensors(self.features.test, self.device), self.features.test.seen),
            test_whole=self.features.test.whole,
            params=sum(parameter.numel() for parameter in self.fusion.parameters()),
            gflops=_gflops(self.fusion, self.dev),
            history=history,
            best_epoch=best_epoch,
        )

    def _epoch(self, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        self.fusion.train()
        order = torch.randperm(len(self.target), generator=self.generator).to(self.device)
        views, present = self.train
        batches: list[Tensor] = list(torch.split(order, self.recipe.batch_size))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches = batches[:-1]  # batch normalisation cannot learn from one row
        for batch in batches:
            output = self.fusion(_rows(views, batch), _rows(present, batch))
            loss = self.fusion.loss(output, self.target[batch])
            if not math.isfinite(loss.item()):
                raise CellError(
                    f"fusion {self.spec}: the loss is {loss.item()} in epoch {epoch + 1} on views "
                    + ", ".join(f"{name} {tuple(value[batch].shape)}" for name, value in views.items())
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.fusion.after_backward()
            optimizer.step()

    def _dev_score(self) -> float:
        predicted = np.nan_to_num(self._logits(self.dev, self.dev_seen)).argmax(1)
        rows = np.flatnonzero((self.dev_label != UNLABELLED) & self.dev_seen)
        return self.task.metric(self.task.counts(self.dev_label[rows], predicted[rows]))

    def _logits(self, tensors: Tensors, seen: np.ndarray) -> np.ndarray:
        self.fusion.eval()
        views, present = tensors
        found = []
        with torch.inference_mode():
            for start in range(0, len(seen), _EVALUATION_BATCH):
                part = slice(start, start + _EVALUATION_BATCH)
                output = self.fusion(
                    {name: value[part] for name, value in views.items()},
                    {name: value[part] for name, value in present.items()},
                )
                found.append(output.logits.float().cpu())
        logits: np.ndarray = torch.cat(found).numpy()
        _refuse_bad(logits[seen], self.spec, views)
        logits[~seen] = np.nan
        return logits

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
    kept = np.flatnonzero(features.train.seen)
    train = features.train.take(kept).views
    with _named(spec, train):
        fusion.fit(train, rows.train_label[kept], rows.train_unit[kept], seed)

    def logits(part: Part) -> np.ndarray:
        with _named(spec, part.views):
            probs = np.asarray(fusion.predict_proba(part.views), dtype=np.float64)
        if probs.shape != (len(part.seen), fusion.num_classes):
            raise CellError(f"fusion {spec} gave {probs.shape}; expected {(len(part.seen), fusion.num_classes)}")
        values: np.ndarray = np.log(np.maximum(probs, 1e-12)).astype(np.float32)
        _refuse_bad(values[part.seen], spec, part.views)
        values[~part.seen] = np.nan
        return values

    state = {f"fusion.{name}": value for name, value in fusion.state().items()}
    return Head(
        state={**state, **_scaling(features)},
        dev_logits=logits(features.dev),
        test_logits=logits(features.test),
        test_whole=features.test.whole,
        params=sum(value.size for value in state.values()),
        gflops=0.0,
        history=[],
        best_epoch=0,
    )


@contextmanager
def _named(spec: Spec, views: dict[str, np.ndarray]) -> Iterator[None]:
    """A fitted fusion's error with its name, the views and their shapes."""
    try:
        yield
    except Exception as error:
        named = ", ".join(f"{name} {value.shape}" for name, value in views.items())
        raise PluginError(f"fusion {spec} on views {named} failed: {type(error).__name__}: {error}") from error


def _refuse_bad(logits: np.ndarray, spec: Spec, views: dict[str, Any]) -> None:
    if not np.isfinite(logits).all():
        named = ", ".join(f"{name} {tuple(value.shape)}" for name, value in views.items())
        raise CellError(f"fusion {spec} gave logits that are not finite on views {named}")


def _tensors(part: Part, device: str) -> Tensors:
    return (
        {name: torch.from_numpy(value).to(device) for name, value in part.views.items()},
        {name: torch.from_numpy(value).to(device) for name, value in part.present.items()},
    )


def _rows(values: Views, rows: Tensor) -> Views:
    return {name: value[rows] for name, value in values.items()}


def _scaling(features: Features) -> dict[str, np.ndarray]:
    return {
        **{f"mean.{name}": value for name, value in features.mean.items()},
        **{f"scale.{name}": value for name, value in features.scale.items()},
    }


def _gflops(fusion: Fusion, tensors: Tensors) -> float:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    views, present = tensors
    counter = FlopCounterMode(display=False)
    written_out: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)  # fused attention counts as nothing
    with torch.inference_mode(), written_out, counter:
        fusion(_rows(views, torch.zeros(1, dtype=torch.long)), _rows(present, torch.zeros(1, dtype=torch.long)))
    return float(counter.get_total_flops()) / 1e9
