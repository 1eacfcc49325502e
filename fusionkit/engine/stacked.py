"""Heads of several seeds trained together, as one stacked model: for a GPU, which one small head does not fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fusionkit.config.recipe import Recipe
from fusionkit.contracts.fusion import Batch, FittedFusion, Fusion, ParameterGroup, Views
from fusionkit.contracts.task import Task
from fusionkit.engine.features import FoldFeatures, FoldRows
from fusionkit.engine.fit import Head, Training, WithViewHeads, checked, drop_views, rows_at_once, with_head
from fusionkit.errors import CellError, FusionKitError, cause_of, component_errors
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec


class StackError(CellError):
    """Heads cannot be trained together; the message gives the reason. Trained one at a time, they may be sound."""


def fit_stacked(
    features: FoldFeatures,
    rows: FoldRows,
    task: Task,
    fusion: Spec,
    recipe: Recipe,
    seeds: Sequence[int],
    device: str,
) -> list[Head]:
    """Train the heads of several seeds together.

    Each keeps its own initial values, order of frames, dropped views and best epoch, so that the results are those of
    :func:`fusionkit.engine.fit.fit`, to rounding.

    Returns:
        A head for each seed.

    Raises:
        StackError: if the fusion does not allow it, as one that draws random numbers, has buffers or looks at values;
            or if a head fails, whose error is found by training it alone.
    """
    trainings: list[Training] = []
    try:
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                built = FUSIONS.build(fusion, in_dims=features.widths, num_classes=task.outputs)
                if isinstance(built, FittedFusion):
                    raise StackError("it is fitted on all frames at once")
                model = with_head(built, recipe).to(device)
                like = trainings[0] if trainings else None
                trainings.append(Training(model, features, rows, task, fusion, recipe, seed, device, like))
        return _Stack(trainings).run()
    except StackError:
        raise
    except FusionKitError as error:
        raise StackError(str(error)) from error
    except component_errors() as error:  # a plugin's, or torch's where an operation cannot be vectorised
        raise StackError(cause_of(error)) from error


class _Stack:
    """The training loop of :class:`Training` for S heads, whose parameters are (S, ...)."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self.trainings = trainings
        self.first = trainings[0]
        self.recipe = self.first.recipe
        fusion = self.first.fusion
        if problem := _problem(fusion) or ("its loss has parameters" if self.first.criterion_groups() else ""):
            raise StackError(problem)
        found, _ = torch.func.stack_module_state([training.fusion for training in trainings])
        self.parameters: dict[str, Tensor] = found
        self.step_of_one = _Step(fusion)
        self.steps = 0  # of an epoch
        self.failed = torch.zeros(len(trainings), dtype=torch.bool, device=self.first.device)

    def run(self) -> list[Head]:
        optimizer = self.first.optimizer([ParameterGroup(list(self.parameters.values()))])  # type: ignore[arg-type]
        count, patience = len(self.trainings), self.recipe.patience
        histories: list[list[float]] = [[] for _ in range(count)]
        best, best_epoch = np.full(count, -np.inf), np.zeros(count, int)
        running = np.ones(count, dtype=bool)
        kept = {name: value.detach().clone() for name, value in self.parameters.items()}
        for epoch in range(1, self.recipe.epochs + 1):
            self._epoch(optimizer, epoch)
            logits = self._dev_logits()
            for index in np.flatnonzero(running).tolist():
                score = self.trainings[index].dev_score(logits[index])
                histories[index].append(score)
                if score > best[index] or not patience:
                    best[index], best_epoch[index] = score, epoch
                    for name, value in self.parameters.items():
                        kept[name][index] = value.detach()[index]
                elif epoch - best_epoch[index] >= patience:
                    running[index] = False
            if not running.any():
                break
        return [self._head(index, kept, histories[index], int(best_epoch[index])) for index in range(count)]

    def _head(self, index: int, kept: dict[str, Tensor], history: list[float], best_epoch: int) -> Head:
        training = self.trainings[index]
        training.steps = len(history) * self.steps
        training.fusion.load_state_dict({name: value[index] for name, value in kept.items()})
        return training.head(training.dev_logits(), history, best_epoch)

    def _epoch(self, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        first, count = self.first, len(self.trainings)
        first.fusion.train()
        orders = [[rows for rows, _ in training.drawn()] for training in self.trainings]
        drawn = [torch.cat(parts) for parts in zip(*orders, strict=True)]
        self.steps = len(drawn)
        batches = zip(first.about(drawn), first.train.drawn([first.kept[rows] for rows in drawn]), strict=True)
        for of_rows, (views, present) in batches:
            about = [_of_heads(value, count) for value in of_rows]
            kept = self._without_dropped(_stacked(views, count), _stacked(present, count))
            self._step(optimizer, *kept, about, epoch)
        if bool(self.failed.any()):
            raise StackError("a loss is not finite")

    def _without_dropped(self, views: Views, present: Views) -> tuple[Views, Views]:
        share = self.recipe.view_dropout
        if not share:
            return views, present
        dropped = [
            drop_views(_at(views, index), _at(present, index), share, training.filling, training.generator)
            for index, training in enumerate(self.trainings)
        ]
        left = {name: torch.stack([one[name] for one, _ in dropped]) for name in views}
        return left, {name: torch.stack([one[name] for _, one in dropped]) for name in present}

    def _step(
        self, optimizer: torch.optim.Optimizer, views: Views, present: Views, about: list[Tensor], epoch: int
    ) -> None:
        losses = self._of_each(self.step_of_one.losses, 0)(self.parameters, views, present, about, epoch)
        self.failed |= ~losses.detach().isfinite()  # read once in an epoch: reading waits for the device
        optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _dev_logits(self) -> np.ndarray:
        """(S, m, C) float32, NaN rows for frames without any view."""
        first = self.first
        first.fusion.eval()
        parts = []
        with torch.no_grad():
            for views, present in first.dev.all(rows_at_once(first.features.dev)):
                parts.append(self._of_each(self.step_of_one.logits, None)(self.parameters, views, present).float())
        found = torch.cat(parts, 1).cpu().numpy()
        return np.stack([checked(one, first.features.dev, first.spec) for one in found])

    @staticmethod
    def _of_each(function: Callable[..., Tensor], batches: int | None) -> Callable[..., Tensor]:
        """Vectorise a function of the parameters of one head; ``batches``: the dimension of heads in its inputs."""

        def stacked(parameters: dict[str, Tensor], views: Views, present: Views, *rest: Any) -> Tensor:
            dims = (0, batches, batches, *(batches if isinstance(value, list) else None for value in rest))
            found: Tensor = torch.vmap(function, in_dims=dims, randomness="error")(parameters, views, present, *rest)
            return found

        return stacked


class _Step(nn.Module):
    """Logits and loss of one head, as functions of its parameters."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion

    def losses(
        self, parameters: dict[str, Tensor], views: Views, present: Views, about: list[Tensor], epoch: int
    ) -> Tensor:
        """Return the training loss of a batch."""
        target, clip, number, row = about
        return self._call(parameters, Batch(views, present, target, clip, number, row, epoch), True)

    def logits(self, parameters: dict[str, Tensor], views: Views, present: Views) -> Tensor:
        """Return the logits (n, C) of frames."""
        none = next(iter(present.values())).long()
        return self._call(parameters, Batch(views, present, none, none, none, none, 0), False)

    def _call(self, parameters: dict[str, Tensor], batch: Batch, learning: bool) -> Tensor:
        named = {f"fusion.{name}": value for name, value in parameters.items()}
        found: Tensor = torch.func.functional_call(self, named, (batch, learning))
        return found

    def forward(self, batch: Batch, learning: bool) -> Tensor:
        """Return the training loss, or the logits."""
        output = self.fusion(batch.views, batch.present)
        assert output.logits is not None
        return self.fusion.training_loss(output, batch) if learning else output.logits


def _problem(fusion: Fusion) -> str:
    """Return why heads of a fusion cannot be trained together, or an empty text."""
    if isinstance(fusion, WithViewHeads):
        return "its gradients are modulated" if fusion.modulation else _problem(fusion.inner)
    if fusion.needs == "clip":
        return "it fuses over time"
    if type(fusion).after_backward is not Fusion.after_backward:
        return "it changes gradients (after_backward)"
    if type(fusion).parameter_groups is not Fusion.parameter_groups:
        return "it has parameter groups"
    if any(True for _ in fusion.buffers()):
        return "it has buffers"
    return ""


def _stacked(values: Views, count: int) -> Views:
    return {name: _of_heads(value, count) for name, value in values.items()}


def _of_heads(value: Tensor, count: int) -> Tensor:
    """(S b, ...) to (S, b, ...)."""
    return value.view(count, -1, *value.shape[1:])


def _at(values: Views, index: int) -> Views:
    return {name: value[index] for name, value in values.items()}
