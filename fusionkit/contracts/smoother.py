"""Contract of a temporal smoother: predictions of one clip in, smoothed ones out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.contracts.inputs import asks_for, errors_of, read_only
from fusionkit.errors import DataError, PluginError


@dataclass(frozen=True, eq=False)
class Clip:
    """The clip that is smoothed, for a smoother that uses more than its frame numbers.

    Attributes:
        name: as in the table of the data set; of frames in memory or of a video, the name that they were given, which
            may be empty. Another stream of the clip can be found by it in a file.
        number: (T,) int64, ascending; gaps are gaps in time.
        rate: frames per second, above 0; None if unknown, as for images in folders.
        embeddings: (T, D) float64, the scaled embeddings of all views side by side, main view first, for a smoother
            with ``needs_embeddings``; else None. Tokens and maps are averaged over their places, and a missing view
            holds its training mean.
    """

    name: str
    number: np.ndarray
    rate: float | None = None
    embeddings: np.ndarray | None = None


class Stream:
    """Smooths the frames of a clip as they arrive, with the same result as for the whole clip.

    Args:
        smoother: a smoother used by this stream only; created by :meth:`Smoother.stream`.
    """

    def __init__(self, smoother: Smoother) -> None:
        self._smoother = smoother
        self.reset()

    def reset(self) -> None:
        """Start a new clip with the next frame."""
        self._smoother.reset()
        self._last: int | None = None

    def __call__(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        """Smooth the next frame of the clip.

        Args:
            x: (C,) probabilities, logits or an embedding, as the smoother ``needs``.
            frame_number: greater than that of the frame before; a gap is a gap in time.

        Returns:
            (C,) float64, probabilities.

        Raises:
            DataError: if the frame number is not greater than the one before.
            PluginError: if the smoother fails, cannot smooth frame by frame, or breaks its contract.
        """
        if self._last is not None and frame_number <= self._last:
            raise DataError(
                f"frame {frame_number} comes after frame {self._last}: frame numbers of a clip must increase",
                hint="reset() begins a new clip",
            )
        row = read_only(np.asarray(x, dtype=np.float64))
        with errors_of(f"smoother {type(self._smoother).__name__}"):
            weights = self._smoother.step(row, frame_number)
        self._last = int(frame_number)
        probabilities: np.ndarray = self._smoother.rows_to_one(np.asarray(weights)[None], row[None])[0]
        return probabilities


class Smoother(Component, ABC):
    """Post-processes the predictions of one clip over time. A clip of one frame keeps its class probabilities.

    A smoother that uses no later frame derives from :class:`CausalSmoother` instead, and can smooth frame by frame.

    Attributes:
        causal: whether the result at a frame uses no later frame.
        needs: input of :meth:`smooth`: class probabilities, logits or embeddings.
        needs_embeddings: whether its clip has embeddings, beside the predictions that it smooths. Such a smoother
            cannot smooth frame by frame.
        hard: whether the result is one-hot: a decision, not a probability. An option may set it for an instance.
        discrete: whether it decides for classes; not for tasks of values.
        needs_rate: whether it cannot smooth a clip of unknown rate, unless it is one frame. An option may set it for an
            instance.
        fitted: whether :meth:`fit` learns something. Such a smoother is fitted before use, and its key has the seed.
            The learned state is stored with a cell: see :meth:`state`.
        auto: options that may be ``'auto'``, each with its candidate values, the mildest first. The value is chosen
            once per row by the mean dev score over seeds; the first of equal ones.
    """

    kind: ClassVar[str] = "smoother"
    causal: ClassVar[bool] = False
    needs: ClassVar[Literal["probs", "logits", "embeddings"]] = "probs"
    needs_embeddings: ClassVar[bool] = False
    hard: bool = False
    discrete: ClassVar[bool] = False
    needs_rate: bool = False
    fitted: ClassVar[bool] = False
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {}

    @property
    def span(self) -> float | None:
        """Number of frames that a result averages; the kernel warns where most clips are shorter.

        For unequal weights w that sum to one it is ``1 / sum(w^2)``. Default: None, for a smoother that adapts to the
        clip or learns, or whose number is unknown.
        """
        return None

    @classmethod
    def reads_embeddings(cls) -> bool:
        """Return whether it needs embeddings, as its input or beside it."""
        return cls.needs == "embeddings" or cls.needs_embeddings

    def fit(self, clips: Sequence[tuple[np.ndarray, Any]], labels: Sequence[np.ndarray], seed: int) -> None:
        """Learn from dev clips (training logits are overfitted). All arrays are read-only. Default: do nothing.

        Args:
            clips: ``(x (T, C), frame_numbers (T,))`` of each clip, or ``(x, clip)``, as :meth:`smooth` gets them.
            labels: (T,) int64 of each clip, -1 unlabelled.
            seed: random seed.
        """

    def state(self) -> dict[str, np.ndarray] | None:
        """Return the state learned by :meth:`fit`, as named arrays of at least one axis (cells use no pickle).

        Default: None, no state to store. The cell of a fitted smoother is then scored like any other, but cannot be
        applied to new frames.
        """
        return None

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Load the state from :meth:`state` into a smoother with the same options, instead of fitting it.

        Raises:
            PluginError: if the smoother does not implement it.
        """
        raise PluginError(
            f"smoother {type(self).__name__} cannot restore its learned state", hint="implement state() and restore()"
        )

    @abstractmethod
    def smooth(self, x: np.ndarray, frame_numbers: Any, /) -> np.ndarray:
        """Smooth one clip. All arrays are read-only.

        Args:
            x: (T, C) float64, in time order: probabilities, logits or embeddings, as in ``needs``.
            frame_numbers: (T,) int64, ascending; gaps are gaps in time. An override that names this argument ``clip``
                gets the :class:`Clip`.

        Returns:
            (T, C): non-negative class weights of each frame; the base class divides each row by its sum.
        """

    def step(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        """Smooth the next frame of a clip. Call it through :meth:`stream`, which checks and normalises the result.

        Args:
            x: (C,) float64, as a row of :meth:`smooth`.
            frame_number: greater than the one before.

        Returns:
            (C,) as :meth:`smooth` returns for the same frame of the whole clip.

        Raises:
            PluginError: if the smoother cannot smooth frame by frame.
        """
        why = "is causal but has no step()" if self.causal else "uses later frames"
        raise PluginError(
            f"smoother {type(self).__name__} cannot smooth frame by frame: it {why}",
            hint="a causal smoother derives from CausalSmoother" if self.causal else "choose a causal smoother",
        )

    def reset(self) -> None:
        """Start a new clip with the next call of :meth:`step`."""

    def stream(self) -> Stream:
        """Return a new stream; several streams of one smoother are independent."""
        return Stream(copy(self))

    # -- what the kernel calls -------------------------------------------------------------------------------------

    def clip_argument(self, clip: Clip) -> Clip | np.ndarray:
        """Return the second argument of :meth:`smooth`, read-only: the clip or its frame numbers, as it asks."""
        embeddings = None if clip.embeddings is None else read_only(clip.embeddings)
        clip = replace(clip, number=read_only(clip.number), embeddings=embeddings)
        return clip if asks_for(type(self).smooth, "clip") else clip.number

    def __call__(self, x: np.ndarray, clip: Clip | np.ndarray) -> np.ndarray:
        """Call :meth:`smooth`, check its result and divide each row by its sum.

        Args:
            x: as for :meth:`smooth`.
            clip: the clip, or (T,) its frame numbers if it has no name.

        Returns:
            (T, C) float64; rows are probabilities.

        Raises:
            DataError: if it needs the rate or the embeddings of the clip, which are unknown.
            PluginError: if the smoother fails, or its result has another shape, is not finite, is negative, or has a
                row that sums to zero.
        """
        clip = clip if isinstance(clip, Clip) else Clip("", clip)
        of = f"of clip {clip.name!r}" if clip.name else "of the clip"
        if self.needs_rate and clip.rate is None and len(x) > 1:
            raise DataError(f"smoother {type(self).__name__} needs the frames per second {of}, which are unknown")
        if self.needs_embeddings and clip.embeddings is None:
            raise DataError(f"smoother {type(self).__name__} needs the embeddings {of}, which are unknown")
        with errors_of(f"smoother {type(self).__name__}"):
            weights = self.smooth(read_only(x), self.clip_argument(clip))
        return self.rows_to_one(weights, x)

    def rows_to_one(self, weights: Any, x: np.ndarray) -> np.ndarray:
        """Check weights computed from ``x``, as :meth:`__call__` does, and divide each row by its sum."""
        name = type(self).__name__
        # In row order, so that the sum of a row is the same in a clip and alone, bit for bit.
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
    """Smooths a clip piece by piece. A plugin implements :meth:`advance`, for both whole clips and streams.

    A whole clip is one piece, and a stream is pieces of one frame. Both give the same bits if ``advance`` processes its
    frames one after the other.
    """

    causal: ClassVar[bool] = True
    _past: Any = None

    @abstractmethod
    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
        """Smooth the next piece of a clip.

        Args:
            x: (T, C) float64, T >= 1: probabilities, logits or embeddings, as in ``needs``.
            frame_numbers: (T,) int64, ascending, greater than those of the piece before.
            past: the state returned for the piece before; None at the start of a clip. Do not modify it.

        Returns:
            (T, C) weights as of :meth:`smooth`, and the state for the next piece.
        """

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Smooth the clip as one piece: (T, C) to (T, C)."""
        return self.advance(x, frame_numbers, None)[0] if len(x) else x

    def step(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        """Smooth the next frame as one piece: (C,) to (C,)."""
        weights, self._past = self.advance(x[None], np.array([frame_number], dtype=np.int64), self._past)
        row: np.ndarray = weights[0]
        return row

    def reset(self) -> None:
        """Start a new clip with the next frame."""
        self._past = None
