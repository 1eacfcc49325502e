"""Contract of a backbone: one view of a face in, one embedding out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.contracts.inputs import WatchedFrames, input_changed
from fusionkit.errors import PluginError

if TYPE_CHECKING:
    from torch import nn


def has_native_bfloat16(device: str) -> bool:
    """Return whether the hardware computes in bfloat16. Emulated bfloat16 is slower than float32.

    Args:
        device: ``cpu``, ``cuda:0``, ...
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if kind == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


Interpolation = Literal["nearest", "linear", "cubic", "area", "lanczos"]
TokenCount = int | Literal["map"]
"""What a fusion takes of a view: K pooled tokens, 0 for the embedding, or ``map`` for all tokens in their grid."""


class Backbone(Component, ABC):
    """Embeds views.

    The kernel resizes every view to ``input_size`` with ``interpolation`` and passes uint8. The backbone normalises by
    ``mean`` and ``std`` itself, because only it knows where and in which precision that is cheapest.

    Attributes:
        mean: mean of each RGB channel, of values scaled to 0..1.
        std: standard deviation of each RGB channel, of values scaled to 0..1.
        interpolation: interpolation by which the kernel resizes views.
        random_weights: whether weights are random, all or some: a control. Reports mark the rows of such a backbone.
        loaded_by: registered name of the backbone that loads files of :meth:`export`. Default: this one.
    """

    kind: ClassVar[str] = "backbone"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: Interpolation = "linear"
    random_weights: bool = False
    loaded_by: ClassVar[str] = ""

    @property
    @abstractmethod
    def dim(self) -> int:
        """D, the width of the embedding."""

    @property
    @abstractmethod
    def input_size(self) -> tuple[int, int]:
        """(height, width) of its input in pixels."""

    @abstractmethod
    def embed(self, views: np.ndarray) -> np.ndarray:
        """Embed a batch.

        Args:
            views: (B, H, W, 3) uint8 RGB of ``input_size``. Do not write to them.

        Returns:
            (B, D) float32. A row must not depend on the other rows of the batch.
        """

    def tokens(self, views: np.ndarray) -> np.ndarray:
        """Embed a batch as (B, K, token_dim) float32, for fusions with ``needs = 'tokens'`` or ``'map'``. Optional."""
        raise PluginError(f"backbone {type(self).__name__} gives no tokens", hint="choose a fusion of pooled views")

    @property
    def token_dim(self) -> int:
        """Width of the tokens. Default: D."""
        return self.dim

    @property
    def token_grid(self) -> tuple[int, int] | None:
        """(rows, columns) of the grid in the view that :meth:`tokens` fill, row by row, for fusions of maps.

        Default: None, for tokens without a grid.
        """
        return None

    def launch(self, views: np.ndarray, *, tokens: bool) -> Callable[[], np.ndarray]:
        """Begin to embed a batch. Optional, for a device that computes by itself, such as a GPU.

        While it computes, the kernel prepares and launches the next batch. Default: compute at once.

        Args:
            views: as in :meth:`embed`. They stay unchanged until the values are returned. For a GPU their memory is
                page-locked.
            tokens: compute what :meth:`tokens` does instead of :meth:`embed`.

        Returns:
            A function that waits for the values and returns them.
        """
        values = self.tokens(views) if tokens else self.embed(views)
        return lambda: values

    @classmethod
    def gives_tokens(cls) -> bool:
        """Return whether :meth:`tokens` is implemented. A backbone may still have none for some of its options."""
        return cls.tokens is not Backbone.tokens

    @classmethod
    def gives_maps(cls) -> bool:
        """Return whether :attr:`token_grid` is implemented. It may still be None for some options."""
        return cls.token_grid is not Backbone.token_grid

    def prepare(self, device: str, precision: str) -> None:
        """Move to a device (``cpu``, ``cuda:0``) and a precision (``float32``, ``bfloat16``). Default: do nothing."""

    def precision(self, device: str) -> str:
        """Return the best precision on a device. It enters the identity of embeddings. Default: ``float32``."""
        return "float32"

    def cost(self) -> tuple[int, float]:
        """Return (parameters, GFLOP of one view). Default: (0, 0.0), for a backbone without parameters."""
        return 0, 0.0

    def weights(self) -> str:
        """Return the publisher's name of the pretrained weights, for the provenance of a run. Default: empty."""
        return ""

    def notes(self) -> tuple[str, ...]:
        """Return messages on the loading of weights, for users and the provenance of a run. Default: none."""
        return ()

    def trained_on(self) -> tuple[tuple[str, str], ...]:
        """Return the labels used to train the weights: (data fingerprint, split digest) of each set. Default: none."""
        return ()

    def trainable(self, drop_path: float, seed: int) -> nn.Module:
        """Return a new network with the backbone's weights, for ``fusionkit finetune``. Optional.

        Args:
            drop_path: probability of dropping the deepest residual branch in training, at least 0.
            seed: random seed of newly initialised weights.

        Returns:
            A float32 network on the CPU: (B, 3, H, W), normalised by ``mean`` and ``std``, to the embedding (B, D).

        Raises:
            ConfigError: if ``drop_path`` is above 0 and the network does not support it.
        """
        raise PluginError(f"backbone {type(self).__name__} cannot be fine-tuned")

    def export(self, network: nn.Module, about: dict[str, Any]) -> bytes:
        """Return a weights file of a network from :meth:`trainable`, which an option of this backbone can load.

        Args:
            network: the trained network.
            about: plain data on the origin of the weights, stored in the file. :meth:`trained_on` of a backbone with
                this file must return its key ``trained_on``.
        """
        raise PluginError(f"backbone {type(self).__name__} cannot be fine-tuned")

    @classmethod
    def loading(cls, file: str, options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG003
        """Return the options with which ``loaded_by`` loads a file of :meth:`export`.

        Default: the first name in ``files``, with the file, and no other option.

        Args:
            file: the file's path.
            options: those of the backbone that was trained.
        """
        if not cls.files:
            raise PluginError(f"backbone {cls.__name__} has no option in files that could load an exported file")
        return {cls.files[0]: file}

    def as_network(self, *, tokens: bool) -> nn.Module:
        """Return the backbone as a network that computes what :meth:`embed` does, for ``fusionkit export``. Optional.

        Args:
            tokens: compute what :meth:`tokens` does instead.

        Returns:
            A float32 network on the CPU, for inference: (B, H, W, 3) uint8 to (B, D), or (B, K, D) tokens.

        Raises:
            PluginError: if the backbone has none: an exported cell then keeps the backbone as code.
        """
        raise PluginError(f"backbone {type(self).__name__} cannot be written as a network")

    @classmethod
    def gives_network(cls) -> bool:
        """Return whether :meth:`as_network` is implemented."""
        return cls.as_network is not Backbone.as_network

    # -- what the kernel calls -------------------------------------------------------------------------------------

    def feature_shape(self, tokens: TokenCount) -> tuple[int, ...]:
        """Return the shape of the features of one view: (D,), (K, D) of tokens, or (H, W, D) of a map.

        Raises:
            PluginError: if it gives no maps.
        """
        if tokens != "map":
            return (tokens, self.token_dim) if tokens else (self.dim,)
        if self.token_grid is None:
            raise PluginError(f"backbone {type(self).__name__} gives no maps", hint="choose a fusion of pooled views")
        return (*self.token_grid, self.token_dim)

    def __call__(self, views: np.ndarray, tokens: TokenCount = 0) -> np.ndarray:
        """Call :meth:`embed`, or :meth:`tokens` pooled to ``tokens`` of them, and check input and output.

        Returns:
            (B, D) float32; (B, K, D) of K tokens, or (B, H, W, D) of maps.

        Raises:
            PluginError: if a shape or type breaks the contract, or the views are changed.
        """
        self._check_views(views)
        watched = WatchedFrames(views)  # not read-only: PyTorch would warn
        return self._checked(self.tokens(views) if tokens else self.embed(views), views, watched, tokens)

    def launched(self, views: np.ndarray, tokens: TokenCount = 0) -> Callable[[], np.ndarray]:
        """Call :meth:`launch`, and return a function that waits and returns what :meth:`__call__` would.

        Raises:
            PluginError: as :meth:`__call__`, at once or when the values are awaited.
        """
        self._check_views(views)
        watched = WatchedFrames(views)
        wait = self.launch(views, tokens=bool(tokens))
        return lambda: self._checked(wait(), views, watched, tokens)

    def _check_views(self, views: np.ndarray) -> None:
        if views.dtype != np.uint8 or views.shape[1:] != (*self.input_size, 3):
            raise PluginError(
                f"backbone {type(self).__name__} takes uint8 (B, {self.input_size}, 3), not {views.dtype} {views.shape}"
            )

    def _checked(self, found: np.ndarray, views: np.ndarray, watched: WatchedFrames, tokens: TokenCount) -> np.ndarray:
        name = type(self).__name__
        values = np.asarray(found, dtype=np.float32)
        if watched.changed():
            raise input_changed(f"backbone {name}", "a view")
        expected, width = ("(B, K, D)", self.token_dim) if tokens else ("(B, D)", self.dim)
        if values.ndim != (3 if tokens else 2) or len(values) != len(views) or values.shape[-1] != width:
            raise PluginError(
                f"backbone {name} gave {values.shape}; expected {expected} with B={len(views)}, D={width}"
            )
        if tokens == "map":
            rows, columns, _ = self.feature_shape(tokens)
            if values.shape[1] != rows * columns:
                raise PluginError(
                    f"backbone {name} gave {values.shape[1]} tokens; expected those of its grid, {rows} x {columns}"
                )
            return values.reshape(len(views), rows, columns, width)
        return pool_tokens(values, tokens) if tokens else values


def pool_tokens(tokens: np.ndarray, count: int) -> np.ndarray:
    """Average runs of neighbouring tokens: (B, K, D) to (B, count, D). Run lengths differ by at most one.

    Raises:
        PluginError: if there are fewer than ``count`` tokens.
    """
    length = tokens.shape[1]
    if length < count:
        raise PluginError(f"the backbone gives {length} tokens per view, fewer than the {count} requested")
    edges = np.linspace(0, length, count + 1).round().astype(int)
    return np.stack([tokens[:, a:b].mean(1) for a, b in pairwise(edges)], axis=1)
