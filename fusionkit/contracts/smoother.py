"""The contract of a temporal smoother: the predictions of one clip in, better ones out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.errors import DataError, PluginError


class Stream:
    """Gives each frame of a clip its probabilities when it arrives: those that the smoother gives the whole clip.

    Args:
        smoother: steps for this stream alone; made by :meth:`Smoother.stream`.
    """

    def __init__(self, smoother: Smoother) -> None:
        self._smoother = smoother
        self.reset()

    def reset(self) -> None:
        """A new clip begins with the next frame."""
        self._smoother.reset()
        self._last: int | None = None

    def __call__(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        """The next frame of the clip.

        Args:
            x: (C,) what the smoother ``needs``.
            frame_number: above that of the frame before; a gap is a gap in time.

        Returns:
            (C,) float64, probabilities.

        Raises:
            DataError: if the frame number does not rise.
            PluginError: if the smoother cannot go frame by frame, or breaks its contract.
        """
        if self._last is not None and frame_number <= self._last:
            raise DataError(
                f"frame {frame_number} comes after frame {self._last}: the frames of a clip come in order",
                hint="reset() begins a new clip",
            )
        row = np.asarray(x, dtype=np.float64)
        weights = self._smoother.step(row, frame_number)
        self._last = int(frame_number)
        probabilities: np.ndarray = self._smoother.rows_to_one(np.asarray(weights)[None], row[None])[0]
        return probabilities


class Smoother(Component, ABC):
    """Post-processes the predictions of one clip over time.

    A smoother that looks at no later frame derives from :class:`CausalSmoother` instead, and can go frame by frame.

    Attributes:
        causal: the result at a frame uses no later frame.
        needs: what :meth:`smooth` is given: class probabilities, logits or embeddings.
        hard: the result is one-hot: a decision, not a probability. An option may decide it for an instance.
        fitted: :meth:`fit` learns something, so the smoother must be fitted, and keyed with its seed, before use.
            What it learned is stored with a cell: see :meth:`state`.
        auto: options that may be ``'auto'``, each with its candidate values, the mildest first. The value is chosen
            once per row by the mean dev score over seeds; of equal ones the first.
    """

    kind: ClassVar[str] = "smoother"
    causal: ClassVar[bool] = False
    needs: ClassVar[Literal["probs", "logits", "embeddings"]] = "probs"
    hard: bool = False
    fitted: ClassVar[bool] = False
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {}

    def fit(self, clips: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[np.ndarray], seed: int) -> None:
        """Learn from dev clips (training logits are overfitted); does nothing by default.

        Args:
            clips: a pair ``(x (T, C), frame_numbers (T,))`` a clip, as :meth:`smooth` gets them.
            labels: (T,) int64 a clip, -1 unlabelled.
            seed: seeds whatever is random.
        """

    def state(self) -> dict[str, np.ndarray] | None:
        """What :meth:`fit` learned, as named arrays of one axis or more: a cell is stored without pickle.

        None, the default: nothing that could be stored. The cell of a fitted smoother is then scored as any other, but
        cannot be applied to new frames.
        """
        return None

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take back what :meth:`state` gave, into a smoother with the same options; it is then as good as fitted.

        Raises:
            PluginError: if the smoother has no restore of its own.
        """
        raise PluginError(
            f"smoother {type(self).__name__} cannot take back what it learned",
            hint="give it state() and restore()",
        )

    @abstractmethod
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Smooth one clip.

        Args:
            x: (T, C) float64, in time order: probabilities, logits or embeddings as ``needs`` says.
            frame_numbers: (T,) int64, rising; gaps in it are gaps in time.

        Returns:
            (T, C): non-negative class weights of each frame; the base makes each row sum to one.
        """

    def step(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        """Smooth the next frame of a clip; called through :meth:`stream`, which checks and divides by the sum.

        Args:
            x: (C,) float64, as a row of :meth:`smooth`.
            frame_number: above the one before.

        Returns:
            (C,) what :meth:`smooth` gives the same frame of the whole clip.

        Raises:
            PluginError: if the smoother cannot go frame by frame.
        """
        why = "is causal but has no step()" if self.causal else "looks at later frames"
        raise PluginError(
            f"smoother {type(self).__name__} cannot go frame by frame: it {why}",
            hint="a causal smoother derives from CausalSmoother" if self.causal else "choose a causal smoother",
        )

    def reset(self) -> None:
        """The next frame that :meth:`step` gets begins a clip."""

    def stream(self) -> Stream:
        """Takes the frames of a clip as they come, beside any other stream of this smoother."""
        return Stream(copy(self))

    def __call__(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """:meth:`smooth` with the result checked and each row divided by its sum.

        Returns:
            (T, C) float64; rows are probabilities.

        Raises:
            PluginError: if the result has another shape, is not finite, is negative, or has a row that sums to zero.
        """
        return self.rows_to_one(self.smooth(x, frame_numbers), x)

    def rows_to_one(self, weights: Any, x: np.ndarray) -> np.ndarray:
        """The weights that came of ``x``, checked as :meth:`__call__` says, each row divided by its sum."""
        name = type(self).__name__
        # In row order, so that a row is added up alike in a clip and by itself.
        out = np.asarray(weights, dtype=np.float64, order="C")
        if out.ndim != 2 or len(out) != len(x) or (self.needs != "embeddings" and out.shape != x.shape):
            raise PluginError(f"smoother {name} gave {out.shape} for {x.shape}")
        if not np.isfinite(out).all():
            raise PluginError(f"smoother {name} gave a value that is not finite")
        total = out.sum(1, keepdims=True)
        if (out < 0).any() or (total <= 0).any():
            raise PluginError(f"smoother {name} gave a negative weight or a row without weight")
        smoothed: np.ndarray = out / total
        return smoothed


class CausalSmoother(Smoother):
    """Smooths a clip piece by piece: a plugin writes :meth:`advance`, and both ways of use are made of it.

    A whole clip is one piece and a stream is pieces of one frame, so they give the same bits wherever ``advance``
    treats its frames one after the other.
    """

    causal: ClassVar[bool] = True
    _past: Any = None

    @abstractmethod
    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
        """Smooth the next piece of a clip.

        Args:
            x: (T, C) float64, T >= 1: what the smoother ``needs``.
            frame_numbers: (T,) int64, rising, above those of the piece before.
            past: what this gave with the piece before; None at the start of a clip. It is not written to.

        Returns:
            (T, C) weights as :meth:`smooth` gives them, and what the next piece needs to know of all so far.
        """

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """The clip as one piece: (T, C) to (T, C)."""
        return self.advance(x, frame_numbers, None)[0] if len(x) else x

    def step(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        """The next frame as a piece of its own: (C,) to (C,)."""
        weights, self._past = self.advance(x[None], np.array([frame_number], dtype=np.int64), self._past)
        row: np.ndarray = weights[0]
        return row

    def reset(self) -> None:
        """The next frame begins a clip."""
        self._past = None
