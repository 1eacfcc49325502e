"""Stage 1: a vision transformer learns faces without labels, as a masked autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionkit.errors import ConfigError
from fusionkit.grid.progress import Progress
from fusionkit.grid.tasks import single_thread
from fusionkit.storage.artifact import write_file
from fusionkit.storage.lease import lease
from fusionkit.training.batches import Batches, Share
from fusionkit.training.checkpoints import Checkpoint, Checkpoints, optimizer_tensors, restore_optimizer
from fusionkit.training.crop import RandomCrop
from fusionkit.training.encoder import build_encoder, write_encoder
from fusionkit.training.images import CachedImages, open_images
from fusionkit.training.pretrain_config import PretrainConfig
from fusionkit.training.processes import start_processes
from fusionkit.training.run_folder import LossLog, TrainingFolder
from fusionkit.training.schedule import Schedule
from fusionkit.training.stepper import Stepper

if TYPE_CHECKING:
    from torch import Tensor

    from fusionkit.training.mae import MaskedAutoencoder

REVISION = 1  # raise when the same config gives other weights than before
ENCODER = "encoder.safetensors"
_MODEL, _LOSSES = "model.", "losses"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """What a run has come to.

    Attributes:
        encoder: the file of weights.
        images: how many there are to train on.
        steps: optimiser steps in all.
        resumed: steps that were done before; all of them where nothing was left to do.
        losses: of each step.
        unreadable: names of images that could not be read, as far as they were met.
        notes: what the user should know.
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
    progress: Progress | None = None,
    told: Callable[[int, int, float], None] | None = None,
) -> Pretrained:
    """Pre-train, or go on where an earlier call for the same folder was interrupted.

    Args:
        config: what to train.
        folder: of the run.
        device: ``cpu`` or ``cuda:N``.
        provenance: with what it is run, to be noted.
        progress: told of the steps.
        told: called after each step with its number, its epoch (both from 1) and its loss.

    Raises:
        ConfigError: if something does not go together, or the folder holds another run or is in use.
        DataError: if the data are missing or too few, or every checkpoint is damaged.
        CellError: if the loss is no longer finite.
        StorageError: if the folder cannot be written.
    """
    undo = single_thread()
    try:
        run = _Run(config, TrainingFolder(folder), device)
        with run.claimed():
            return run.carry_out(provenance or {}, progress or Progress(), told)
    finally:
        undo()


