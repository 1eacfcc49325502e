"""One network fine-tuned: its parts, its checkpoints, and the epoch that is kept."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionkit.config.recipe import Recipe
from fusionkit.contracts.backbone import Backbone
from fusionkit.contracts.dataset import UNLABELLED
from fusionkit.engine.fit import Head, criterion
from fusionkit.errors import CellError, ConfigError
from fusionkit.grid.progress import Progress
from fusionkit.registry import BACKBONES
from fusionkit.storage.artifact import write_artifact, write_file
from fusionkit.storage.identity import component_identity
from fusionkit.storage.lease import lease
from fusionkit.training.batches import Batches, Share
from fusionkit.training.checkpoints import Checkpoint, Checkpoints, optimizer_tensors, restore_optimizer
from fusionkit.training.evaluation import (
    EpochScore,
    FrameLogits,
    TrainingListener,
    best_of,
    epochs_csv,
    predict,
    training_curve,
)
from fusionkit.training.finetune_config import FinetuneConfig
from fusionkit.training.finetune_plan import FinetuneWork
from fusionkit.training.joint import parameter_groups
from fusionkit.training.processes import start_processes
from fusionkit.training.run_folder import LossLog, TrainingFolder
from fusionkit.training.stepper import Stepper
from fusionkit.training.views import ViewSamples, ViewTransform

if TYPE_CHECKING:
    from torch import Tensor

    from fusionkit.training.joint import Classifier, ViewNetwork


def frame_loss(recipe: Recipe, labels: Tensor, classes: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a recipe, where each frame weighs the same in every batch.

    With balanced classes :func:`fusionkit.engine.fit.criterion` divides by the weights of its batch, so that the
    mean over processes or micro-batches would not be that of the whole batch. Here the sum is divided by the number of
    frames; over all training frames the mean weight is 1.

    Args:
        recipe: what the loss is.
        labels: (N,) int64 in 0..C-1: those of all training frames.
        classes: C.

    Returns:
        (logits (B, C), labels (B,)) to a scalar.
    """
    loss = criterion(recipe, labels, classes)
    if recipe.class_weights != "balanced":
        return loss
    counts = labels.bincount(minlength=classes).clamp(min=1)
    weight = (len(labels) / (classes * counts)).float()
    return lambda logits, truth: loss(logits, truth) * weight[truth].mean()


BACKBONE, HEAD, JOINT = "backbone.safetensors", "head.safetensors", "network.safetensors"
KEY = "fusionkit-classifier"  # of the safetensors header: a classifier is no encoder


def write_best(
    folder: Path, backbone: Backbone, network: ViewNetwork, about: Mapping[str, Any], *, alone: bool
) -> None:
    """Write the network as it is, whole or not at all.

    Of one view: ``backbone.safetensors``, which an option of the backbone takes, and ``head.safetensors`` with the
    classifier's ``weight`` (C, D) and ``bias`` (C,) on the embedding. Of several: ``network.safetensors``.

    Args:
        folder: is replaced.
        backbone: of which kind the trunk is.
        network: what was trained.
        about: plain data on where it comes from.
        alone: whether it is of one view.

    Raises:
        StorageError: if it cannot be written.
    """
    told = dict(about)
    if not alone:
        write_artifact(folder, {JOINT: _saved(network.state_dict(), told)}, told)
        return
    files = {BACKBONE: backbone.export(network.trunk, told), HEAD: _saved(network.head.state_dict(), told)}
    write_artifact(folder, files, told)


