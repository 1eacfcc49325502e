"""Fitted fusions with one fault each, by the only check that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from testing.good_plugins import GoodFitted

Views = dict[str, np.ndarray]


class CannotBeFitted(GoodFitted):
    def fit(self, views: Views, y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        raise RuntimeError("out of glue")


class NeedsTwoViews(GoodFitted):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.second = list(in_dims)[1]


class OneWidthOnly(GoodFitted):
    def stacked(self, views: Views) -> np.ndarray:
        return np.hstack(np.stack([views[name] for name in self.in_dims]).astype(np.float64))


class AtMostEight(GoodFitted):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.names = ["abcdefgh"[index] for index, _ in enumerate(in_dims)]


class RowsOfTwo(GoodFitted):
    def predict_proba(self, views: Views) -> np.ndarray:
        return 2 * super().predict_proba(views)


class ColumnsOfKnownClasses(GoodFitted):
    def fit(self, views: Views, y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        x = self.stacked(views)
        self.means = np.stack([x[y == label].mean(0) for label in np.unique(y)])


class WritesToGroups(GoodFitted):
    def fit(self, views: Views, y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        super().fit(views, y, groups, seed)
        groups[:] = ""


class Unseeded(GoodFitted):
    def fit(self, views: Views, y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        super().fit(views, y, groups, seed)
        self.means += np.random.default_rng().normal(size=self.means.shape)


class Remembers(GoodFitted):
    def fit(self, views: Views, y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        before = getattr(self, "means", 0.0)
        super().fit(views, y, groups, seed)
        self.means = self.means + before


class LessTheMean(GoodFitted):
    def stacked(self, views: Views) -> np.ndarray:
        x = super().stacked(views)
        return x - x.mean(0)


class ByPosition(GoodFitted):
    def stacked(self, views: Views) -> np.ndarray:
        return np.concatenate([value * (index + 1.0) for index, value in enumerate(views.values())], 1)


class WithoutTheLast(GoodFitted):
    def stacked(self, views: Views) -> np.ndarray:
        names = list(self.in_dims)
        return np.concatenate([views[name].astype(np.float64) for name in names[: max(len(names) - 1, 1)]], 1)


class ForgetsTheScale(GoodFitted):
    def fit(self, views: Views, y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        super().fit(views, y, groups, seed)
        self.scale = 3.0


class TupleOrList(GoodFitted):
    """The nearest mean, turned where it is given a tuple.

    Args:
        kinds: some.

    Reference: a toy.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"kinds": (1, 2)},)

    def __init__(self, in_dims: dict[str, int], num_classes: int, kinds: Sequence[int] = (1,)) -> None:
        super().__init__(in_dims, num_classes, 2.0 if isinstance(kinds, tuple) else 1.0)


class SeedsNumPy(GoodFitted):
    def fit(self, views: Views, y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        np.random.seed(seed)  # noqa: NPY002
        super().fit(views, y, groups, seed)


BROKEN: dict[str, type] = {
    "global_seed_is_not_set": SeedsNumPy,
    "fits_and_predicts": CannotBeFitted,
    "one_view": NeedsTwoViews,
    "views_of_different_widths": OneWidthOnly,
    "twelve_views": AtMostEight,
    "rows_are_probabilities": RowsOfTwo,
    "class_without_frames": ColumnsOfKnownClasses,
    "input_is_not_changed": WritesToGroups,
    "same_seed_same_probabilities": Unseeded,
    "second_fit_replaces_the_first": Remembers,
    "row_alone_is_row_in_batch": LessTheMean,
    "order_of_given_views": ByPosition,
    "every_view_is_used": WithoutTheLast,
    "state_round_trip": ForgetsTheScale,
    "spec_round_trip": TupleOrList,
}