class _Run:
    """The parts of one run in this process."""

    def __init__(self, config: PretrainConfig, folder: TrainingFolder, device: str) -> None:
        self.config = config
        self.folder = folder
        self.model = build_model(config)
        self.accelerator = start_processes(device, config.recipe.precision)
        self.main = self.accelerator.is_main_process
        images = open_images(config.data, every_split=config.split == "all", stride=config.stride, limit=config.limit)
        self.images = CachedImages(images, config.run.cache_mb * 2**20)
        self.patches = int(self.model.encoder.patch_embed.num_patches)
        self.size = int(self.model.encoder.patch_embed.img_size[0])
        self.batches = self._batches()
        per_epoch = self.batches.steps_per_epoch
        recipe = config.recipe
        self.steps = recipe.epochs * per_epoch
        self.schedule = Schedule(recipe.lr, self.steps, recipe.warmup_epochs * per_epoch, recipe.min_lr)
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.stepper = self._stepper()

    def _batches(self) -> Batches:
        from fusionkit.training.mae import draw_order

        recipe, run = self.config.recipe, self.config.run
        crop = RandomCrop(self.size, (recipe.crop, 1.0), flip=recipe.flip)
        patches = self.patches

        def sample(image: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, ...]:
            return crop(image, rng), draw_order(patches, rng)

        share = Share(self.accelerator.process_index, self.accelerator.num_processes, run.accumulation)
        return Batches(self.images, sample, recipe.batch_size, self.config.seed, share, run.workers)

    def _stepper(self) -> Stepper:
        import torch
        from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]

        recipe = self.config.recipe
        groups = param_groups_weight_decay(self.model, recipe.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), fused=True)
        return Stepper(self.accelerator, self.model, optimizer, self.schedule, self.config.seed)

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

    def carry_out(
        self, provenance: dict[str, Any], progress: Progress, told: Callable[[int, int, float], None] | None
    ) -> Pretrained:
        """Train what is left to train."""
        how = {"device": str(self.accelerator.device), "mixed_precision": self.accelerator.mixed_precision}
        how |= {"processes": self.accelerator.num_processes, "run": self.config.run.describe(), **provenance}
        if self.main:
            self.folder.begin(self._identity(), how)
        self.accelerator.wait_for_everyone()
        found = self.checkpoints.latest()
        first, losses = self._restore(found) if found else (0, [])
        notes = [f"{path} is damaged; went on from the checkpoint before" for path in (found.damaged if found else [])]
        encoder = self.folder.path / ENCODER
        if first < self.steps or not encoder.is_file():
            losses = self._train(first, losses, progress, told)
            self._finish(encoder)
        names = sorted(self.batches.unreadable)
        return Pretrained(encoder, len(self.images), self.steps, first, losses, names, notes)

    def _identity(self) -> dict[str, Any]:
        """What decides the weights."""
        described = self.config.describe()
        return {**described, "fingerprint": self.images.fingerprint, "revision": REVISION}

    def _restore(self, checkpoint: Checkpoint) -> tuple[int, list[float]]:
        weights = {
            name.removeprefix(_MODEL): value for name, value in checkpoint.tensors.items() if name.startswith(_MODEL)
        }
        self.model.load_state_dict(weights)
        restore_optimizer(self.stepper.optimizer, checkpoint.tensors)
        self.batches.unreadable.update(checkpoint.notes["unreadable"])
        return checkpoint.step, checkpoint.tensors[_LOSSES].tolist()

    def _train(
        self,
        first: int,
        losses: list[float],
        progress: Progress,
        told: Callable[[int, int, float], None] | None,
    ) -> list[float]:
        per_epoch = self.batches.steps_per_epoch
        every = self.config.run.save_every
        path = self.folder.losses if self.main else None
        faces = self._faces()
        with (
            LossLog(path, self.schedule, per_epoch, losses) as log,
            progress.stage("train", self.steps - first, "steps"),
        ):
            for step, batches in enumerate(self.batches.steps(first, self.steps), start=first):
                log.add(self.stepper.take(step, batches))
                done = step + 1
                epoch_ends = done % per_epoch == 0
                if epoch_ends and self.main:
                    self._draw(done // per_epoch, log.losses, faces)
                if epoch_ends or done % every == 0:
                    self._save(done, log.losses)
                if told is not None:
                    told(done, step // per_epoch + 1, log.losses[-1])
                progress.advance()
            return log.losses

    def _save(self, done: int, losses: list[float]) -> None:
        import torch
        from accelerate.utils import gather_object

        self.batches.unreadable.update(gather_object(sorted(self.batches.unreadable)))
        if not self.main:
            return
        tensors = {f"{_MODEL}{name}": value for name, value in self.model.state_dict().items()}
        tensors |= optimizer_tensors(self.stepper.optimizer)
        tensors[_LOSSES] = torch.tensor(losses, dtype=torch.float64)
        self.checkpoints.save(done, tensors, {"unreadable": sorted(self.batches.unreadable)})

    def _faces(self) -> Any:
        from fusionkit.training.pictures import Faces

        if not self.main or not self.config.run.pictures:
            return None
        return Faces(self.images, self.config.run.faces, self.size, self.patches, self.config.seed)

    def _draw(self, epoch: int, losses: list[float], faces: Any) -> None:
        """The curve and the faces, a few times in a run and at its end."""
        from fusionkit.training.pictures import loss_curve

        epochs, pictures = self.config.recipe.epochs, self.config.run.pictures
        if epoch != epochs and (not pictures or epoch % max(epochs // pictures, 1)):
            return
        write_file(self.folder.curve, loss_curve(losses, self.batches.steps_per_epoch))
        sheet = faces.drawn(self.model) if faces is not None else None
        if sheet is not None:
            write_file(self.folder.path / f"reconstruction-{epoch:03d}.png", sheet)

    def _finish(self, encoder: Path) -> None:
        self.accelerator.wait_for_everyone()
        if self.main:
            about = {"run": self.config.name, "config": self.config.digest(), "steps": self.steps}
            write_encoder(encoder, self.model.encoder, self.config.encoder, about)


def build_model(config: PretrainConfig) -> MaskedAutoencoder:
    """The masked autoencoder of a config, with the random weights of its seed.

    Raises:
        ConfigError: if its sizes do not go together.
    """
    import torch

    from fusionkit.training.mae import Decoder, MaskedAutoencoder, initialize

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
            hint="at least one must be visible and one masked",
        )
    return model
