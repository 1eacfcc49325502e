"""Stage 1: pre-train a vision transformer on faces without labels, as a masked autoencoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusionkit.errors import ConfigError
from fusionkit.grid.tasks import single_thread
from fusionkit.storage.artifact import write_file
from fusionkit.training.batches import Batches, Share
from fusionkit.training.crop import RandomCrop
from fusionkit.training.encoder import build_encoder, write_encoder
from fusionkit.training.images import CachedImages, open_images
from fusionkit.training.loader import Sample, reported_deaths
from fusionkit.training.mae import Decoder, MaskedAutoencoder, draw_order, initialize
from fusionkit.training.pictures import Faces, is_due, loss_curve
from fusionkit.training.pretrain_config import PretrainConfig
from fusionkit.training.processes import start_processes
from fusionkit.training.progress import TrainingProgress
from fusionkit.training.run import TrainingRun
from fusionkit.training.schedule import WarmupCosine
from fusionkit.training.stepper import Stepper

REVISION = 1  # raise when the same config gives other weights than before
ENCODER = "encoder.safetensors"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """The result of a pre-training run.

    Attributes:
        encoder: the weights file.
        images: number of training images.
        steps: optimiser steps in all.
        resumed: steps done before; all of them if nothing was left to train.
        losses: of each step.
        unreadable: names of images found unreadable.
        notes: warnings for the user.
    """

    encoder: Path
    images: int
    steps: int
    resumed: int
    losses: list[float]
    unreadable: list[str]
    notes: list[str] = field(default_factory=list)


def pretrain(
    config: PretrainConfig,
    folder: Path,
    device: str = "cpu",
    provenance: dict[str, Any] | None = None,
    progress: TrainingProgress | None = None,
) -> Pretrained:
    """Pre-train, or resume an interrupted run in the same folder.

    Args:
        config: of the run.
        folder: of the run.
        device: ``cpu`` or ``cuda:N``.
        provenance: versions and machine, for ``config.json``.
        progress: receives steps and losses. Default: none.

    Raises:
        ConfigError: if options do not fit together, or the folder holds another run or is in use.
        DataError: if the data are missing or too few, or every checkpoint is damaged.
        CellError: if the loss is not finite, a sample cannot be made, or a worker process died.
        StorageError: if the folder cannot be written.
    """
    undo = single_thread()
    try:
        run = _PretrainRun(config, folder, device)
        with run.claimed():
            return run.carry_out(provenance or {}, progress or TrainingProgress())
    finally:
        undo()


class _PretrainRun(TrainingRun):
    def __init__(self, config: PretrainConfig, folder: Path, device: str) -> None:
        from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]

        self.config = config
        self.model = build_model(config)
        recipe, options = config.recipe, config.run
        accelerator = start_processes(device, recipe.precision)
        images = open_images(config.data, every_split=config.split == "all", stride=config.stride, limit=config.limit)
        self.images = CachedImages(images, options.cache_mb * 2**20)
        patches = int(self.model.encoder.patch_embed.num_patches)
        crop = RandomCrop(int(self.model.encoder.patch_embed.img_size[0]), (recipe.crop, 1.0), flip=recipe.flip)

        def sample(image: np.ndarray, rng: np.random.Generator) -> Sample:
            return crop(image, rng), draw_order(patches, rng)

        share = Share(accelerator.process_index, accelerator.num_processes, options.accumulation)
        workers, on = options.workers_of(accelerator), accelerator.device
        batches = Batches(self.images, sample, recipe.batch_size, config.seed, share, workers, on)
        per_epoch = batches.steps_per_epoch
        schedule = WarmupCosine(recipe.lr, recipe.epochs * per_epoch, recipe.warmup_epochs * per_epoch, recipe.min_lr)
        groups = param_groups_weight_decay(self.model, recipe.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), fused=True)
        stepper = Stepper(accelerator, self.model, optimizer, schedule, config.seed)
        super().__init__(folder, self.model, stepper, batches, recipe.epochs, options)
        self.faces: Faces | None = None

    @reported_deaths()
    def carry_out(self, provenance: dict[str, Any], progress: TrainingProgress) -> Pretrained:
        """Take the remaining steps and write the encoder."""
        self.resume(provenance)
        resumed, encoder = self.step, self.folder.path / ENCODER
        if resumed < self.steps or not encoder.is_file():
            if self.main and self.config.run.pictures:
                self.faces = Faces(self.images, self.config.run.faces, self.model, self.config.seed)
            self.train(progress)
            self.accelerator.wait_for_everyone()
            if self.main:
                about = {"run": self.config.name, "config": self.config.digest(), "steps": self.steps}
                write_encoder(encoder, self.model.encoder, self.config.encoder, about)
        names = sorted(self.batches.unreadable)
        return Pretrained(encoder, len(self.images), self.steps, resumed, self.losses, names, self.notes)

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights."""
        return {**self.config.describe(), "fingerprint": self.images.fingerprint, "revision": REVISION}

    def end_epoch(self, epoch: int, progress: TrainingProgress) -> None:
        """Draw the curve and the faces, some times in a run and at its end."""
        epochs = self.config.recipe.epochs
        if not self.main or not (epoch == epochs or is_due(epoch, epochs, self.config.run.pictures)):
            return
        write_file(self.folder.curve, loss_curve(self.losses, self.batches.steps_per_epoch))
        sheet = self.faces.drawn(self.model) if self.faces is not None else None
        if sheet is not None:
            write_file(self.folder.path / f"reconstruction-{epoch:03d}.png", sheet)


def build_model(config: PretrainConfig) -> MaskedAutoencoder:
    """Build the masked autoencoder of a config, with the random weights of its seed.

    Raises:
        ConfigError: if its sizes do not fit together.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = build_encoder(config.encoder)
        decoder = Decoder(encoder, **config.decoder.describe())
        recipe = config.recipe
        model = MaskedAutoencoder(encoder, decoder, recipe.mask_ratio, recipe.normalize_targets)
        initialize(model)
    count = int(encoder.patch_embed.num_patches)
    if not 0 < model.kept < count:
        raise ConfigError(
            f"recipe: mask_ratio = {recipe.mask_ratio} leaves {model.kept} of {count} patches visible",
            hint="at least one patch must be visible and one masked",
        )
    return model
