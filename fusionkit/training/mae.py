"""The masked autoencoder: a vision transformer sees a few patches, a light decoder draws the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fusionkit.training.crop import MEAN, STD

if TYPE_CHECKING:
    from timm.models import VisionTransformer


_EPSILON = 1e-6  # keeps the variance of a flat patch from being divided by


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
    """Put patches together again: the inverse of :func:`patchify` for a grid of (rows, columns)."""
    batch, channels = len(patches), patches.shape[-1] // patch**2
    cells = patches.reshape(batch, *grid, patch, patch, channels)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, grid[0] * patch, grid[1] * patch)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch over its pixels and channels, each (B, N, 1).

    The variance is the unbiased one, as in the authors' released code.
    """
    return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + _EPSILON).sqrt()


def patches_kept(count: int, mask_ratio: float) -> int:
    """How many of ``count`` patches stay visible; the masked ones are rounded to the nearest whole number."""
    return count - round(count * mask_ratio)


def draw_order(count: int, rng: np.random.Generator) -> Tensor:
    """(count,) int64: the patches of one image in random order; the first ones stay visible, the others are masked."""
    return torch.from_numpy(rng.permutation(count))


class MaskedAutoencoder(nn.Module):
    """An encoder of timm that sees visible patches only, and a decoder that predicts the pixels of the masked ones.

    Args:
        encoder: timm's vision transformer with a class token and position embeddings, without classifier and pooling.
        decoder: see :class:`Decoder`.
        mask_ratio: share of the patches that are masked.
        normalize_targets: predict each patch with its own mean and standard deviation taken out.

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
        # What every file of weights would repeat is no part of the state.
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor, order: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            pixels: (B, 3, H, W) uint8.
            order: (B, N) int64: the patches of each image in random order, the visible ones first.

        Returns:
            The mean squared error over the masked patches: a scalar.
        """
        images = self.normalized(pixels)
        return self.loss(self.predict(images, order), images, order)

    def normalized(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 to float32 with mean 0 and variance 1 over ImageNet."""
        return (pixels.float() / 255 - self.mean) / self.std

    def predict(self, images: Tensor, order: Tensor) -> Tensor:
        """(B, N, patch * patch * 3): the decoder's patches, in the order of the image."""
        predicted: Tensor = self.decoder(self.encode(images, order[:, : self.kept]), order)
        return predicted

    def encode(self, images: Tensor, visible: Tensor) -> Tensor:
        """The encoder on some patches of each image.

        Args:
            images: (B, 3, H, W) float.
            visible: (B, K) int64: which patches it sees.

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
        """The mean squared error of predictions over the masked patches, in float32."""
        masked = order[:, self.kept :]
        errors = take(predicted.float(), masked) - take(self.targets(images), masked)
        return errors.square().mean()

    def targets(self, images: Tensor) -> Tensor:
        """(B, N, patch * patch * 3): what the decoder is to predict."""
        patches = patchify(images, self.patch)
        if not self.normalize_targets:
            return patches
        mean, std = patch_statistics(patches)
        return (patches - mean) / std

    def drawn(self, predicted: Tensor, images: Tensor) -> Tensor:
        """Predictions as pixels of a normalised image; mean and contrast of normalised targets are the image's own."""
        if not self.normalize_targets:
            return predicted.float()
        mean, std = patch_statistics(patchify(images, self.patch))
        return predicted.float() * std + mean


class Decoder(nn.Module):
    """A narrow transformer over all patches, the masked ones being a learned token at their positions.

    Args:
        encoder: whose tokens it takes.
        width: of its tokens, a multiple of 4 and of ``heads``.
        depth: blocks.
        heads: of attention.
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


def take(tokens: Tensor, places: Tensor) -> Tensor:
    """Some tokens of each row: (B, N, D) and (B, K) to (B, K, D)."""
    return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """(1, 1 + N, width): fixed sines and cosines of row and column; zero for the class token.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017, over two axes. The order of the channels is timm's: sines of
        row and column, then their cosines.
    """
    from timm.layers import build_sincos2d_pos_embed  # type: ignore[attr-defined]

    patches = build_sincos2d_pos_embed(list(grid), width)
    return torch.cat([torch.zeros(1, width), patches])[None]


def initialize(model: MaskedAutoencoder) -> None:
    """Draw the weights as MAE does: Xavier-uniform linear layers, the patch embedding among them, and small tokens."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    kernel = model.encoder.patch_embed.proj.weight
    nn.init.xavier_uniform_(kernel.data.view(len(kernel), -1))
    for token in (model.encoder.cls_token, model.decoder.mask_token):
        assert token is not None
        nn.init.normal_(token, std=0.02)
