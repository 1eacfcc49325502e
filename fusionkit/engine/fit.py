"""Fit: train one head on stored embeddings, and compute its dev and test logits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fusionkit.config.recipe import Recipe
from fusionkit.contracts.backbone import TokenCount
from fusionkit.contracts.flops import gflops
from fusionkit.contracts.fusion import (
    Batch,
    FittedFusion,
    Fusion,
    FusionOutput,
    ParameterGroup,
    Views,
    Windows,
    named_inputs,
)
from fusionkit.contracts.inputs import WatchedTensors, errors_of, input_changed, read_only
from fusionkit.contracts.task import LossOptions, Task
from fusionkit.engine.features import (
    WINDOW,
    Arrays,
    FeaturesInMemory,
    FoldFeatures,
    FoldRows,
    FrameFeatures,
    ResidentBatches,
    StreamedBatches,
    Timeline,
    batches_of,
    clip_edges,
)
from fusionkit.engine.malloc import tuned_malloc
from fusionkit.engine.smooth import unsmoothed
from fusionkit.engine.windows import (
    PREDICTED,
    context,
    described,
    prediction_windows,
    rows_of,
    training_windows,
    used,
    window_batches,
)
from fusionkit.errors import CellError
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec

if TYPE_CHECKING:
    from fusionkit.engine.features import Tensors

Batches = ResidentBatches | StreamedBatches

REVISION = 2  # raise when the same features give other heads than before
EVALUATED = 4096  # frames per batch where nothing is trained


@dataclass(frozen=True, eq=False)
class Head:
    """A trained head.

    Attributes:
        state: its learned arrays by name.
        dev_logits: (m, C) float32, NaN rows for frames without any view.
        test_logits: (k, C) float32, likewise.
        test_complete: (k,) bool: the test frames that have every view.
        params: number of learned values, head and fusion together.
        gflops: of one frame, forward, by torch's flop counter with fused attention off; 0 for a fitted fusion.
        history: dev metric of each epoch.
        best_epoch: the epoch that was kept, from 1; 0 for a fitted fusion.
        steps: gradient steps of all epochs; 0 for a fitted fusion.
    """

    state: dict[str, np.ndarray]
    dev_logits: np.ndarray
    test_logits: np.ndarray
    test_complete: np.ndarray
    params: int
    gflops: float
    history: list[float]
    best_epoch: int
    steps: int


def fit(
    features: FoldFeatures, rows: FoldRows, task: Task, fusion: Spec, recipe: Recipe, seed: int, device: str
) -> Head:
    """Train one head.

    The linear classifier that a fusion is given starts at zero. Random weights would stay where few training frames
    reach, and add noise to the logits of others.

    Args:
        features: train, dev and test features of a fold.
        rows: rows and labels of the fold, without test labels.
        task: the prediction task.
        fusion: the fusion to train.
        recipe: training recipe (optimiser, epochs, loss).
        seed: of initialisation, batch order and the fusion's random draws.
        device: torch device.

    Raises:
        CellError: if a loss or logit is not finite, or a fitted fusion needs more features in memory than the limit
            allows.
        PluginError: if the fusion fails or gives the wrong shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = FUSIONS.build(fusion, in_dims=features.widths, num_classes=task.outputs)
        if isinstance(built, FittedFusion):
            return _fit_at_once(built, features, rows, task, fusion, seed)
        model = with_head(built, recipe).to(device)
        with tuned_malloc():
            return Training(model, features, rows, task, fusion, recipe, seed, device).run()


def with_head(fusion: Fusion, recipe: Recipe) -> Fusion:
    """Add a linear head that starts at zero if the fusion gives an embedding, and the view heads of the recipe."""
    fusion.attach_head()
    if isinstance(fusion.head, nn.Linear):
        nn.init.zeros_(fusion.head.weight)
        nn.init.zeros_(fusion.head.bias)
    return WithViewHeads(fusion, recipe.view_heads, recipe.gradient_modulation) if recipe.view_heads else fusion


def tokens_needed(fusion: Spec) -> TokenCount:
    """Return the number of tokens per view that a fusion takes; 0 if it takes pooled embeddings, or ``map``."""
    cls = FUSIONS.get(fusion.name)
    needs = getattr(cls, "needs", "pooled")
    if needs == "map":
        return "map"
    if needs != "tokens":
        return 0
    return int(fusion.options.get("token_count", cls.token_count))


