"""Tasks with one fault each, by the only check that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from testing.good_plugins import GoodClasses, GoodTask
from torch import Tensor

from fusionkit.contracts import LossOptions

Loss = Callable[[Tensor, Tensor], Tensor]
Distributions = list[np.ndarray]


class OneUnitShort(GoodTask):
    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        return super().counts(values, predictions, unit, units)[1:]


class RoundsPredictions(GoodTask):
    def diagnostics(self, values: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        return {"active": float(predictions.round(out=predictions).mean())}


class LowersItsThreshold(GoodTask):
    shift = 0.0

    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        self.shift += 0.1
        return super().counts(values, predictions + self.shift, unit, units)


class SeedsNumPy(GoodTask):
    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        np.random.seed(0)  # noqa: NPY002
        return super().counts(values, predictions, unit, units)


class Nameless(GoodTask):
    metric_name: ClassVar[str] = ""


class NegativeIsUnlabelled(GoodTask):
    def problem(self, values: np.ndarray) -> str:
        return super().problem(np.where(values < 0, np.nan, values))


class UnlabelledIsAStratum(GoodTask):
    def strata(self, values: np.ndarray) -> np.ndarray:
        return np.maximum(super().strata(values), 0)


class SharesOfEachUnit(GoodTask):
    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        counts = super().counts(values, predictions, unit, units)
        return counts / np.maximum(counts.sum((1, 2, 3), keepdims=True), 1)


class EvenRowsCountTwice(GoodTask):
    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        counts = super().counts(values, predictions, unit, units)
        return counts + super().counts(values[::2], predictions[::2], unit[::2], units)


class UnlabelledIsInactive(GoodTask):
    def criterion(self, target: Tensor, options: LossOptions) -> Loss:
        loss = super().criterion(target, options)
        return lambda outputs, truth: loss(outputs, truth.nan_to_num())


class TruthIsPredicted(GoodTask):
    def truth(self, counts: np.ndarray) -> np.ndarray:
        return super().truth(counts.swapaxes(-1, -2))


class OneAccuracyForAll(GoodTask):
    def measures(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        return {"hits": counts[..., 1, 1].mean()}


class ZeroWithoutFrames(GoodTask):
    def scores(self, counts: np.ndarray) -> np.ndarray:
        return np.nan_to_num(super().scores(counts))


class ActiveBelowOneHalf(GoodTask):
    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        return super().counts(values, 1 - predictions, unit, units)


class NeverActive(GoodTask):
    def constant(self, counts: np.ndarray) -> np.ndarray:
        return super().constant(counts)[..., ::-1]


class SinglePrecision(GoodTask):
    def joined(self, distributions: Sequence[np.ndarray]) -> np.ndarray:
        return super().joined(distributions).astype(np.float32)


class PriorOfDistributions(GoodTask):
    def prior(self, values: np.ndarray) -> np.ndarray:
        return np.stack([1 - super().prior(values), super().prior(values)], 1)


class PriorOfNothing(GoodTask):
    def prior(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.nansum(values, axis=0, dtype=np.float64) / (~np.isnan(values)).sum(0)


class WordsOfTheClip(GoodTask):
    def words(self, predictions: np.ndarray) -> np.ndarray:
        return np.full(len(predictions), super().words(predictions)[0])


class UnlabelledIsClass0(GoodTask):
    def class_labels(self, values: np.ndarray) -> Distributions:
        return [np.maximum(found, 0) for found in super().class_labels(values)]


class Overflows(GoodTask):
    def criterion(self, target: Tensor, options: LossOptions) -> Loss:
        loss = super().criterion(target, options)
        return lambda outputs, truth: loss(outputs, truth) + 0 * outputs.exp().sum()


class LearnsTheOpposite(GoodTask):
    def criterion(self, target: Tensor, options: LossOptions) -> Loss:
        loss = super().criterion(target, options)
        return lambda outputs, truth: loss(-outputs, truth)


class OptionWithoutEffect(GoodTask):
    loss_options: ClassVar[frozenset[str]] = GoodTask.loss_options | {"logit_adjustment"}


class OptionWithoutNotice(GoodTask):
    loss_options: ClassVar[frozenset[str]] = GoodTask.loss_options - {"label_smoothing"}


class CeilingInPercent(GoodTask):
    def ceiling(self, values: np.ndarray) -> tuple[str, float] | None:
        return "an annotator", 87.0


class TupleOrList(GoodTask):
    """Another weight of active frames if it is given a tuple.

    Args:
        kinds: some.

    Reference: a toy.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"kinds": (1, 2)},)

    def __init__(self, names: Sequence[str], kinds: Sequence[int] = (1,)) -> None:
        super().__init__(names)
        self.factor = 2.0 if isinstance(kinds, tuple) else 1.0

    def criterion(self, target: Tensor, options: LossOptions) -> Loss:
        loss = super().criterion(target, options)
        return lambda outputs, truth: self.factor * loss(outputs, truth)


class LogitsOfOthers(GoodClasses):
    def distributions(self, outputs: np.ndarray) -> Distributions:
        return [outputs[:, ::-1]]


class CentredOnTheBatch(GoodTask):
    def distributions(self, outputs: np.ndarray) -> Distributions:
        return super().distributions(outputs - outputs.mean(0))


class ClassesFromOne(GoodClasses):
    def problem(self, values: np.ndarray) -> str:
        return super().problem(np.where(values == len(self.names), 0, values))


class SaturatesWithNan(GoodClasses):
    def criterion(self, target: Tensor, options: LossOptions) -> Loss:
        return lambda outputs, truth: -torch.log(outputs.softmax(1).gather(1, truth[:, None])).mean()


BROKEN: dict[str, type] = {
    "builds_and_runs": OneUnitShort,
    "input_is_not_changed": RoundsPredictions,
    "same_input_same_result": LowersItsThreshold,
    "global_seed_is_not_set": SeedsNumPy,
    "names_and_range": Nameless,
    "wrong_labels_are_refused": NegativeIsUnlabelled,
    "strata_are_of_labelled_frames": UnlabelledIsAStratum,
    "counts_add_up": SharesOfEachUnit,
    "order_of_frames_has_no_effect": EvenRowsCountTwice,
    "entries_without_label_have_no_effect": UnlabelledIsInactive,
    "truth_depends_on_labels_alone": TruthIsPredicted,
    "counts_have_leading_axes": OneAccuracyForAll,
    "score_is_in_range": ZeroWithoutFrames,
    "perfect_predictions_have_1": ActiveBelowOneHalf,
    "constant_is_the_best_constant": NeverActive,
    "distributions_are_joined": SinglePrecision,
    "prior_is_a_prediction": PriorOfDistributions,
    "words_of_each_frame": WordsOfTheClip,
    "class_labels_fit_the_distributions": UnlabelledIsClass0,
    "loss_is_a_number_with_finite_gradients": Overflows,
    "loss_leads_to_the_metric": LearnsTheOpposite,
    "options_of_the_loss_are_as_declared": OptionWithoutEffect,
    "further_measures": CeilingInPercent,
    "spec_round_trip": TupleOrList,
}

MORE: list[tuple[str, type]] = [
    ("options_of_the_loss_are_as_declared", OptionWithoutNotice),
    ("distributions_are_joined", LogitsOfOthers),
    ("distributions_are_joined", CentredOnTheBatch),
    ("prior_is_a_prediction", PriorOfNothing),
    ("wrong_labels_are_refused", ClassesFromOne),
    ("loss_is_a_number_with_finite_gradients", SaturatesWithNan),
]
