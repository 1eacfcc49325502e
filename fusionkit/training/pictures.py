"""Pictures of a training run: curves of losses and scores, and faces as masked, reconstructed and original."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fusionkit.training.crop import central_box, resize
from fusionkit.training.evaluation import EpochScore, best_of
from fusionkit.training.images import Images
from fusionkit.training.mae import MaskedAutoencoder, draw_order, patchify, unpatchify

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FACES = 4  # the stream of random numbers that draws the masks of pictures
_GREY = 0.5


def is_due(epoch: int, epochs: int, times: int) -> bool:
    """Return whether a picture is drawn after an epoch (from 1): about ``times`` in all, and after the last one."""
    return times > 0 and (epoch == epochs or epoch % max(epochs // times, 1) == 0)


def loss_curve(losses: Sequence[float], steps_per_epoch: int) -> bytes:
    """Draw the loss of each step and the mean of each epoch, as PNG."""
    from matplotlib.figure import Figure

    values = np.array(losses)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(np.arange(1, len(values) + 1), values, color="0.75", linewidth=0.8, label="step")
    starts = range(0, len(values), steps_per_epoch)
    means = [values[start : start + steps_per_epoch].mean() for start in starts]
    centres = [start + (min(steps_per_epoch, len(values) - start) + 1) / 2 for start in starts]
    axes.plot(centres, means, color="C0", marker="." if len(starts) < 60 else "", label="mean of an epoch")
    axes.set_xlabel("step")
    axes.set_ylabel("loss: mean squared error on masked patches")
    axes.legend(frameon=False)
    return png(figure)


def score_curve(losses: Sequence[float], scores: Sequence[EpochScore], select: str) -> bytes:
    """Draw the loss of each step, and macro-F1 and accuracy on dev of each epoch, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    per_epoch = max(len(losses) // max(len(scores), 1), 1)
    above.plot(np.arange(1, len(losses) + 1) / per_epoch, losses, color="0.75", linewidth=0.8, label="step")
    epochs = [score.epoch for score in scores]
    above.plot(epochs, [score.loss for score in scores], color="C0", marker=".", label="mean of an epoch")
    above.set_ylabel("training loss")
    above.legend(frameon=False)
    below.plot(epochs, [score.macro_f1 for score in scores], color="C1", marker=".", label="macro-F1")
    below.plot(epochs, [score.accuracy for score in scores], color="C2", marker=".", label="accuracy")
    if scores:
        best = best_of(scores, select)
        below.axvline(best.epoch, color="0.5", linewidth=0.8, linestyle="--", label=f"kept: epoch {best.epoch}")
    below.set_ylabel("dev")
    below.set_xlabel("epoch")
    below.legend(frameon=False)
    return png(figure)


class Faces:
    """Some faces with fixed crops and masks, drawn several times in a run.

    Args:
        images: source of the faces, evenly spaced; unreadable ones are left out.
        count: number of faces.
        model: gives the size of images and the number of patches.
        seed: of the masks.
    """

    def __init__(self, images: Images, count: int, model: MaskedAutoencoder, seed: int) -> None:
        size, patches = int(model.encoder.patch_embed.img_size[0]), int(model.encoder.patch_embed.num_patches)
        rows = np.unique(np.linspace(0, len(images) - 1, count).astype(int))
        found = [image for image in map(images.read, rows.tolist()) if image is not None]
        cropped = [resize(image, central_box(*image.shape[:2]), size) for image in found]
        orders = [draw_order(patches, np.random.default_rng([seed, _FACES, face])) for face in range(len(found))]
        self.pixels = torch.from_numpy(np.stack(cropped)).permute(0, 3, 1, 2).contiguous() if cropped else None
        self.orders = torch.from_numpy(np.stack(orders)) if orders else None

    def drawn(self, model: MaskedAutoencoder) -> bytes | None:
        """Draw a row per face: visible patches, reconstruction, original; as PNG. None if there is no face."""
        if self.pixels is None or self.orders is None:
            return None
        model.eval()
        with torch.inference_mode():
            pixels, order = self.pixels.to(model.mean.device), self.orders.to(model.mean.device)
            images = model.normalized(pixels)
            patches = model.drawn(model.predict(images, order), images)
            original = patchify(images, model.patch)
            visible = torch.zeros(order.shape, dtype=torch.bool, device=order.device)
            visible.scatter_(1, order[:, : model.kept], True)
            grid = model.encoder.patch_embed.grid_size
            made = unpatchify(torch.where(visible[..., None], original, patches), model.patch, grid)
            shown = unpatchify(visible[..., None].expand_as(original).float(), model.patch, grid)
        image, reconstruction = (_pixels(value * model.std + model.mean) for value in (images, made))
        masked = np.where(shown.permute(0, 2, 3, 1).cpu().numpy() > 0, image, _GREY)
        return _sheet(("masked", "reconstructed", "original"), (masked, reconstruction, image))


def _pixels(values: Tensor) -> np.ndarray:
    """Return (B, H, W, 3) in 0..1."""
    shown: np.ndarray = values.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return shown


def _sheet(titles: Sequence[str], columns: Sequence[np.ndarray]) -> bytes:
    from matplotlib.figure import Figure

    rows = len(columns[0])
    figure = Figure(figsize=(1.6 * len(columns), 1.6 * rows + 0.3), layout="constrained")
    for row, axes in enumerate(figure.subplots(rows, len(columns), squeeze=False)):
        for column, (title, cell) in enumerate(zip(titles, axes, strict=True)):
            cell.imshow(columns[column][row], interpolation="nearest")
            cell.set_axis_off()
            if row == 0:
                cell.set_title(title, fontsize=9)
    return png(figure)


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