class Training:
    """The training loop: batches in an order drawn from the seed, early stopping on the dev metric.

    Args:
        like: a training on the same features and device, whose copy of them is used.
    """

    def __init__(
        self,
        fusion: Fusion,
        features: FoldFeatures,
        rows: FoldRows,
        task: Task,
        spec: Spec,
        recipe: Recipe,
        seed: int,
        device: str,
        like: Training | None = None,
    ) -> None:
        self.fusion = fusion
        self.task = task
        self.spec = spec
        self.recipe = recipe
        self.device = device
        self.features = features
        self.dev_label = rows.dev_label
        self.dev_rows = np.flatnonzero(task.labelled(rows.dev_label) & features.dev.seen)
        if not len(self.dev_rows):
            raise CellError("no dev frame has both a label and a view, so no epoch can be selected")
        kept = np.flatnonzero(features.train.seen)
        self.kept = torch.from_numpy(kept)
        self.target = torch.from_numpy(rows.train_label[kept]).to(device)
        self.row = torch.from_numpy(rows.train[kept]).to(device)
        times = rows.timeline(rows.train[kept])
        self.clip, self.number = torch.from_numpy(times.clip).to(device), torch.from_numpy(times.number).to(device)
        self.edges = clip_edges(times.clip).tolist()
        self.dev_timeline, self.test_timeline = rows.timeline(rows.dev), rows.timeline(rows.test)
        self.batch_size = recipe.batch_of(len(kept))
        self.train: Batches = like.train if like else batches_of(features.train, device)
        self.dev: Batches = like.dev if like else batches_of(features.dev, device)
        self.generator = torch.Generator().manual_seed(seed)
        self.filling = {  # a missing view holds its training mean, which standardising brings to zero
            name: torch.from_numpy(mean * (not recipe.standardize)).to(device) for name, mean in features.mean.items()
        }
        self.criterion = task.criterion(self.target, loss_options(recipe))
        fusion.criterion = partial(self.criterion)  # a module itself would become a part of the fusion, and be stored
        self.steps = 0
        self.total = torch.zeros((), device=device)  # of all losses, on a GPU

    def run(self) -> Head:
        """Train, and return the head of the best epoch."""
        with errors_of(f"fusion {self.spec}: parameter_groups()"):
            groups = self.fusion.all_parameter_groups()
        optimizer = self.optimizer(groups)
        last_change = max(epoch for group in groups for epoch in (group.first_epoch, (group.last_epoch or 0) + 1))
        history: list[float] = []
        best = -math.inf
        for epoch in range(1, self.recipe.epochs + 1):
            _freeze(groups, epoch)
            self._epoch(optimizer, epoch)
            logits = self.dev_logits()
            history.append(self.dev_score(logits))
            if history[-1] > best or not self.recipe.patience:
                best, best_epoch, best_state, best_logits = history[-1], epoch, self._state(), logits
            elif epoch - max(best_epoch, last_change) >= self.recipe.patience:
                break
        self.fusion.load_state_dict(best_state)
        return self.head(best_logits, history, best_epoch)

    def head(self, dev_logits: np.ndarray, history: list[float], best_epoch: int) -> Head:
        """Return the head of the best epoch, whose parameters the fusion holds, with its logits of dev (m, C)."""
        test = self.features.test
        state = {name: value.cpu().numpy() for name, value in self._state().items()}
        return Head(
            state=_head_state(state, self.features),
            dev_logits=dev_logits,
            test_logits=evaluate(self.fusion, batches_of(test, self.device), test, self.test_timeline, self.spec),
            test_complete=test.complete,
            params=sum(parameter.numel() for parameter in self.fusion.parameters()),
            gflops=self._gflops(),
            history=history,
            best_epoch=best_epoch,
            steps=self.steps,
        )

    def dev_logits(self) -> np.ndarray:
        """Return the logits of dev (m, C) with the parameters that the fusion holds."""
        return evaluate(self.fusion, self.dev, self.features.dev, self.dev_timeline, self.spec)

    def optimizer(self, groups: list[ParameterGroup]) -> torch.optim.Optimizer:
        """Return the optimiser of the recipe."""
        recipe = self.recipe
        kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
        found: torch.optim.Optimizer = kinds[recipe.optimizer](
            [
                {
                    "params": list(group.parameters),
                    "lr": recipe.lr * group.lr,
                    "weight_decay": recipe.weight_decay if group.weight_decay is None else group.weight_decay,
                }
                for group in [*groups, *self.criterion_groups()]
            ],
            fused=True,
        )
        return found

    def criterion_groups(self) -> list[ParameterGroup]:
        """Return the parameters of the loss, which are no part of the head."""
        learned = list(self.criterion.parameters()) if isinstance(self.criterion, nn.Module) else []
        return [ParameterGroup(learned, weight_decay=0.0)] if learned else []

    def _epoch(self, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        self.fusion.train()
        rows, windows_of_batches = zip(*self.drawn(), strict=True)
        batches = zip(self.about(rows), windows_of_batches, self._inputs(rows), strict=True)
        with errors_of(f"fusion {self.spec}: training in epoch {epoch}"):
            for (target, clip, number, row), windows, (views, present) in batches:
                self._step(optimizer, Batch(views, present, target, clip, number, row, epoch), windows)
        self._require_finite(self.total, epoch)

    def _require_finite(self, loss: Tensor, epoch: int, views: Views | None = None) -> None:
        if not math.isfinite(loss.item()):
            where = f"in epoch {epoch}" + (f" on views {_batch_shapes(views)}" if views else "")
            raise CellError(f"fusion {self.spec}: the loss is {loss.item()} {where}")

    def drawn(self) -> list[tuple[Tensor, Windows | None]]:
        """Draw the batches of an epoch: (b,) numbers of rows among those that are trained on, and their windows."""
        drawn = self._drawn()
        if len(drawn) > 1 and len(drawn[-1][0]) == 1:
            drawn.pop()  # batch normalisation cannot learn from one row
        return drawn

    def about(self, drawn: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield labels, clips, frame numbers and rows of the frames of each batch, read for all batches together."""
        frames, sizes = torch.cat(list(drawn)).to(self.device), [len(rows) for rows in drawn]

        def of_batches(value: Tensor) -> Sequence[Tensor]:
            return torch.split(value.index_select(0, frames), sizes)

        return zip(*map(of_batches, (self.target, self.clip, self.number, self.row)), strict=True)

    def _drawn(self) -> list[tuple[Tensor, Windows | None]]:
        if self.fusion.needs != "clip":
            order = torch.randperm(len(self.target), generator=self.generator)
            return [(rows, None) for rows in torch.split(order, self.batch_size)]
        found: list[tuple[Tensor, Windows | None]] = []
        for batch in window_batches(training_windows(self.edges, self.fusion.window, self.generator), self.batch_size):
            rows = rows_of(batch)
            found.append((rows, described(batch, self.number[rows.to(self.device)])))
        return found

    def _step(self, optimizer: torch.optim.Optimizer, batch: Batch, windows: Windows | None) -> None:
        inputs = {**named_inputs(batch.views, batch.present), "target": batch.target}
        given = WatchedTensors(inputs, content=not self.steps)
        self.steps += 1
        output = self.fusion(batch.views, batch.present, windows)
        loss = self.fusion.training_loss(output, batch)
        if self.device == "cpu":
            self._require_finite(loss, batch.epoch, batch.views)
        else:
            self.total += loss.detach()  # read once in an epoch: reading waits for the device
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.fusion.after_backward()
        optimizer.step()
        if names := given.changed():
            raise input_changed(
                f"fusion {self.spec} in training on views {_batch_shapes(batch.views)}", ", ".join(names)
            )

    def _inputs(self, drawn: Sequence[Tensor]) -> Iterator[Tensors]:
        share = self.recipe.view_dropout
        for views, present in self.train.drawn([self.kept[rows] for rows in drawn]):
            yield drop_views(views, present, share, self.filling, self.generator) if share else (views, present)

    def dev_score(self, logits: np.ndarray) -> float:
        """Return the dev metric of logits (m, O)."""
        return self.task.dev_metric(self.dev_label[self.dev_rows], unsmoothed(self.task, logits[self.dev_rows]))

    def _state(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.fusion.state_dict().items()}

    def _gflops(self) -> float:
        size = self.fusion.window
        number = torch.arange(1, size + 1)
        windows = Windows(torch.zeros_like(number), number.to(self.device))
        views, present = next(self.dev.drawn([torch.zeros(size, dtype=torch.long)]))
        predicted = size - sum(context(size, causal=self.fusion.causal))
        return gflops(lambda: self.fusion(views, present, windows)) / predicted


def _freeze(groups: list[ParameterGroup], epoch: int) -> None:
    """Let gradients reach the parameters that are trained in an epoch, and no other that has epochs of its own."""
    for group in groups:
        if group.first_epoch > 1 or group.last_epoch is not None:
            for parameter in group.parameters:
                parameter.requires_grad_(group.trained_in(epoch))


def _fit_at_once(
    fusion: FittedFusion, features: FoldFeatures, rows: FoldRows, task: Task, spec: Spec, seed: int
) -> Head:
    train, dev, test = features.train, features.dev, features.test
    if not (
        isinstance(train, FeaturesInMemory) and isinstance(dev, FeaturesInMemory) and isinstance(test, FeaturesInMemory)
    ):
        raise CellError(
            f"fusion {spec} is fitted on all frames at once: its features need {features.size / 2**30:.1f} GiB, "
            f"above the limit of {features.limit / 2**30:.1f} GiB",
            hint="raise --memory",
        )
    kept = np.flatnonzero(train.seen)
    train = train.take(kept)
    label, unit = read_only(task.hard_labels(rows.train_label[kept])), read_only(rows.train_unit[kept])
    with _fusion_errors(spec, train):
        fusion.fit(_read_only(train.views), label, unit, seed)
    state = fusion.state()
    return Head(
        state=_head_state(state, features),
        dev_logits=evaluate_fitted(fusion, dev, spec),
        test_logits=evaluate_fitted(fusion, test, spec),
        test_complete=test.complete,
        params=sum(value.size for value in state.values()),
        gflops=0.0,
        history=[],
        best_epoch=0,
        steps=0,
    )


def _head_state(fusion: dict[str, np.ndarray], features: FoldFeatures) -> dict[str, np.ndarray]:
    return {
        **{f"fusion.{name}": value for name, value in fusion.items()},
        **{f"mean.{name}": value for name, value in features.mean.items()},
        **{f"scale.{name}": value for name, value in features.scale.items()},
    }


def rows_at_once(features: FrameFeatures) -> int:
    """Return the number of frames per batch where nothing is trained: fewer of large maps, at least one."""
    size = 4 * sum(math.prod(shape[1:]) for shape in features.shapes.values() if len(shape) > 3)
    return max(1, min(EVALUATED, WINDOW // size)) if size else EVALUATED


def evaluate(fusion: Fusion, batches: Batches, features: FrameFeatures, timeline: Timeline, spec: Spec) -> np.ndarray:
    """Compute the logits of a fusion that is trained by gradient steps.

    Args:
        fusion: with its head.
        batches: of the features.
        features: of n frames.
        timeline: of the frames.
        spec: names the fusion in messages.

    Returns:
        (n, C) float32, NaN rows for frames without any view.

    Raises:
        CellError: if a logit is not finite.
        PluginError: if the fusion fails.
    """
    fusion.eval()
    found = np.empty((len(features.seen), fusion.num_classes), np.float32)
    start = 0
    with torch.no_grad():  # in inference mode torch would not count writes to the views
        if fusion.needs == "clip":
            for rows, logits in _window_logits(fusion, batches, features, timeline):
                found[rows] = logits
            return checked(found, features, spec)
        for batch in batches.all(rows_at_once(features)):
            logits = fusion(*batch).logits.float().cpu().numpy()
            found[start : start + len(logits)] = logits
            start += len(logits)
    return checked(found, features, spec)


def _window_logits(
    fusion: Fusion, batches: ResidentBatches | StreamedBatches, features: FrameFeatures, timeline: Timeline
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (b,) and their logits (b, C), until there were all that have a view."""
    seen = np.flatnonzero(features.seen)
    windows = prediction_windows(clip_edges(timeline.clip[seen]).tolist(), fusion.window, causal=fusion.causal)
    groups = list(window_batches(windows, PREDICTED))
    drawn = [torch.from_numpy(seen)[rows_of(group)] for group in groups]
    for group, rows, (views, present) in zip(groups, drawn, batches.drawn(drawn), strict=True):
        number = torch.from_numpy(timeline.number[rows.numpy()]).to(batches.device)
        logits = fusion(views, present, described(group, number)).logits.float().cpu()
        kept = used(group)
        yield rows[kept].numpy(), logits[kept].numpy()


def evaluate_fitted(fusion: FittedFusion, features: FrameFeatures, spec: Spec) -> np.ndarray:
    """Compute the log-probabilities of a fitted fusion; arguments as for :func:`evaluate`.

    Raises:
        CellError: if it gives another shape than (n, C), or a value that is not finite.
        PluginError: if it fails.
    """
    found = np.empty((len(features.seen), fusion.num_classes), np.float32)
    start = 0
    for batch in _blocks(features):
        with _fusion_errors(spec, batch):
            probs = np.asarray(fusion.predict_proba(_read_only(batch.views)), dtype=np.float64)
        if probs.shape != (len(batch.seen), fusion.num_classes):
            raise CellError(f"fusion {spec} gave {probs.shape}; expected {(len(batch.seen), fusion.num_classes)}")
        found[start : start + len(probs)] = np.log(np.maximum(probs, 1e-12))
        start += len(probs)
    return checked(found, features, spec)


def _fusion_errors(spec: Spec, features: FrameFeatures) -> AbstractContextManager[None]:
    return errors_of(f"fusion {spec} on views {_shapes(features)}")


def _read_only(views: Arrays) -> Arrays:
    return {name: read_only(value) for name, value in views.items()}


def _blocks(features: FrameFeatures) -> Iterator[FeaturesInMemory]:
    rows = len(features.seen)
    starts = range(0, rows, EVALUATED)
    if isinstance(features, FeaturesInMemory):
        return (features.take(slice(start, start + EVALUATED)) for start in starts)
    return features.batches(np.arange(start, min(start + EVALUATED, rows)) for start in starts)


def checked(logits: np.ndarray, features: FrameFeatures, spec: Spec) -> np.ndarray:
    """Set the logits (n, C) of frames without any view to NaN.

    Raises:
        CellError: if another one is not finite.
    """
    if not np.isfinite(logits[features.seen]).all():
        raise CellError(f"fusion {spec} gave logits that are not finite on views {_shapes(features)}")
    logits[~features.seen] = np.nan
    return logits


def _batch_shapes(views: Views) -> str:
    return ", ".join(f"{name} {tuple(value.shape)}" for name, value in views.items())


def _shapes(features: FrameFeatures) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in features.shapes.items())


def loss_options(recipe: Recipe) -> LossOptions:
    """Return the options of a recipe that change the loss."""
    return LossOptions(**{item.name: getattr(recipe, item.name) for item in fields(LossOptions)})


class WithViewHeads(Fusion):
    """A fusion with an adapter and a classifier for each view.

    The adapter of view v is ``h_v = x_v + A_v x_v + b_v``. It starts as the identity. Stored embeddings do not learn,
    so the adapters take the place of the views' encoders: the fusion and a linear classifier for each view are trained
    on top of them. The loss is the fusion's, plus ``weight`` times the mean loss of the view classifiers.

    With ``modulation`` the gradients of dominant views are reduced (OGM-GE). Let s_v be the probability that view v's
    own classifier gives to the true class, summed over the batch, and r_v the ratio of s_v to the mean of the other
    views' s. The adapter gradients of a view with r_v > 1 are multiplied by ``1 - tanh(modulation * r_v)``. Every
    adapter gradient gets normal noise of its own standard deviation.

    Args:
        inner: the fusion, with its head.
        weight: of the view classifiers' loss.
        modulation: alpha; 0 leaves gradients unchanged.

    Reference: Peng et al. 2022, "Balanced Multimodal Learning via On-the-fly Gradient Modulation", equations 7-11
    (https://arxiv.org/abs/2203.15332). They modulate convolutions of two encoders; adapters on stored embeddings, and
    the mean of the others for more than two views, are our reading.
    """

    provided: ClassVar[tuple[str, ...]] = ("inner", "weight", "modulation")

    def __init__(self, inner: Fusion, weight: float, modulation: float) -> None:
        super().__init__(inner.in_dims, inner.num_classes)
        self.inner, self.weight, self.modulation = inner, weight, modulation
        self.needs, self.missing, self.token_count = inner.needs, inner.missing, inner.token_count  # type: ignore[misc]
        self.window, self.causal = inner.window, inner.causal
        self.adapters = nn.ModuleList([_zero_linear(dim) for dim in self.in_dims.values()])
        self.classifiers = nn.ModuleList([nn.Linear(dim, self.num_classes) for dim in self.in_dims.values()])
        self._adapted: Views = {}
        self._inner_output: FusionOutput | None = None
        self._ratios: Sequence[Tensor] = ()

    def fuse_rows(self, views: Views, present: Views, windows: Windows | None) -> FusionOutput:
        """Fuse the adapted views, and compute each view's own logits."""
        adapted = {
            name: views[name] + layer(views[name]) for name, layer in zip(self.in_dims, self.adapters, strict=True)
        }
        self._adapted, self._inner_output = adapted, self.inner(adapted, present, windows)
        own = {
            name: layer(value.flatten(1, -2).mean(1) if value.ndim > 2 else value)
            for (name, value), layer in zip(adapted.items(), self.classifiers, strict=True)
        }
        return FusionOutput(logits=self._inner_output.logits, view_logits=own)

    def loss(self, output: FusionOutput, batch: Batch, /) -> Tensor:
        """Return the fusion's loss plus the weighted mean loss of the view classifiers."""
        assert self._inner_output is not None
        assert output.view_logits is not None
        self.inner.criterion = self.criterion
        own = [self.criterion(logits, batch.target) for logits in output.view_logits.values()]
        if self.modulation:
            self._ratios = dominance([one.detach() for one in output.view_logits.values()], batch.target).unbind()
        inner = self.inner.training_loss(self._inner_output, replace(batch, views=self._adapted))
        return inner + self.weight * torch.stack(own).mean()

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return those of the fusion."""
        return self.inner.parameter_groups()

    def after_backward(self) -> None:
        """Call the fusion's hook, then modulate the gradients of the adapters."""
        self.inner.after_backward()
        if not self.modulation:
            return
        for ratio, layer in zip(self._ratios, self.adapters, strict=True):
            kept = torch.where(ratio > 1, 1 - torch.tanh((self.modulation * ratio).float()).to(ratio.dtype), 1.0)
            for parameter in layer.parameters():
                if parameter.grad is not None:
                    spread = parameter.grad.std(correction=0)
                    parameter.grad.mul_(kept).addcmul_(torch.randn_like(parameter.grad), spread)


def dominance(logits: Sequence[Tensor], target: Tensor) -> Tensor:
    """Return for each view its summed probability of the true class over the mean sum of the other views.

    Args:
        logits: (B, C) by view.
        target: (B,) int64.

    Returns:
        (V,) float64, on ``mps`` float32. It is on the device of the logits: reading it would wait in every step.
    """
    sums = torch.stack([one.softmax(1).gather(1, target[:, None]).sum() for one in logits])
    sums = sums if sums.device.type == "mps" else sums.double()  # which it does not have
    if len(sums) == 1:
        return torch.ones_like(sums)
    return sums / ((sums.sum() - sums) / (len(sums) - 1)).clamp(min=1e-12)


def _zero_linear(dim: int) -> nn.Linear:
    layer = nn.Linear(dim, dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def drop_views(
    views: Views, present: Views, share: float, filling: Views, generator: torch.Generator
) -> tuple[Views, Views]:
    """Drop each view of each row with probability ``share`` (modality dropout), but never all views of a row.

    A dropped view is treated like a missing one: False in ``present``, and filled with its training mean. A row that
    would lose every view keeps one of those it had.

    Args:
        views: (B, ...) by view.
        present: (B,) bool by view.
        share: probability, 0..1.
        filling: (D_v,) by view: the value of a missing view.
        generator: of the random draws.

    Reference: Neverova et al. 2016, "ModDrop: Adaptive Multi-Modal Gesture Recognition", section 4
    (https://arxiv.org/abs/1501.00102).
    """
    names = list(views)
    there = torch.stack([present[name] for name in names], 1)
    chance = torch.rand(there.shape, generator=generator).to(there.device)
    kept = there & (chance >= share)
    # If a row would lose every view, the one with the highest draw among those it had is kept.
    best = chance.masked_fill(~there, -1.0).argmax(1, keepdim=True)
    saved = torch.zeros_like(kept).scatter(1, best, value=True) & there & ~kept.any(1, keepdim=True)
    kept = kept | saved
    left: Views = {}
    for column, name in enumerate(names):
        lost = there[:, column] & ~kept[:, column]
        shape = (-1, *[1] * (views[name].ndim - 1))
        left[name] = torch.where(lost.view(shape), filling[name], views[name])
    return left, {name: kept[:, column] for column, name in enumerate(names)}
