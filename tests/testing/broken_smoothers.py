"""Smoothers with one fault each, by the only check that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from testing.good_plugins import GoodCausal, GoodLearned, GoodSmoother

from fusionkit.contracts import Clip, Count

Clips = Sequence[tuple[np.ndarray, np.ndarray]]


class NegativeWeights(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return -x


class NeedsSomethingElse(GoodSmoother):
    needs: ClassVar[Any] = "probabilities"


class SoftDecisions(GoodSmoother):
    hard = True


class NeedsThreeFrames(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return super().smooth(x, frame_numbers) + (0 * x[2] if len(x) > 1 else 0)


class MeanOfLogs(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.exp(super().smooth(np.log(x), frame_numbers))


class TowardsEqual(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        smoothed = super().smooth(x, frame_numbers)
        return smoothed if len(x) == 1 else 0.9 * smoothed + 0.1 / x.shape[1]


class ReweightsStills(GoodLearned):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return x * self.share if len(x) == 1 else super().smooth(x, frame_numbers)


class CountsFromZero(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        frame_numbers -= frame_numbers[0]
        return super().smooth(x, frame_numbers)


class RemembersTheLongest(GoodSmoother):
    longest = 0

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        self.longest = max(self.longest, len(x))
        return x if self.longest > 40 else super().smooth(x, frame_numbers)


class SeedsNumPy(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        np.random.seed(0)  # noqa: NPY002
        return super().smooth(x, frame_numbers)


class OneFrameLate(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        smoothed = super().smooth(x, frame_numbers)
        return np.concatenate([smoothed[:1], smoothed[:-1]])


class OneFrameEarly(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        smoothed = super().smooth(x, frame_numbers)
        return np.concatenate([smoothed[1:], smoothed[-1:]])


class DelaysAFrame(GoodCausal):
    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
        late = np.concatenate([x[:1] if past is None else past[None], x[:-1]])
        return late, x[-1]


class CountsRows(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return super().smooth(x, np.arange(len(x)))


class CountsRowsCausally(GoodCausal):
    def advance(self, x: np.ndarray, frame_numbers: np.ndarray, past: Any) -> tuple[np.ndarray, Any]:
        first = 0 if past is None else past[1] + 1
        return super().advance(x, np.arange(first, first + len(x)), past)


class TupleOrList(GoodSmoother):
    """The mean over frames near by, of one frame where it is given a tuple.

    Args:
        kinds: some.

    Reference: a toy.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"kinds": (1, 2)},)

    def __init__(self, kinds: Sequence[int] = (1,)) -> None:
        super().__init__(1 if isinstance(kinds, tuple) else 5)


class RefusesItsOwnValue(GoodSmoother):
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (0, 5)}

    def __init__(self, width: Count = 5) -> None:
        super().__init__(width)


class NoLongGaps(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        if len(x) > 1 and np.diff(frame_numbers).max() > 10_000:
            raise MemoryError
        return super().smooth(x, frame_numbers)


class ReliesOnTheRate(GoodSmoother):
    def smooth(self, x: np.ndarray, clip: Clip) -> np.ndarray:
        return super().smooth(x, clip.number) if clip.rate * 1 > 0 else x


class IgnoresEmbeddings(GoodSmoother):
    needs_embeddings = True


class EvenFramesOnly(GoodSmoother):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return np.where((frame_numbers % 2 == 0)[:, None], super().smooth(x, frame_numbers), x)


class CausalInNameOnly(GoodSmoother):
    causal: ClassVar[bool] = True

    def step(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        return x


class StepsOtherwise(GoodCausal):
    def step(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        return x


class OnePastForAll(GoodCausal):
    shared: ClassVar[list[Any]] = [None]

    def step(self, x: np.ndarray, frame_number: int) -> np.ndarray:
        weights, self.shared[0] = self.advance(x[None], np.array([frame_number]), self.shared[0])
        return weights[0]

    def reset(self) -> None:
        self.shared[0] = None


class FittedUnawares(GoodSmoother):
    def fit(self, clips: Clips, labels: Sequence[np.ndarray], seed: int) -> None:
        self.width = 9


class WritesToLabels(GoodLearned):
    def fit(self, clips: Clips, labels: Sequence[np.ndarray], seed: int) -> None:
        super().fit(clips, labels, seed)
        labels[0][:] = 0


class Accumulates(GoodLearned):
    def fit(self, clips: Clips, labels: Sequence[np.ndarray], seed: int) -> None:
        before = getattr(self, "share", 0.0)
        super().fit(clips, labels, seed)
        self.share = self.share + before


class NeedsEveryClass(GoodLearned):
    def fit(self, clips: Clips, labels: Sequence[np.ndarray], seed: int) -> None:
        super().fit(clips, labels, seed)
        if (self.share == 0).any():
            raise ValueError("a class has no frame")


class ForgetsTheTemperature(GoodLearned):
    temperature = 1.0

    def fit(self, clips: Clips, labels: Sequence[np.ndarray], seed: int) -> None:
        super().fit(clips, labels, seed)
        self.temperature = 2.0

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        smoothed = super().smooth(x, frame_numbers)
        return smoothed if len(x) == 1 else smoothed**self.temperature


BROKEN: dict[str, type] = {
    "builds_and_runs": NegativeWeights,
    "needs_is_known": NeedsSomethingElse,
    "hard_is_as_declared": SoftDecisions,
    "clips_of_any_length": NeedsThreeFrames,
    "certain_predictions": MeanOfLogs,
    "constant_clip_stays": TowardsEqual,
    "one_frame_stays": ReweightsStills,
    "input_is_not_changed": CountsFromZero,
    "same_input_same_result": RemembersTheLongest,
    "global_seed_is_not_set": SeedsNumPy,
    "result_is_not_shifted": OneFrameLate,
    "gaps_are_gaps_in_time": CountsRows,
    "spec_round_trip": TupleOrList,
    "auto_values_can_be_used": RefusesItsOwnValue,
    "gaps_in_frame_numbers": NoLongGaps,
    "rate_may_be_unknown": ReliesOnTheRate,
    "embeddings_have_an_effect": IgnoresEmbeddings,
    "shift_of_frame_numbers": EvenFramesOnly,
    "causal_uses_no_later_frame": CausalInNameOnly,
    "frame_by_frame_is_the_clip": StepsOtherwise,
    "streams_are_independent": OnePastForAll,
    "fit_is_as_declared": FittedUnawares,
    "fit_does_not_change_its_input": WritesToLabels,
    "second_fit_replaces_the_first": Accumulates,
    "few_clips_and_missing_classes": NeedsEveryClass,
    "state_round_trip": ForgetsTheTemperature,
}

MORE: list[tuple[str, type]] = [
    ("result_is_not_shifted", OneFrameEarly),
    ("result_is_not_shifted", DelaysAFrame),
    ("gaps_are_gaps_in_time", CountsRowsCausally),
]
