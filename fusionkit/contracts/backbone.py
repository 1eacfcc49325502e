"""The contract of a backbone: one view of a face in, one embedding out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.errors import PluginError

if TYPE_CHECKING:
    from torch import nn


def has_native_bfloat16(device: str) -> bool:
    """Whether the hardware multiplies in bfloat16 instead of emulating it; emulated, it is slower than float32.

    Args:
        device: ``cpu``, ``cuda:0``, ...
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if kind == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


Interpolation = Literal["nearest", "linear", "cubic", "area", "lanczos"]


class Backbone(Component, ABC):
    """Embeds views.

    The kernel resizes every view to ``input_size`` with ``interpolation`` and hands over uint8; normalising by
    ``mean`` and ``std`` is the backbone's own work, since only it knows where and in which precision that is cheapest.

    Attributes:
        mean: per RGB channel, of values scaled to 0..1.
        std: per RGB channel, of values scaled to 0..1.
        interpolation: how the kernel resizes views.
    """

    kind: ClassVar[str] = "backbone"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: Interpolation = "linear"

    @property
    @abstractmethod
    def dim(self) -> int:
        """D, the width of the embedding."""

    @property
    @abstractmethod
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the views it takes."""

    @abstractmethod
    def embed(self, views: np.ndarray) -> np.ndarray:
        """Embed a batch.

        Args:
            views: (B, H, W, 3) uint8 RGB of ``input_size``.

        Returns:
            (B, D) float32. A row must not depend on the other rows of the batch.
        """

    def tokens(self, views: np.ndarray) -> np.ndarray:
        """Embed a batch as (B, K, D) float32 tokens, for fusions with ``needs = 'tokens'``; optional."""
        raise PluginError(f"backbone {type(self).__name__} gives no tokens", hint="a fusion of pooled views takes it")

    @classmethod
    def gives_tokens(cls) -> bool:
        """Whether :meth:`tokens` is written; a backbone may still have none for some of its options."""
        return cls.tokens is not Backbone.tokens

    def prepare(self, device: str, precision: str) -> None:
        """Move to a device (``cpu``, ``cuda:0``) and a precision (``float32``, ``bfloat16``); default: nothing."""

    def precision(self, device: str) -> str:
        """The precision that pays on this device; it enters the identity of embeddings. Default: ``float32``."""
        return "float32"

    def cost(self) -> tuple[int, float]:
        """(parameters, GFLOP of one view); (0, 0.0) for a backbone without parameters."""
        return 0, 0.0

    def weights(self) -> str:
        """The pretrained weights, as their publisher names them, for the record of a run; default: none, empty."""
        return ""

    def trained_on(self) -> tuple[tuple[str, str], ...]:
        """Whose labels the weights have learned from: (fingerprint of the data, digest of the split); default: none."""
        return ()

    def trainable(self, drop_path: float, seed: int) -> nn.Module:
        """A network of its own with the backbone's weights, for ``fusionkit finetune``; optional.

        Args:
            drop_path: share of the samples for which the deepest residual branch is left out in training, at least 0.
            seed: of weights that are random.

        Returns:
            A float32 network on the processor: (B, 3, H, W), normalised by ``mean`` and ``std``, to (B, D).

        Raises:
            ConfigError: if it has no such thing as ``drop_path`` and more than 0 is asked for.
        """
        raise PluginError(f"backbone {type(self).__name__} cannot be fine-tuned")

    def export(self, network: nn.Module, about: dict[str, Any]) -> bytes:
        """A weights file of what :meth:`trainable` gave, from which an option of this backbone builds it again.

        Args:
            network: after training.
            about: plain data on where the weights come from, kept in the file; ``trained_on`` in it is what
                :meth:`trained_on` of the backbone with this file shall say.
        """
        raise PluginError(f"backbone {type(self).__name__} cannot be fine-tuned")

    # -- what the kernel calls -------------------------------------------------------------------------------------

    def __call__(self, views: np.ndarray, tokens: int = 0) -> np.ndarray:
        """:meth:`embed`, or :meth:`tokens` pooled to ``tokens`` of them, with input and output checked.

        Returns:
            (B, D) float32, or (B, tokens, D) float32 where ``tokens`` > 0.

        Raises:
            PluginError: if the shape is not that of the contract.
        """
        name = type(self).__name__
        if views.dtype != np.uint8 or views.shape[1:] != (*self.input_size, 3):
            raise PluginError(f"backbone {name} takes uint8 (B, {self.input_size}, 3), not {views.dtype} {views.shape}")
        values = np.asarray(self.tokens(views) if tokens else self.embed(views), dtype=np.float32)
        expected = "(B, K, D)" if tokens else "(B, D)"
        if values.ndim != (3 if tokens else 2) or len(values) != len(views) or values.shape[-1] != self.dim:
            raise PluginError(
                f"backbone {name} gave {values.shape}; expected {expected} with B={len(views)}, D={self.dim}"
            )
        return pool_tokens(values, tokens) if tokens else values


def pool_tokens(tokens: np.ndarray, count: int) -> np.ndarray:
    """Average runs of neighbouring tokens: (B, K, D) to (B, count, D); runs differ by one where K is no multiple.

    Raises:
        PluginError: if there are fewer tokens than asked for.
    """
    length = tokens.shape[1]
    if length < count:
        raise PluginError(f"the backbone gives {length} tokens a view, fewer than the {count} asked for")
    edges = np.linspace(0, length, count + 1).round().astype(int)
    return np.stack([tokens[:, a:b].mean(1) for a, b in pairwise(edges)], axis=1)
