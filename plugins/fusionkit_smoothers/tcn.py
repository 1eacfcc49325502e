"""A learned temporal head: a small convolutional network over the logits of a clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from fusionkit.contracts import Smoother, require_count
from fusionkit.errors import PluginError
from fusionkit_smoothers.temporal_net import TemporalNet
from fusionkit_smoothers.temporal_training import Clip, train


class Tcn(Smoother):
    """Dilated convolutions over the logits of a clip, trained on the dev clips, correct each frame's logits.

    Beside the logits, each frame is told how far the frames before and after it are, by the logarithm of the difference
    in frame numbers. The loss weighs classes equally, as the default recipe of heads does. A quarter of the dev clips
    is held out, and the epoch is kept that was best on them; the untrained net, which changes nothing, is one to choose
    from. With fewer than two labelled clips nothing can be held out, and nothing is changed.

    It corrects the logits that it is trained on, so its dev score flatters it.

    Args:
        channels: width of the hidden layers.
        layers: L; together they see ``2^L - 1`` frames to either side.
        epochs: at most; it ends sooner when five in a row bring nothing.

    Reference: Abu Farha and Gall 2019, "MS-TCN: multi-stage temporal convolutional network for action segmentation"
    (https://arxiv.org/abs/1903.01945): one stage of it, smaller, that adds to the logits which it is given. Time
    differences as inputs, and all sizes, are our reading.
    """

    needs: ClassVar[Literal["probs", "logits", "embeddings"]] = "logits"
    fitted: ClassVar[bool] = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"channels": 4, "layers": 2, "epochs": 2},)

    def __init__(self, channels: int = 16, layers: int = 6, epochs: int = 30) -> None:
        for option, value in (("channels", channels), ("layers", layers), ("epochs", epochs)):
            require_count(f"tcn: {option}", value)
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
            seed: of the first weights, of the clips that are held out, and of the order of the others.
        """
        logits = np.concatenate([x for x, _ in clips])
        self._mean, spread = logits.mean(0), logits.std(0)
        self._scale = np.where(spread > 0, spread, 1.0)
        given = [
            Clip(
                features=torch.tensor(self._features(x, numbers)),
                logits=torch.tensor(x, dtype=torch.float32),
                labels=torch.tensor(known),
            )
            for (x, numbers), known in zip(clips, labels, strict=True)
            if (known >= 0).any()
        ]
        with _alone(seed):
            self._net = self._new_net(logits.shape[1])
            train(self._net, given, self.epochs, seed)

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

        if self._net is None:
            raise PluginError("smoother Tcn has not been fitted")
        if not len(x):
            return x
        features = torch.from_numpy(self._features(x, frame_numbers)).T[None]
        with _alone(0), torch.inference_mode():
            corrections = self._net(features, torch.ones(1, 1, len(x)))[0].T
        return softmax(x + corrections.double().numpy(), axis=1)

    def state(self) -> dict[str, np.ndarray]:
        """The net's weights by name, and ``mean`` and ``scale`` (C,) of the logits.

        Raises:
            PluginError: if it has not been fitted.
        """
        if self._net is None:
            raise PluginError("smoother Tcn has not been fitted")
        weights = {f"net.{name}": value.numpy().copy() for name, value in self._net.state_dict().items()}
        return {**weights, "mean": self._mean, "scale": self._scale}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take back what :meth:`state` gave."""
        self._mean, self._scale = np.array(state["mean"]), np.array(state["scale"])
        with _alone(0):
            self._net = self._new_net(len(self._mean))
        weights = {name[4:]: torch.tensor(value) for name, value in state.items() if name.startswith("net.")}
        self._net.load_state_dict(weights)

    def _new_net(self, classes: int) -> TemporalNet:
        return TemporalNet(classes + 2, classes, self.channels, self.layers)

    def _features(self, logits: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """(T, C + 2) float32: standardised logits, logarithms of the steps before and after; 0 at a clip's ends."""
        steps = np.log(np.diff(frame_numbers))
        times = np.stack([np.r_[0.0, steps], np.r_[steps, 0.0]], axis=1)
        return np.concatenate([(logits - self._mean) / self._scale, times], axis=1).astype(np.float32)


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """One thread, which gives the same bits everywhere, and random numbers of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
