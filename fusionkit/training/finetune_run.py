"""Fine-tuning of one network: training, selection of the best epoch, and its logits on dev and test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.config.recipe import Recipe
from fusionkit.contracts.backbone import Backbone
from fusionkit.contracts.dataset import UNLABELLED
from fusionkit.contracts.flops import gflops
from fusionkit.contracts.task import Task
from fusionkit.engine.fit import Head, loss_options
from fusionkit.errors import CellError
from fusionkit.grid.memory import peak_memory
from fusionkit.registry import BACKBONES
from fusionkit.storage.artifact import write_artifact, write_file
from fusionkit.storage.identity import component_identity
from fusionkit.training.batches import Batches, Share
from fusionkit.training.checkpoints import Checkpoint, with_prefix, without_prefix
from fusionkit.training.evaluation import EpochScore, Evaluator, FrameLogits, best_of, epochs_csv
from fusionkit.training.finetune_config import FinetuneConfig
from fusionkit.training.finetune_plan import FinetuneWork
from fusionkit.training.joint import Classifier, build_network, parameter_groups
from fusionkit.training.loader import reported_deaths
from fusionkit.training.pictures import is_due, score_curve
from fusionkit.training.processes import start_processes
from fusionkit.training.progress import TrainingProgress
from fusionkit.training.run import TrainingRun
from fusionkit.training.stepper import Stepper
from fusionkit.training.views import ViewSamples, ViewTransform

BEST = "best"  # folder of the best epoch's files
BACKBONE, HEAD, JOINT = "backbone.safetensors", "head.safetensors", "network.safetensors"
KEY = "fusionkit-classifier"  # key of the safetensors header; that of an encoder is another
_BEST = "best."


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of one network.

    Attributes:
        folder: of its run; the files of the best epoch are in ``best``.
        scores: of each epoch on dev.
        kept: the score of the best epoch, which was kept.
        steps: optimiser steps in all.
        resumed: steps done before.
        unreadable: frames found without any view.
        head: the network as the report needs it.
        cost: seconds and memory.
        notes: warnings for the user.
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


class FinetuneRun(TrainingRun):
    """Fine-tuning of one network in this process.

    Args:
        config: of the fine-tuning.
        work: the network to train.
        folder: of the run.
        device: ``cpu`` or ``cuda:N``.

    Raises:
        ConfigError: if options do not fit together.
        DataError: if there are fewer frames than ``batch_size``.
    """

    def __init__(self, config: FinetuneConfig, work: FinetuneWork, folder: Path, device: str) -> None:
        self.config, self.work = config, work
        self.backbone: Backbone = BACKBONES.build(config.backbone)
        recipe, options, rows = config.recipe, config.run, work.fold_data.rows
        accelerator = start_processes(device, recipe.precision)
        budget = options.cache_mb * 2**20
        self.train_samples = self._samples(rows.train, rows.train_label, budget)
        labelled = rows.dev_label != UNLABELLED
        self.dev_samples = self._samples(rows.dev[labelled], rows.dev_label[labelled], budget)
        self.transform = ViewTransform.of(self.backbone, recipe.crop, recipe.flip)
        share = Share(accelerator.process_index, accelerator.num_processes, options.accumulation)
        self.workers, on = options.workers_of(accelerator), accelerator.device
        batches = Batches(
            self.train_samples, self.transform.drawn, recipe.batch_size, work.seed, share, self.workers, on
        )
        self.classifier = self._classifier(accelerator.device)
        groups = parameter_groups(self.classifier.network, recipe.weight_decay, recipe.layer_decay)
        kind: Any = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(groups, lr=recipe.lr, fused=True)
        schedule = recipe.schedule_of(batches.steps_per_epoch)
        stepper = Stepper(accelerator, self.classifier, optimizer, schedule, work.seed, recipe.clip)
        super().__init__(folder, self.classifier.network, stepper, batches, recipe.epochs, options)
        self._evaluate_dev = self._evaluator(self.dev_samples)
        self.scores: list[EpochScore] = []
        self.best: dict[str, Tensor] = {}

    def _samples(self, rows: np.ndarray, labels: np.ndarray, budget: int = 0) -> ViewSamples:
        views = tuple(self.work.views.values())
        return ViewSamples(self.work.fold_data.source, rows, labels, self.config.extractor, views, budget)

    def _classifier(self, device: torch.device) -> Classifier:
        recipe, fold_data = self.config.recipe, self.work.fold_data
        task = fold_data.task
        with torch.random.fork_rng(devices=[]):
            trunk = self.backbone.trainable(recipe.drop_path, self.work.seed)
            torch.manual_seed(self.work.seed)
            network = build_network(self.work.shape, trunk, self.backbone.dim, task.outputs, len(self.work.views))
        labels = torch.from_numpy(fold_data.rows.train_label).to(device)
        loss = frame_loss(recipe.as_recipe(), labels, task)
        return Classifier(network, self.backbone.mean, self.backbone.std, loss)

    @reported_deaths()
    def carry_out(self, provenance: dict[str, Any], progress: TrainingProgress) -> Trained:
        """Take the remaining steps, write the best epoch, and predict dev and test with it.

        Raises:
            CellError: if the loss or a logit is not finite, or no labelled dev frame has a view.
            DataError: if every checkpoint is damaged.
            StorageError: if the folder cannot be written.
        """
        self.resume(provenance)
        resumed = self.step
        with closing(self._evaluate_dev):
            self._evaluate_dev.start()
            self.train(progress)
        self.network.load_state_dict(self.best)
        self.accelerator.wait_for_everyone()
        if self.main:
            self._write_best()
        head = self._head()
        return Trained(
            folder=self.folder.path,
            scores=self.scores,
            kept=self.kept,
            steps=self.steps,
            resumed=resumed,
            unreadable=sorted(self.batches.unreadable),
            head=head,
            cost={"fit_seconds": self.seconds, "peak_mib": peak_memory()},
            notes=[*self.backbone.notes(), *self.notes],
        )

    @property
    def kept(self) -> EpochScore:
        """The best epoch so far."""
        return best_of(self.scores, self.config.recipe.select)

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights."""
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

    def end_epoch(self, epoch: int, progress: TrainingProgress) -> None:
        """Score the epoch on dev, and keep its weights if it is the best so far."""
        predicted = self._evaluate_dev(self.classifier)
        if not predicted.seen.any():
            raise CellError("no labelled dev frame has a view, so no epoch can be selected")
        losses = self.losses[-self.batches.steps_per_epoch :]
        self.scores.append(EpochScore.of(epoch, losses, predicted, self.work.fold_data.task, self.dev_samples.labels))
        if self.kept.epoch == epoch:
            self.best = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        if self.main:
            write_file(self.folder.path / "epochs.csv", epochs_csv(self.scores))
            if is_due(epoch, self.config.recipe.epochs, self.config.run.curves):
                write_file(self.folder.curve, score_curve(self.losses, self.scores, self.config.recipe.select))
        progress.scored(self.scores[-1], self.kept, self.config.recipe)

    def extra_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the best weights, and the scores."""
        return with_prefix(_BEST, self.best), {"scores": [score.describe() for score in self.scores]}

    def resume(self, provenance: dict[str, Any]) -> Checkpoint | None:
        """Restore the best weights and the scores, too."""
        checkpoint = super().resume(provenance)
        if checkpoint is not None:
            self.best = without_prefix(_BEST, checkpoint.tensors)
            self.scores = [EpochScore(**score) for score in checkpoint.notes["scores"]]
        return checkpoint

    def _evaluator(self, samples: ViewSamples) -> Evaluator:
        return Evaluator(samples, self.transform, self.accelerator, self.workers)

    def _predicted(self, rows: np.ndarray) -> FrameLogits:
        """Return the logits of rows, whose labels are not read."""
        with closing(self._evaluator(self._samples(rows, np.full(len(rows), UNLABELLED)))) as evaluate:
            return evaluate(self.classifier)

    def _write_best(self) -> None:
        """Write the best epoch, atomically.

        Of one view: ``backbone.safetensors``, for an option of the backbone, and ``head.safetensors`` with the
        classifier's ``weight`` (C, D) and ``bias`` (C,). Of several: ``network.safetensors``.
        """
        fold_data, network = self.work.fold_data, self.classifier.network
        own = (fold_data.source.fingerprint, fold_data.fold.digest)
        about = {
            "run": self.config.name,
            "id": self.work.head.id,
            "fusion": str(self.work.shape.spec),
            "views": [str(view) for view in self.work.views.values()],
            "extractor": str(self.config.extractor),
            "backbone": str(self.config.backbone),
            "classes": list(fold_data.task.names),
            "dataset": str(fold_data.source.spec),
            "split": fold_data.fold.name,
            "trained_on": [list(pair) for pair in dict.fromkeys([*self.backbone.trained_on(), own])],
            "seed": self.work.seed,
            "select": self.config.recipe.select,
            "kept": self.kept.describe(),
        }
        if self.work.shape.position == "alone":
            backbone = self.backbone.export(network.trunk, about)
            files = {BACKBONE: backbone, HEAD: _as_bytes(network.head.state_dict(), about)}
        else:
            files = {JOINT: _as_bytes(network.state_dict(), about)}
        write_artifact(self.folder.path / BEST, files, about)

    def _head(self) -> Head:
        """Return the network as the report needs it: its logits on dev and test. Test labels are not read."""
        rows = self.work.fold_data.rows
        dev, test = self._predicted(rows.dev), self._predicted(rows.test)
        network, device = self.classifier.network, self.accelerator.device
        views = [torch.zeros(1, 3, *self.backbone.input_size, dtype=torch.uint8, device=device)] * len(self.work.views)
        return Head(
            state={name: value.detach().cpu().numpy() for name, value in network.head.state_dict().items()},
            dev_logits=dev.logits,
            test_logits=test.logits,
            test_complete=test.complete,
            params=sum(parameter.numel() for parameter in network.parameters()),
            gflops=gflops(lambda: self.classifier.logits(views)),
            history=[score.macro_f1 for score in self.scores],
            best_epoch=self.kept.epoch,
            steps=self.steps,
        )


def frame_loss(recipe: Recipe, labels: Tensor, task: Task) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a recipe, with the same weight for a frame in every batch.

    With balanced classes the criterion of a task divides by the weights of its batch, so the mean over
    processes or micro-batches would not be that of the whole batch. Here the sum is divided by the number of frames;
    the mean weight over all training frames is 1.

    Args:
        recipe: training recipe (optimiser, epochs, loss).
        labels: (N,) int64 in 0..C-1: those of all training frames.
        task: of one of C classes.

    Returns:
        (logits (B, C), labels (B,)) to a scalar.
    """
    loss, classes = task.criterion(labels, loss_options(recipe)), task.outputs
    if recipe.class_weights != "balanced":
        return loss
    counts = labels.bincount(minlength=classes).clamp(min=1)
    weight = (len(labels) / (classes * counts)).float()
    return lambda logits, truth: loss(logits, truth) * weight[truth].mean()


def _as_bytes(state: Mapping[str, Tensor], about: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    flat = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    found: bytes = save(flat, metadata={KEY: json.dumps(about, sort_keys=True)})
    return found
