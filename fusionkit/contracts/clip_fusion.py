"""Contract of a fusion over time: the views of neighbouring frames of a clip in, one output per frame out."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fusionkit.contracts.fusion import Fusion, FusionOutput, Views, Windows
from fusionkit.errors import PluginError


class ClipFusion(Fusion):
    """Fuses the views of neighbouring frames of a clip, and gives one output per frame.

    The kernel cuts clips into windows of at most ``window`` frames. A window has frames of one clip only, in time
    order. Frames without any view are left out, so that they are gaps in time, and so are training frames without a
    label.

    In training the windows of a clip do not overlap and start at a random frame. In prediction neighbouring windows
    overlap by half, and each frame is predicted where it has most context: with at least half a window before it if the
    fusion is causal, else with a quarter before and after it, as far as the clip has that many frames. A stream gives
    the same numbers.

    The loss gets the outputs of all frames of a batch, one row per frame, without padding.

    Attributes:
        window: T, largest number of frames of a window. An option may set it for an instance.
        causal: whether the output at a frame uses no later frame; only then frames can be predicted as they come. An
            option may set it for an instance.
    """

    needs: ClassVar[Literal["clip"]] = "clip"
    window: int = 32
    causal: bool = False

    def fuse_clip(self, views: Views, present: Views, number: Tensor, mask: Tensor) -> Tensor | FusionOutput:
        """Fuse a batch of windows.

        Args:
            views: (B, T, D_v) float of each view, in the order of ``in_dims``; zero in padding.
            present: (B, T) bool of each view, in the same order; False in padding.
            number: (B, T) int64, ascending frame numbers. A gap in them is a gap in time. Zero in padding.
            mask: (B, T) bool, True at frames. Shorter windows are padded at their end.

        Returns:
            (B, T, out_dim), to which a linear head is added; or a :class:`FusionOutput` of such tensors. Padding must
            not have an effect on the outputs of frames; its own outputs are ignored.
        """
        raise NotImplementedError("fuse_clip() is not written")

    # -- what the kernel calls -------------------------------------------------------------------------------------

    def fuse_rows(self, views: Views, present: Views, windows: Windows | None) -> Tensor | FusionOutput:
        """Pack the frames into windows, call :meth:`fuse_clip`, and return the outputs of the frames."""
        windows = windows or Windows.of_single_frames(len(views[self.main]), views[self.main].device)
        index, position, shape = windows.places()

        def packed(rows: Tensor) -> Tensor:
            out = rows.new_zeros(*shape, *rows.shape[1:])
            out[index, position] = rows
            return out

        mask = packed(torch.ones_like(index, dtype=torch.bool))
        output = self.fuse_clip(
            {name: packed(value) for name, value in views.items()},
            {name: packed(value) for name, value in present.items()},
            packed(windows.number),
            mask,
        )
        if not isinstance(output, FusionOutput):
            output = FusionOutput(embedding=output)

        def rows(value: Tensor) -> Tensor:
            if not isinstance(value, Tensor) or value.ndim != 3 or value.shape[:2] != shape:
                found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise PluginError(f"fuse_clip() gave {found}; expected (B, T, ...) = {(*shape, '...')}")
            return value[index, position]

        return replace(
            output,
            embedding=None if output.embedding is None else rows(output.embedding),
            logits=None if output.logits is None else rows(output.logits),
            view_logits=output.view_logits and {name: rows(value) for name, value in output.view_logits.items()},
        )
