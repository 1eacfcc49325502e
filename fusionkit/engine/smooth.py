"""Smooth: outputs of a head to predictions, clip by clip. Frames without any view are imputed afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.contracts.inputs import errors_of, read_only
from fusionkit.contracts.smoother import Clip, Smoother, Stream
from fusionkit.contracts.task import Task
from fusionkit.engine.features import FeaturesInMemory, FrameFeatures, clip_edges
from fusionkit.errors import PluginError
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec

REVISION = 1  # raise when the same logits give other probabilities than before


class ConcatenatedViews:
    """The views of n frames, concatenated: (n, sum of D_v) float64. Indexing reads the rows asked for and no others."""

    def __init__(self, features: FrameFeatures) -> None:
        self.features = features

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        views = self.features.take(rows).views.values()
        return np.concatenate([view.reshape(len(view), -1) for view in views], axis=1).astype(np.float64)

    @property
    def width(self) -> int:
        """Sum of D_v."""
        return sum(math.prod(shape[1:]) for shape in self.features.shapes.values())


class PredictionsAndEmbeddings:
    """Predictions of n frames with their embeddings, (n, sum of C_k and D_v) float64; read as they are indexed."""

    def __init__(self, predictions: np.ndarray, features: FrameFeatures) -> None:
        self.predictions, self.features = predictions, features

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.hstack([self.predictions[rows], mean_places(self.features.take(rows))])

    @property
    def width(self) -> int:
        """Sum of C_k and D_v."""
        return sum(shape[-1] for shape in (self.predictions.shape, *self.features.shapes.values()))


def mean_places(features: FeaturesInMemory) -> np.ndarray:
    """Return the views of n frames side by side, (n, sum of D_v) float64; tokens and maps are averaged over places."""
    views = features.views.values()
    return np.hstack([view.reshape(len(view), -1, view.shape[-1]).mean(1) for view in views], dtype=np.float64)


Input = np.ndarray | ConcatenatedViews | PredictionsAndEmbeddings


class TaskSmoother:
    """A smoother of the predictions of a task: one smoother for each distribution over classes.

    Args:
        task: the prediction task.
        members: a smoother for each distribution, with the same options.
    """

    def __init__(self, task: Task, members: Sequence[Smoother]) -> None:
        self.task, self.members = task, tuple(members)
        self._edges = [0, *np.cumsum(_widths(task)).tolist()]

    @classmethod
    def of(cls, task: Task, spec: Spec) -> TaskSmoother:
        """Build the smoothers of a task."""
        return cls(task, [SMOOTHERS.build(spec) for _ in _widths(task)])

    @property
    def needs(self) -> str:
        """Input of the smoother."""
        return self.members[0].needs

    @property
    def causal(self) -> bool:
        """Whether the result at a frame uses no later frame."""
        return self.members[0].causal

    @property
    def fitted(self) -> bool:
        """Whether the smoother learns."""
        return self.members[0].fitted

    @property
    def needs_embeddings(self) -> bool:
        """Whether its input has embeddings after the predictions."""
        return self.members[0].needs_embeddings

    @property
    def reads_embeddings(self) -> bool:
        """Whether it needs embeddings."""
        return self.members[0].reads_embeddings()

    def input(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits or probabilities (n, sum of C_k) float64 of all distributions, from outputs (n, O)."""
        found = self.task.distributions(outputs)
        return np.concatenate([softmax(each) if self.needs == "probs" else each for each in found], 1, dtype=np.float64)

    def __call__(self, x: np.ndarray, clip: Clip | np.ndarray) -> np.ndarray:
        """Smooth one clip: input (T, sum of C_k) or embeddings (T, D), or both, to predictions (T, O)."""
        x, clip = self._divided(x, clip if isinstance(clip, Clip) else Clip("", clip))
        return self.joined([member(own, clip) for member, own in self.each(x)])

    def _divided(self, x: np.ndarray, clip: Clip) -> tuple[np.ndarray, Clip]:
        """Return the input without embeddings beside the predictions, and the clip with them."""
        if not self.needs_embeddings:
            return x, clip
        end = self._edges[-1]
        return np.ascontiguousarray(x[:, :end]), replace(clip, embeddings=np.ascontiguousarray(x[:, end:]))

    def each(self, x: np.ndarray) -> Iterator[tuple[Smoother, np.ndarray]]:
        """Yield each smoother with its part of an input (..., sum of C_k), or with the embeddings (..., D)."""
        whole = self.needs == "embeddings"
        for member, (start, stop) in zip(self.members, pairwise(self._edges), strict=True):
            yield member, x if whole or len(self.members) == 1 else np.ascontiguousarray(x[..., start:stop])

    def joined(self, found: Sequence[np.ndarray]) -> np.ndarray:
        """Return the predictions (T, O) from the result (T, C_k) of each smoother.

        Raises:
            PluginError: if a result has another width.
        """
        for each, (start, stop) in zip(found, pairwise(self._edges), strict=True):
            # The base class cannot check this: a smoother of embeddings knows C only from its labels.
            if each.shape[1] != stop - start:
                wanted = (len(each), stop - start)
                raise PluginError(f"smoother {type(self.members[0]).__name__} gave {each.shape}; expected {wanted}")
        return self.task.joined(found)

    def fit(self, clips: Sequence[tuple[np.ndarray, Clip]], values: Sequence[np.ndarray], seed: int) -> None:
        """Fit each smoother; arguments as of :meth:`Smoother.fit`, with labels (T, ...) of the task."""
        labels = [self.task.class_labels(each) for each in values]
        clips = [self._divided(x, clip) for x, clip in clips]
        parts = [[own for _, own in self.each(x)] for x, _ in clips]
        for index, member in enumerate(self.members):
            own = [
                (read_only(part[index]), member.clip_argument(clip))
                for part, (_, clip) in zip(parts, clips, strict=True)
            ]
            member.fit(own, [read_only(each[index]) for each in labels], seed)

    def state(self) -> dict[str, np.ndarray] | None:
        """Return the learned state of all smoothers."""
        states = [member.state() for member in self.members]
        if len(states) == 1 or states[0] is None:
            return states[0]
        return {f"{index}.{name}": value for index, own in enumerate(states) for name, value in (own or {}).items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Load the state from :meth:`state`."""
        for index, member in enumerate(self.members):
            start = f"{index}." if len(self.members) > 1 else ""
            own = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
            member.restore(own)

    def stream(self) -> TaskStream:
        """Return a new stream."""
        return TaskStream(self, [member.stream() for member in self.members])


def _widths(task: Task) -> list[int]:
    """Return the number of classes of each distribution of a task."""
    return [each.shape[1] for each in task.distributions(np.zeros((1, task.outputs)))]


class TaskStream:
    """Smooths the frames of a clip as they arrive: one stream for each distribution of the task.

    Args:
        smoother: of the task.
        streams: one of each of its members.
    """

    def __init__(self, smoother: TaskSmoother, streams: Sequence[Stream]) -> None:
        self._smoother, self._streams = smoother, streams

    def reset(self) -> None:
        """Start a new clip with the next frame."""
        for stream in self._streams:
            stream.reset()

    def __call__(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        """Smooth the next frame: input (sum of C_k,) or embedding (D,) to predictions (O,)."""
        parts = zip(self._streams, self._smoother.each(x), strict=True)
        predictions: np.ndarray = self._smoother.joined(
            [stream(own, frame_number)[None] for stream, (_, own) in parts]
        )[0]
        return predictions


def unsmoothed(task: Task, outputs: np.ndarray) -> np.ndarray:
    """Return the predictions (n, O) float64 of outputs (n, O)."""
    return task.joined([softmax(each) for each in task.distributions(outputs)])


def smooth(
    smoother: Callable[[np.ndarray, Clip], np.ndarray],
    table: FrameTable,
    seen: np.ndarray,
    x: Input,
    prior: np.ndarray,
    imputation: str = "nearest",
) -> np.ndarray:
    """Compute the predictions of every frame.

    A frame without any view is a gap in time: the smoother does not get it. It is imputed from the results of its clip,
    or with the prior if the clip has none.

    Args:
        smoother: of the task, applied to each clip separately.
        table: (n,) the frames.
        seen: (n,) bool: frames with at least one view.
        x: (n, ...) the input that the smoother needs; rows that are not seen are ignored.
        prior: (O,) prediction for a frame of which nothing is known.
        imputation: method for frames without a view, see :func:`impute`.

    Returns:
        (n, O) float64.

    Raises:
        PluginError: if the smoother breaks its contract.
    """
    out = np.tile(prior.astype(np.float64), (len(table), 1))
    for clip in clips(table):
        there = np.flatnonzero(seen[clip]) + clip.start
        if not len(there):
            continue
        out[there] = probs = smoother(x[there], _clip(table, there))
        absent = np.flatnonzero(~seen[clip]) + clip.start
        if len(absent):  # seldom: most clips have every frame, and there may be as many clips as frames
            out[absent] = impute(imputation, probs, table.number[there], table.number[absent], prior)
    return out


def fit_smoother(
    smoother: TaskSmoother, table: FrameTable, seen: np.ndarray, x: Input, labels: np.ndarray, seed: int
) -> None:
    """Fit a learned smoother on the dev clips.

    Raises:
        PluginError: if it fails.
    """
    found: list[tuple[np.ndarray, Clip]] = []
    truth: list[np.ndarray] = []
    for clip in clips(table):
        there = np.flatnonzero(seen[clip]) + clip.start
        if len(there):
            found.append((read_only(x[there]), _clip(table, there)))
            truth.append(read_only(labels[there]))
    with errors_of(f"smoother {type(smoother.members[0]).__name__}"):
        smoother.fit(found, truth, seed)


def _clip(table: FrameTable, rows: np.ndarray) -> Clip:
    """Return the clip of some rows of it, at least one."""
    rate = float(table.rate[rows[0]])
    return Clip(str(table.clip[rows[0]]), table.number[rows], None if np.isnan(rate) else rate)


def smoother_input(smoother: TaskSmoother, outputs: np.ndarray, embeddings: FrameFeatures | None) -> Input:
    """Return the input that the smoother needs, float64: (n, sum of C_k) of outputs (n, O), (n, D) embeddings, both."""
    if smoother.needs == "embeddings":
        assert embeddings is not None
        return ConcatenatedViews(embeddings)
    if smoother.needs_embeddings:
        assert embeddings is not None
        return PredictionsAndEmbeddings(smoother.input(outputs), embeddings)
    return smoother.input(outputs)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities (n, C) float64 of logits (n, C)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    weights = np.exp(shifted)
    probs: np.ndarray = weights / weights.sum(1, keepdims=True)
    return probs


def clips(table: FrameTable) -> Iterator[slice]:
    """Yield the rows of each clip."""
    edges = clip_edges(table.clip)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield slice(start, stop)


def impute(method: str, probs: np.ndarray, have: np.ndarray, want: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the probabilities of some frames of a clip, from those of the frames that have a view.

    Args:
        method: ``nearest``: those of the nearest frame with a result, of two the earlier; ``linear``: interpolated
            between the frame before and the one after, constant at the ends; ``prior``: the class shares of the
            training frames.
        probs: (T, C) results of the frames that have a view. If T is 0, the prior is returned.
        have: (T,) their numbers, ascending.
        want: (k,) numbers of the frames to return; one that is in ``have`` gets its own result.
        prior: (C,) class shares of the training frames.

    Returns:
        (k, C) float64, rows sum to one.

    Reference:
        ``linear`` as in the ABAW notebooks of HSEmotion (https://github.com/av-savchenko/face-emotion-recognition).
    """
    out = np.tile(prior.astype(np.float64), (len(want), 1))
    if not len(have):
        return out
    index = np.searchsorted(have, want).clip(0, len(have) - 1)
    own = have[index] == want
    out[own] = probs[index[own]]
    if method in _BETWEEN and not own.all():
        out[~own] = _BETWEEN[method](probs, have, want[~own])
    return out


def _nearest(probs: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    after = np.searchsorted(have, want).clip(0, len(have) - 1)
    before = (after - 1).clip(0)
    earlier = np.abs(want - have[before]) <= np.abs(have[after] - want)
    found: np.ndarray = probs[np.where(earlier, before, after)]
    return found


def _linear(probs: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(want, have, column) for column in probs.T], axis=1)


_BETWEEN: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "nearest": _nearest,
    "linear": _linear,
}
