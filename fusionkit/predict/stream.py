"""A trained cell on the frames of a clip as they come: what a causal smoother allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusionkit.contracts.smoother import Smoother
from fusionkit.contracts.stream import Stream
from fusionkit.errors import ConfigError, DataError, FusionKitError
from fusionkit.predict.predictor import Predictor, check_frame
from fusionkit.predict.raw_views import HeldViews
from fusionkit.predict.trained_head import TrainedHead
from fusionkit.registry import SMOOTHERS


class ClipStream:
    """The smoothers of all heads of a cell at work on one clip.

    Args:
        heads: of the cell, with causal smoothers.
    """

    def __init__(self, heads: Sequence[TrainedHead]) -> None:
        self._heads = heads
        self._streams: list[Stream] = [head.smoother.stream() for head in heads]

    def __call__(self, evidence: Sequence[np.ndarray], number: int) -> np.ndarray | None:
        """Probabilities (C,) float64 of the next frame; None if it has no view, which is a gap in time.

        Args:
            evidence: of each head, (C,) or (D,), as :meth:`TrainedHead.evidence` gives it.
            number: of the frame, above the one before.
        """
        if np.isnan(evidence[0][0]):
            return None
        each = [
            stream(head.smoother_input(row[None])[0], number)
            for head, stream, row in zip(self._heads, self._streams, evidence, strict=True)
        ]
        mean: np.ndarray = np.mean(each, axis=0)
        return mean


class PredictionStream:
    """Frames of a clip in, probabilities out, each at once: those that the whole clip would give, to about 1e-4.

    Last bits differ, because a backbone works on one frame instead of a batch, and on as many threads as torch has.

    Args:
        predictor: of a cell whose smoother is causal.

    Raises:
        ConfigError: if it is not, or the cell's views do not come from images.
    """

    def __init__(self, predictor: Predictor) -> None:
        refuse_later_frames(predictor)
        self.classes = predictor.classes
        self._predictor = predictor
        self._embedder = predictor.embedder(1)
        self.reset()

    def reset(self) -> None:
        """The next frame begins a clip."""
        self._clip = ClipStream(self._predictor.heads)
        self._number = 0

    def __call__(self, frame: np.ndarray | None, number: int | None = None) -> np.ndarray | None:
        """The next frame of the clip.

        Args:
            frame: RGB uint8 (H, W, 3), as the cell was trained on: an aligned face, as a rule; None: there is none.
            number: above that of the frame before; a gap is a gap in time. None: the next one, from 1.

        Returns:
            (C,) float64, probabilities; None where the frame has no view.

        Raises:
            DataError: if the frame is no RGB image, or its number does not rise.
            FusionKitError: if a component fails.
        """
        at = self._number + 1 if number is None else int(number)
        if at <= self._number and self._number:
            raise DataError(
                f"frame {at} comes after frame {self._number}: the frames of a clip come in order",
                hint="reset() begins a new clip",
            )
        check_frame(frame, at)
        self._number = at
        if frame is None:
            return None
        views = HeldViews(self._predictor.by_view(self._embedder([frame]).values))
        evidence = [head.evidence(views)[0] for head in self._predictor.heads]
        return self._clip(evidence, at)


def refuse_later_frames(predictor: Predictor) -> None:
    """Refuse a cell that cannot answer before it has seen the whole clip.

    Raises:
        ConfigError: if its smoother is not causal; with the names of those that are.
    """
    smoother = predictor.heads[0].smoother
    if smoother.causal:
        return
    raise ConfigError(
        f"{predictor.name} cannot be streamed: its smoother looks at later frames",
        hint=f"a row with a causal smoother can be: {', '.join(causal_smoothers())}",
    )


def causal_smoothers() -> list[str]:
    """The names of all smoothers that look at no later frame; one that cannot be imported is passed over."""
    found = []
    for name in SMOOTHERS.names():
        try:
            cls: type[Smoother] = SMOOTHERS.get(name)
        except FusionKitError:
            continue
        if cls.causal:
            found.append(name)
    return found
