"""A learned temporal head: a small convolutional network over the logits of a clip, and its training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from fusionkit.contracts import Smoother
from fusionkit.contracts.option_types import Count, Range
from fusionkit.errors import PluginError

_PIECE = 512  # frames; a longer clip is cut, and the ends of pieces count as ends of clips
_BATCH = 4096  # most frames in a batch, padding included
_BATCHES_PER_EPOCH = 8  # at least, where there are enough frames for as many batches of one piece
_PATIENCE = 5  # epochs without improvement
_HELD_OUT = 4  # one clip in this many


class Tcn(Smoother):
    """Dilated convolutions over the logits of a clip, trained on the dev clips, correct each frame's logits.

    Inputs are the logits and, for each frame, the logarithms of the differences in frame number to the frames before
    and after. The loss weights classes equally, as the default recipe of heads does. A quarter of the dev clips is held
    out, and the epoch that is best on them is kept; the untrained net, which changes nothing, is a candidate. With
    fewer than two labelled clips nothing can be held out, and nothing is changed.

    It corrects the logits that it is trained on, so its dev score is optimistic.

    Args:
        channels: width of the hidden layers, at most 4096.
        layers: L, at most 16; together they cover ``2^L - 1`` frames on either side.
        epochs: at most; training stops after five epochs without improvement.

    Reference: Abu Farha and Gall 2019, "MS-TCN: multi-stage temporal convolutional network for action segmentation"
    (https://arxiv.org/abs/1903.01945): one stage of it, smaller, that adds to its input logits. Time differences as
    inputs, and all sizes, are our reading.
    """

    needs = "logits"
    fitted = True
    examples = ({"channels": 4, "layers": 2, "epochs": 2},)

    def __init__(
        self,
        channels: Annotated[int, Range(least=1, most=4096)] = 16,
        layers: Annotated[int, Range(least=1, most=16)] = 6,
        epochs: Count = 30,
    ) -> None:
        self.channels = channels
        self.layers = layers
        self.epochs = epochs
        self._mean = self._scale = np.empty(0)
        self._net: TemporalNet | None = None

    def fit(self, clips: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[np.ndarray], seed: int) -> None:
        """Train on the dev clips.

        Args:
            clips: a pair (logits (T, C), frame numbers (T,)) a clip.
            labels: (T,) int64 a clip, -1 unlabelled.
            seed: of the initial weights, of the held-out clips, and of the order of batches.
        """
        logits = np.concatenate([x for x, _ in clips])
        self._mean, spread = logits.mean(0), logits.std(0)
        self._scale = np.where(spread > 0, spread, 1.0)
        labelled = [
            Clip(
                features=torch.tensor(self._features(x, numbers)),
                logits=torch.tensor(x, dtype=torch.float32),
                labels=torch.tensor(known),
            )
            for (x, numbers), known in zip(clips, labels, strict=True)
            if (known >= 0).any()
        ]
        with _isolated(seed):
            self._net = self._new_net(logits.shape[1])
            train(self._net, labelled, self.epochs, seed)

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Correct the logits of a clip.

        Args:
            x: (T, C) logits.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) probabilities.

        Raises:
            PluginError: if it has not been fitted.
        """
        from scipy.special import softmax

        net = self._fitted
        if not len(x):
            return x
        if len(x) == 1:
            return softmax(x, axis=1)
        features = torch.from_numpy(self._features(x, frame_numbers)).T[None]
        with _isolated(0), torch.inference_mode():
            corrections = net(features, torch.ones(1, 1, len(x)))[0].T
        return softmax(x + corrections.double().numpy(), axis=1)

    def state(self) -> dict[str, np.ndarray]:
        """Return the net's weights by name, and ``mean`` and ``scale`` (C,) of the logits.

        Raises:
            PluginError: if it has not been fitted.
        """
        weights = {f"net.{name}": value.numpy().copy() for name, value in self._fitted.state_dict().items()}
        return {**weights, "mean": self._mean, "scale": self._scale}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`state` returned."""
        self._mean, self._scale = np.array(state["mean"]), np.array(state["scale"])
        with _isolated(0):
            self._net = self._new_net(len(self._mean))
        weights = {name[4:]: torch.tensor(value) for name, value in state.items() if name.startswith("net.")}
        self._net.load_state_dict(weights)

    @property
    def _fitted(self) -> TemporalNet:
        if self._net is None:
            raise PluginError("smoother Tcn has not been fitted")
        return self._net

    def _new_net(self, classes: int) -> TemporalNet:
        return TemporalNet(classes + 2, classes, self.channels, self.layers)

    def _features(self, logits: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """(T, C + 2) float32: standardised logits, logarithms of the steps before and after; 0 at a clip's ends."""
        steps = np.log(np.diff(frame_numbers))
        times = np.stack([np.r_[0.0, steps], np.r_[steps, 0.0]], axis=1)
        return np.concatenate([(logits - self._mean) / self._scale, times], axis=1).astype(np.float32)


class TemporalNet(nn.Module):
    """Corrections of the logits of each frame, from the frames around it.

    Layer n reaches ``2^n`` frames to either side, so that L layers together reach ``2^L - 1``. The last layer starts at
    zero: before training, nothing is corrected.

    Args:
        inputs: F, features of a frame.
        classes: C.
        channels: width of the hidden layers, at most 4096.
        layers: L.
    """

    def __init__(self, inputs: int, classes: int, channels: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(inputs, channels, 1)
        self.look = nn.ModuleList(
            [nn.Conv1d(channels, channels, 3, padding=2**layer, dilation=2**layer) for layer in range(layers)]
        )
        self.mix = nn.ModuleList([nn.Conv1d(channels, channels, 1) for _ in range(layers)])
        self.leave = nn.Conv1d(channels, classes, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return corrections.

        Args:
            features: (B, F, T).
            mask: (B, 1, T) 1 for a frame, 0 for padding, which counts as beyond the clip's end.

        Returns:
            (B, C, T).
        """
        hidden = self.enter(features) * mask
        for look, mix in zip(self.look, self.mix, strict=True):
            hidden = (hidden + mix(torch.relu(look(hidden)))) * mask
        corrections: Tensor = self.leave(hidden)
        return corrections


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
    """Pieces padded to the longest: features (B, F, T), logits (B, C, T), labels and ``mask`` (B, T)."""

    features: Tensor
    logits: Tensor
    labels: Tensor
    mask: Tensor


def train(net: TemporalNet, clips: list[Clip], epochs: int, seed: int) -> None:
    """Train a net in place; it is unchanged if no epoch improves it, or nothing can be held out.

    Args:
        net: its last layer starts at zero.
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
    held_out = _batches([clips[index] for index in order[:held]])
    batches = _batches([clips[index] for index in order[held:]])
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-4)
    best, kept, since = _mean_loss(net, held_out, weights), deepcopy(net.state_dict()), 0
    for _ in range(epochs):
        for index in rng.permutation(len(batches)).tolist():
            optimizer.zero_grad()
            loss, total = _loss(net, batches[index], weights)
            (loss / total).backward()
            optimizer.step()
        found = _mean_loss(net, held_out, weights)
        if found < best:
            best, kept, since = found, deepcopy(net.state_dict()), 0
        else:
            since += 1
        if since == _PATIENCE:
            break
    net.load_state_dict(kept)


def _class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return weights (C,) so that every class in the labels has the same total weight."""
    counts = torch.bincount(labels[labels >= 0], minlength=classes)
    return torch.where(counts > 0, counts.sum() / (counts.clamp(min=1) * (counts > 0).sum()), 0.0)


def _batches(clips: list[Clip]) -> list[Batch]:
    """Cut clips into pieces, and put the pieces with labels into batches of similar lengths."""
    pieces = [
        Clip(*(part[start : start + _PIECE] for part in (clip.features, clip.logits, clip.labels)))
        for clip in clips
        for start in range(0, len(clip.labels), _PIECE)
        if (clip.labels[start : start + _PIECE] >= 0).any()
    ]
    pieces.sort(key=lambda piece: len(piece.labels), reverse=True)
    size = min(_BATCH, max(_PIECE, sum(len(piece.labels) for piece in pieces) // _BATCHES_PER_EPOCH))
    batches = []
    while pieces:
        count = size // len(pieces[0].labels)
        batches.append(_padded(pieces[:count]))
        del pieces[:count]
    return batches


def _padded(pieces: list[Clip]) -> Batch:
    def pad(parts: list[Tensor], value: float) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)

    return Batch(
        features=pad([piece.features for piece in pieces], 0.0).transpose(1, 2),
        logits=pad([piece.logits for piece in pieces], 0.0).transpose(1, 2),
        labels=pad([piece.labels for piece in pieces], -1),
        mask=pad([torch.ones(len(piece.labels)) for piece in pieces], 0.0),
    )


def _loss(net: TemporalNet, batch: Batch, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted cross-entropy summed over labelled frames, and the sum of their weights."""
    logits = batch.logits + net(batch.features, batch.mask[:, None])
    loss = torch.nn.functional.cross_entropy(logits, batch.labels, weights, ignore_index=-1, reduction="sum")
    return loss, weights[batch.labels[batch.labels >= 0]].sum()


def _mean_loss(net: TemporalNet, batches: list[Batch], weights: Tensor) -> float:
    with torch.inference_mode():
        found = [_loss(net, batch, weights) for batch in batches]
        return float(sum(loss for loss, _ in found) / sum(total for _, total in found))


@contextmanager
def _isolated(seed: int) -> Iterator[None]:
    """Use one thread, which gives the same bits everywhere, and a random state of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
