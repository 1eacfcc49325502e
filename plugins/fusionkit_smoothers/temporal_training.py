"""How the learned temporal head is trained: pieces of clips in batches, stopped early by clips that are held out."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fusionkit_smoothers.temporal_net import TemporalNet

_PIECE = 512  # frames; a longer clip is cut, and the ends of pieces count as ends of clips
_BATCH = 4096  # frames at most, padding among them
_A_ROUND = 8  # batches at least, where there are frames enough for so many of a piece
_PATIENCE = 5
_HELD_OUT = 4  # one clip in so many


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip, or a piece of one.

    Attributes:
        features: (T, F) float32.
        logits: (T, C) float32.
        labels: (T,) int64, -1 unlabelled.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Pieces side by side, padded to the longest: features (B, F, T), logits (B, C, T), labels and ``there`` (B, T)."""

    features: Tensor
    logits: Tensor
    labels: Tensor
    there: Tensor


def train(net: TemporalNet, clips: list[Clip], epochs: int, seed: int) -> None:
    """Train a net in place; it stays as it is where nothing better is found, or nothing can be held out.

    Args:
        net: whose last layer starts at zero.
        clips: each with a label.
        epochs: at most.
        seed: of the split and of the order of batches.
    """
    if len(clips) < 2:
        return
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(clips)).tolist()
    held = max(1, round(len(clips) / _HELD_OUT))
    weights = _class_weights(torch.cat([clip.labels for clip in clips]), clips[0].logits.shape[1])
    checks = _batches([clips[index] for index in order[:held]])
    batches = _batches([clips[index] for index in order[held:]])
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-4)
    best, kept, since = _mean_loss(net, checks, weights), deepcopy(net.state_dict()), 0
    for _ in range(epochs):
        for index in rng.permutation(len(batches)).tolist():
            optimizer.zero_grad()
            loss, total = _loss(net, batches[index], weights)
            (loss / total).backward()
            optimizer.step()
        found = _mean_loss(net, checks, weights)
        if found < best:
            best, kept, since = found, deepcopy(net.state_dict()), 0
        else:
            since += 1
        if since == _PATIENCE:
            break
    net.load_state_dict(kept)


def _class_weights(labels: Tensor, classes: int) -> Tensor:
    """(C,) so that every class that there is weighs the same in all."""
    counts = torch.bincount(labels[labels >= 0], minlength=classes)
    return torch.where(counts > 0, counts.sum() / (counts.clamp(min=1) * (counts > 0).sum()), 0.0)


def _batches(clips: list[Clip]) -> list[Batch]:
    """The clips in pieces, the pieces with labels in batches of like lengths."""
    pieces = [
        Clip(*(part[start : start + _PIECE] for part in (clip.features, clip.logits, clip.labels)))
        for clip in clips
        for start in range(0, len(clip.labels), _PIECE)
        if (clip.labels[start : start + _PIECE] >= 0).any()
    ]
    pieces.sort(key=lambda piece: len(piece.labels), reverse=True)
    size = min(_BATCH, max(_PIECE, sum(len(piece.labels) for piece in pieces) // _A_ROUND))
    batches = []
    while pieces:
        many = size // len(pieces[0].labels)
        batches.append(_side_by_side(pieces[:many]))
        del pieces[:many]
    return batches


def _side_by_side(pieces: list[Clip]) -> Batch:
    def padded(parts: list[Tensor], value: float) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)

    return Batch(
        features=padded([piece.features for piece in pieces], 0.0).transpose(1, 2),
        logits=padded([piece.logits for piece in pieces], 0.0).transpose(1, 2),
        labels=padded([piece.labels for piece in pieces], -1),
        there=padded([torch.ones(len(piece.labels)) for piece in pieces], 0.0),
    )


def _loss(net: TemporalNet, batch: Batch, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy, added up over labelled frames, and their weights in all."""
    logits = batch.logits + net(batch.features, batch.there[:, None])
    loss = torch.nn.functional.cross_entropy(logits, batch.labels, weights, ignore_index=-1, reduction="sum")
    return loss, weights[batch.labels[batch.labels >= 0]].sum()


def _mean_loss(net: TemporalNet, batches: list[Batch], weights: Tensor) -> float:
    with torch.inference_mode():
        found = [_loss(net, batch, weights) for batch in batches]
        return float(sum(loss for loss, _ in found) / sum(total for _, total in found))
