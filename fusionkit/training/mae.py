"""Masked autoencoder: a vision transformer encodes some patches, and a small decoder predicts the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fusionkit.training.crop import MEAN, STD

if TYPE_CHECKING:
    from timm.models import VisionTransformer

_EPSILON = 1e-6  # added to the variance of a patch, which may be 0


class MaskedAutoencoder(nn.Module):
    """An encoder of timm for visible patches, and a decoder that predicts the pixels of masked ones.

    Args:
        encoder: timm's vision transformer with a class token and position embeddings, without classifier and pooling.
        decoder: see :class:`Decoder`.
        mask_ratio: share of masked patches.
        normalize_targets: normalise each target patch by its own mean and standard deviation.

    Reference:
        He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, arXiv:2111.06377.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, encoder: VisionTransformer, decoder: Decoder, mask_ratio: float = 0.75, normalize_targets: bool = True
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.normalize_targets = normalize_targets
        self.patch = int(encoder.patch_embed.patch_size[0])
        self.kept = patches_kept(int(encoder.patch_embed.num_patches), mask_ratio)
        # Constants are left out of the state dict.
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor, order: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            pixels: (B, 3, H, W) uint8.
            order: (B, N) int64: the patches of each image in random order, visible ones first.

        Returns:
            The mean squared error over the masked patches: a scalar.
        """
        images = self.normalized(pixels)
        return self.loss(self.predict(images, order), images, order)

    def normalized(self, pixels: Tensor) -> Tensor:
        """Normalise (B, 3, H, W) uint8 to float32 with ImageNet's mean and standard deviation."""
        return (pixels.float() / 255 - self.mean) / self.std

    def predict(self, images: Tensor, order: Tensor) -> Tensor:
        """Predict (B, N, patch * patch * 3): every patch, in the order of the image."""
        predicted: Tensor = self.decoder(self.encode(images, order[:, : self.kept]), order)
        return predicted

    def encode(self, images: Tensor, visible: Tensor) -> Tensor:
        """Encode some patches of each image.

        Args:
            images: (B, 3, H, W) float.
            visible: (B, K) int64: their numbers.

        Returns:
            (B, 1 + K, D): the class token, then the patches in the order of ``visible``.
        """
        vit: Any = self.encoder
        prefix = vit.pos_embed.shape[1] - vit.patch_embed.num_patches
        patches = vit.patch_embed(images) + vit.pos_embed[:, prefix:]
        seen = take(patches, visible)
        first = vit.cls_token + vit.pos_embed[:, :1] if prefix else vit.cls_token
        tokens = torch.cat([first.expand(len(images), -1, -1).to(seen.dtype), seen], 1)
        encoded: Tensor = vit.norm(vit.blocks(vit.norm_pre(tokens)))
        return encoded

    def loss(self, predicted: Tensor, images: Tensor, order: Tensor) -> Tensor:
        """Return the mean squared error over the masked patches, in float32."""
        masked = order[:, self.kept :]
        errors = take(predicted.float(), masked) - take(self.targets(images), masked)
        return errors.square().mean()

    def targets(self, images: Tensor) -> Tensor:
        """Return the decoder's targets (B, N, patch * patch * 3)."""
        patches = patchify(images, self.patch)
        if not self.normalize_targets:
            return patches
        mean, std = patch_statistics(patches)
        return (patches - mean) / std

    def drawn(self, predicted: Tensor, images: Tensor) -> Tensor:
        """Return predictions as pixels of a normalised image; normalised ones get the image's own mean and contrast."""
        if not self.normalize_targets:
            return predicted.float()
        mean, std = patch_statistics(patchify(images, self.patch))
        return predicted.float() * std + mean


class Decoder(nn.Module):
    """A narrow transformer over all patches; a masked patch is a learned token at its position.

    Args:
        encoder: gives the tokens.
        width: of the decoder's tokens, a multiple of 4 and of ``heads``.
        depth: number of blocks.
        heads: attention heads.
    """

    positions: Tensor

    def __init__(self, encoder: VisionTransformer, width: int = 512, depth: int = 8, heads: int = 16) -> None:
        from functools import partial

        from timm.models.vision_transformer import Block

        super().__init__()
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        patch = encoder.patch_embed.patch_size[0]
        self.embed = nn.Linear(encoder.embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("positions", sincos_positions(encoder.patch_embed.grid_size, width), persistent=False)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)))
        self.norm = norm(width)
        self.head = nn.Linear(width, patch * patch * 3)

    def forward(self, tokens: Tensor, order: Tensor) -> Tensor:
        """Predict every patch.

        Args:
            tokens: (B, 1 + K, D): class token and visible patches.
            order: (B, N) int64; its first K are the visible ones.

        Returns:
            (B, N, patch * patch * 3), in the order of the image.
        """
        embedded = self.embed(tokens)
        masked = self.mask_token.to(embedded.dtype).expand(len(tokens), order.shape[1] + 1 - tokens.shape[1], -1)
        patches = take(torch.cat([embedded[:, 1:], masked], 1), order.argsort(1))
        whole = torch.cat([embedded[:, :1], patches], 1) + self.positions
        predicted: Tensor = self.head(self.norm(self.blocks(whole))[:, 1:])
        return predicted


def take(tokens: Tensor, positions: Tensor) -> Tensor:
    """Take some tokens of each row: (B, N, D) and (B, K) to (B, K, D)."""
    return tokens.gather(1, positions.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Return (1, 1 + N, width): fixed sines and cosines of row and column; zero for the class token.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017, over two axes. Channels are in timm's order: sines of row and
        column, then their cosines.
    """
    from timm.layers import build_sincos2d_pos_embed  # type: ignore[attr-defined]

    patches = build_sincos2d_pos_embed(list(grid), width)
    return torch.cat([torch.zeros(1, width), patches])[None]


def initialize(model: nn.Module) -> None:
    """Draw the weights of an encoder, or of a whole autoencoder, like MAE.

    Linear layers and patch embedding are Xavier-uniform, the class token and the mask token small and normal.
    """
    from timm.layers import PatchEmbed  # type: ignore[attr-defined]

    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, PatchEmbed):
            nn.init.xavier_uniform_(module.proj.weight.data.flatten(1))
    for name, token in model.named_parameters():
        if name.endswith(("cls_token", "mask_token")):
            nn.init.normal_(token, std=0.02)


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images into square patches.

    Shape:
        (B, 3, H, W) to (B, N, patch * patch * 3): patches row by row of the image; within a patch row by row, the three
        channels of a pixel together.
    """
    batch, channels, height, width = images.shape
    cells = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """Reassemble patches: the inverse of :func:`patchify` for a grid of (rows, columns)."""
    batch, channels = len(patches), patches.shape[-1] // patch**2
    cells = patches.reshape(batch, *grid, patch, patch, channels)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, grid[0] * patch, grid[1] * patch)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each patch over its pixels and channels, each (B, N, 1).

    The variance is unbiased, as in the authors' released code.
    """
    return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + _EPSILON).sqrt()


def patches_kept(count: int, mask_ratio: float) -> int:
    """Return the number of visible patches of ``count``; the number of masked ones is rounded."""
    return count - round(count * mask_ratio)


def draw_order(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw (count,) int64: the patches of one image in random order; the first ones are visible."""
    return rng.permutation(count)
