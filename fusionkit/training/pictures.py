"""The pictures of a pre-training run: the curve of its losses, and faces as masked, reconstructed and original."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.training.crop import central_box, resize
from fusionkit.training.images import Images
from fusionkit.training.mae import draw_order, patchify, unpatchify

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from fusionkit.training.mae import MaskedAutoencoder

_FACES = 4  # the stream of random numbers that draws the masks of pictures
_GREY = 0.5


def loss_curve(losses: Sequence[float], steps_per_epoch: int) -> bytes:
    """The loss of each step and the mean of each epoch, as PNG."""
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


class Faces:
    """A few faces with fixed crops and masks, drawn now and then to see what the model has learned.

    Args:
        images: where they are taken from, evenly spaced; those that cannot be read are left out.
        count: how many.
        size: side in pixels.
        patches: N.
        seed: of the masks.
    """

    def __init__(self, images: Images, count: int, size: int, patches: int, seed: int) -> None:
        import torch

        rows = np.unique(np.linspace(0, len(images) - 1, count).astype(int))
        found = [image for image in map(images.read, rows.tolist()) if image is not None]
        cut = [resize(image, central_box(*image.shape[:2]), size) for image in found]
        orders = [draw_order(patches, np.random.default_rng([seed, _FACES, face])) for face in range(len(cut))]
        self.pixels = torch.stack(cut) if cut else None
        self.orders = torch.stack(orders) if orders else None

    def drawn(self, model: MaskedAutoencoder) -> bytes | None:
        """A row a face: what the encoder sees, what is made of it, the original; as PNG. None without any face."""
        import torch

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
        as_seen = [self._shown(value * model.std + model.mean) for value in (images, made)]
        masked = np.where(shown.permute(0, 2, 3, 1).cpu().numpy() > 0, as_seen[0], _GREY)
        return _sheet(("masked", "reconstructed", "original"), (masked, as_seen[1], as_seen[0]))

    @staticmethod
    def _shown(values: Tensor) -> np.ndarray:
        """(B, H, W, 3) in 0..1."""
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
    """A figure as a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