def _saved(state: Mapping[str, Tensor], about: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    flat = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    found: bytes = save(flat, metadata={KEY: json.dumps(about, sort_keys=True)})
    return found


BEST = "best"
_MODEL, _BEST, _LOSSES = "model.", "best.", "losses"


@dataclass(frozen=True, eq=False)
class Trained:
    """What one network has come to.

    Attributes:
        folder: of its run; the files of the kept epoch are in ``best``.
        scores: of each epoch on dev.
        kept: the epoch that was kept.
        steps: optimiser steps in all.
        resumed: steps that were done before.
        unreadable: frames without any view, as far as they were met.
        head: what the report needs.
        cost: seconds and memory.
        notes: what the user should know.
    """

    folder: Path
    scores: list[EpochScore]
    kept: EpochScore
    steps: int
    resumed: int
    unreadable: list[str]
    head: Head
    cost: dict[str, float]
    notes: list[str] = field(default_factory=list)


@dataclass
class _State:
    """What training has come to so far, beside the weights."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    scores: list[EpochScore] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class FinetuneRun:
    """The parts of one run in this process.

    Args:
        config: how.
        work: what.
        folder: of the run.
        device: ``cpu`` or ``cuda:N``.

    Raises:
        ConfigError: if something does not go together.
        DataError: if there are fewer frames than one batch takes.
    """

    def __init__(self, config: FinetuneConfig, work: FinetuneWork, folder: Path, device: str) -> None:
        self.config, self.work, self.folder = config, work, TrainingFolder(folder)
        self.backbone: Backbone = BACKBONES.build(config.backbone)
        self.accelerator = start_processes(device, config.recipe.precision)
        self.main = self.accelerator.is_main_process
        rows = work.fold_data.rows
        budget = config.run.cache_mb * 2**20
        self.train = self._samples(rows.train, rows.train_label, budget)
        labelled = rows.dev_label != UNLABELLED
        self.dev = self._samples(rows.dev[labelled], rows.dev_label[labelled], budget)
        self.transform = ViewTransform.of(self.backbone, config.recipe.crop, config.recipe.flip)
        share = Share(self.accelerator.process_index, self.accelerator.num_processes, config.run.accumulation)
        self.batches = Batches(
            self.train, self.transform.drawn, config.recipe.batch_size, work.seed, share, config.run.workers
        )
        self.schedule = config.recipe.rates(self.batches.steps_per_epoch)
        self.steps = config.recipe.epochs * self.batches.steps_per_epoch
        self.classifier = self._classifier()
        self.stepper = self._stepper()
        self.checkpoints = Checkpoints(self.folder.checkpoints)

    def _samples(self, rows: np.ndarray, labels: np.ndarray, budget: int = 0) -> ViewSamples:
        views = tuple(self.work.views.values())
        return ViewSamples(self.work.fold_data.source, rows, labels, self.config.extractor, views, budget)

    def _classifier(self) -> Classifier:
        import torch

        from fusionkit.training.joint import Classifier, build_network

        recipe, fold_data = self.config.recipe, self.work.fold_data
        classes = fold_data.task.num_classes
        with torch.random.fork_rng(devices=[]):
            trunk = self.backbone.trainable(recipe.drop_path, self.work.seed)
            torch.manual_seed(self.work.seed)
            network = build_network(self.work.shape, trunk, self.backbone.dim, classes, len(self.work.views))
        labels = torch.from_numpy(fold_data.rows.train_label).to(self.accelerator.device)
        loss = frame_loss(recipe.as_recipe(), labels, classes)
        return Classifier(network, self.backbone.mean, self.backbone.std, loss)

    def _stepper(self) -> Stepper:
        import torch

        recipe = self.config.recipe
        groups = parameter_groups(self.classifier.network, recipe.weight_decay, recipe.layer_decay)
        kind: Any = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(groups, lr=recipe.lr, fused=True)
        return Stepper(self.accelerator, self.classifier, optimizer, self.schedule, self.work.seed, recipe.clip)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """The folder as this run's own: two that wrote into one folder would spoil each other's work."""
        if not self.main:
            yield
            return
        with lease(self.folder.lease) as mine:
            if not mine:
                raise ConfigError(f"{self.folder.path} is being trained in by another process")
            yield

    def carry_out(self, provenance: dict[str, Any], progress: Progress, listener: TrainingListener) -> Trained:
        """Train what is left to train, keep the best epoch, and let it predict dev and test.

        Raises:
            CellError: if the loss or a logit is no longer finite, or no labelled dev frame has a view.
            DataError: if every checkpoint is damaged.
            StorageError: if the folder cannot be written.
        """
        how = {"device": str(self.accelerator.device), "mixed_precision": self.accelerator.mixed_precision}
        how |= {"processes": self.accelerator.num_processes, "run": self.config.run.describe(), **provenance}
        if self.main:
            self.folder.begin(self._identity(), how)
        self.accelerator.wait_for_everyone()
        found = self.checkpoints.latest()
        state = self._restored(found) if found else _State()
        resumed = state.step
        self._train(state, progress, listener)
        self.classifier.network.load_state_dict(state.best)
        self.accelerator.wait_for_everyone()
        if self.main:
            self._write_best(state)
        head = self._head(state)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux, to MiB
        return Trained(
            folder=self.folder.path,
            scores=state.scores,
            kept=self._kept(state),
            steps=self.steps,
            resumed=resumed,
            unreadable=sorted(self.batches.unreadable),
            head=head,
            cost={"fit_seconds": state.seconds, "peak_mib": peak},
            notes=state.notes,
        )

    def _identity(self) -> dict[str, Any]:
        """What decides the weights."""
        fold_data, work, config = self.work.fold_data, self.work, self.config
        return {
            "data": fold_data.source.fingerprint,
            "dataset": str(fold_data.source.spec),
            "fold": {"name": fold_data.fold.name, "digest": fold_data.fold.digest},
            "views": [str(view) for view in work.views.values()],
            "extractor": str(config.extractor),
            "backbone": component_identity(BACKBONES, config.backbone),
            "fusion": str(work.shape.spec),
            "recipe": config.recipe.describe(),
            "seed": work.seed,
            "id": work.head.id,
        }

    # -- training --------------------------------------------------------------------------------------------------

    def _train(self, state: _State, progress: Progress, listener: TrainingListener) -> None:
        per_epoch, every = self.batches.steps_per_epoch, self.config.run.save_every
        path = self.folder.losses if self.main else None
        first, before, began = state.step, state.seconds, time.monotonic()
        with (
            LossLog(path, self.schedule, per_epoch, state.losses) as log,
            progress.stage("train", self.steps - first, "steps"),
        ):
            for step, batches in enumerate(self.batches.steps(first, self.steps), start=first):
                log.add(self.stepper.take(step, batches))
                state.step, state.losses = step + 1, log.losses
                epoch_ends = state.step % per_epoch == 0
                if epoch_ends:
                    self._judge(state)
                if epoch_ends or state.step % every == 0:
                    state.seconds = before + time.monotonic() - began
                    self._save(state)
                listener.stepped(state.step, step // per_epoch + 1, state.losses[-1])
                if epoch_ends:
                    self._show(state)
                    listener.judged(state.scores[-1], self._kept(state))
                progress.advance()

    def _judge(self, state: _State) -> None:
        """Score the epoch on dev; its weights are kept if it is the best so far."""
        per_epoch = self.batches.steps_per_epoch
        predicted = self._predict(self.dev)
        if not predicted.seen.any():
            raise CellError("no labelled dev frame has a view: there is nothing to choose an epoch on")
        epoch = state.step // per_epoch
        state.scores.append(EpochScore.of(epoch, state.losses[-per_epoch:], predicted, self.dev.labels))
        if self._kept(state).epoch == epoch:
            weights = self.classifier.network.state_dict()
            state.best = {name: value.detach().cpu().clone() for name, value in weights.items()}

    def _kept(self, state: _State) -> EpochScore:
        return best_of(state.scores, self.config.recipe.select)

    def _predict(self, samples: ViewSamples) -> FrameLogits:
        return predict(self.classifier, samples, self.transform, self.accelerator, self.config.run.workers)

    def _save(self, state: _State) -> None:
        import torch
        from accelerate.utils import gather_object

        self.batches.unreadable.update(gather_object(sorted(self.batches.unreadable)))
        if not self.main:
            return
        weights = self.classifier.network.state_dict()
        tensors = {f"{_MODEL}{name}": value for name, value in weights.items()}
        tensors |= {f"{_BEST}{name}": value for name, value in state.best.items()}
        tensors |= optimizer_tensors(self.stepper.optimizer)
        tensors[_LOSSES] = torch.tensor(state.losses, dtype=torch.float64)
        notes = {
            "unreadable": sorted(self.batches.unreadable),
            "scores": [score.describe() for score in state.scores],
            "seconds": state.seconds,
        }
        self.checkpoints.save(state.step, tensors, notes)

    def _restored(self, checkpoint: Checkpoint) -> _State:
        self.classifier.network.load_state_dict(_under(_MODEL, checkpoint.tensors))
        restore_optimizer(self.stepper.optimizer, checkpoint.tensors)
        self.batches.unreadable.update(checkpoint.notes["unreadable"])
        return _State(
            step=checkpoint.step,
            losses=checkpoint.tensors[_LOSSES].tolist(),
            scores=[EpochScore(**score) for score in checkpoint.notes["scores"]],
            best=_under(_BEST, checkpoint.tensors),
            seconds=checkpoint.notes["seconds"],
            notes=[f"{path} is damaged; went on from the checkpoint before" for path in checkpoint.damaged],
        )

    # -- what is shown and kept ------------------------------------------------------------------------------------

    def _show(self, state: _State) -> None:
        """The table after each epoch, the curve a few times and at the end."""
        if not self.main:
            return
        write_file(self.folder.path / "epochs.csv", epochs_csv(state.scores))
        epochs, curves, done = self.config.recipe.epochs, self.config.run.curves, len(state.scores)
        if curves and (done == epochs or done % max(epochs // curves, 1) == 0):
            curve = training_curve(state.losses, state.scores, self.config.recipe.select)
            write_file(self.folder.curve, curve)

    def _write_best(self, state: _State) -> None:
        fold_data, kept = self.work.fold_data, self._kept(state)
        own = (fold_data.source.fingerprint, fold_data.fold.digest)
        about = {
            "run": self.config.name,
            "id": self.work.head.id,
            "fusion": str(self.work.shape.spec),
            "views": [str(view) for view in self.work.views.values()],
            "extractor": str(self.config.extractor),
            "backbone": str(self.config.backbone),
            "classes": list(fold_data.source.classes),
            "dataset": str(fold_data.source.spec),
            "split": fold_data.fold.name,
            "trained_on": [list(pair) for pair in dict.fromkeys([*self.backbone.trained_on(), own])],
            "seed": self.work.seed,
            "select": self.config.recipe.select,
            "kept": kept.describe(),
        }
        alone = self.work.shape.position == "alone"
        write_best(self.folder.path / BEST, self.backbone, self.classifier.network, about, alone=alone)

    def _head(self, state: _State) -> Head:
        """The network as the report takes it: its logits on dev and test. No label of test is looked at."""
        rows = self.work.fold_data.rows
        dev, test = (
            self._predict(self._samples(part, np.full(len(part), UNLABELLED))) for part in (rows.dev, rows.test)
        )
        network = self.classifier.network
        return Head(
            state={name: value.detach().cpu().numpy() for name, value in network.head.state_dict().items()},
            dev_logits=dev.logits,
            test_logits=test.logits,
            test_whole=test.whole,
            params=sum(parameter.numel() for parameter in network.parameters()),
            gflops=self._gflops(),
            history=[score.macro_f1 for score in state.scores],
            best_epoch=self._kept(state).epoch,
        )

    def _gflops(self) -> float:
        import torch

        from fusionkit.engine.flops import gflops

        device = self.accelerator.device
        views = [torch.zeros(1, 3, *self.backbone.input_size, dtype=torch.uint8, device=device)] * len(self.work.views)
        return gflops(lambda: self.classifier.logits(views))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
