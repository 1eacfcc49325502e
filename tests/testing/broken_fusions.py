"""Fusions with one fault each, by the only check that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from testing.good_plugins import GoodClipFusion, GoodFusion, GoodLogits, GoodMapFusion, GoodTokenFusion
from torch import Tensor, nn

from fusionkit.contracts import FusionOutput, ParameterGroup


class CannotBeBuilt(GoodFusion):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        raise RuntimeError("out of glue")


class NeedsTwoViews(GoodFusion):
    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return super().combine(views, present) + 0 * views[:, 1]


class OneWidthOnly(GoodFusion):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        if len(set(in_dims.values())) > 1:
            raise ValueError("views differ in width")
        super().__init__(in_dims, num_classes)


class AtMostEight(GoodFusion):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.names = ["abcdefgh"[index] for index, _ in enumerate(in_dims)]


class WideViewLogits(GoodFusion):
    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
        extra = torch.zeros_like(views[self.main][:, :1]).expand(-1, self.num_classes + 1)
        return FusionOutput(embedding=super().fuse(views, present), view_logits={self.main: extra})


class FirstTokenOnly(GoodTokenFusion):
    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return torch.cat([views[name][:, 0] for name in self.in_dims], 1)


class FirstRowOnly(GoodMapFusion):
    def pooled(self, value: Tensor) -> Tensor:
        return value[:, :, 0].mean(2)


class GridOfTwelve(GoodMapFusion):
    def pooled(self, value: Tensor) -> Tensor:
        return value.reshape(len(value), 4, 12).mean(2)


class SinglePrecision(GoodFusion):
    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return super().combine(views.float(), present).float()


class OnTheProcessor(GoodFusion):
    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return super().combine(views, present) + torch.zeros(self.width)


class WritesToPresence(GoodFusion):
    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Any:
        present[self.main].fill_(True)
        return super().fuse(views, present)


class Unseeded(GoodFusion):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.gain.data = torch.from_numpy(np.random.default_rng().normal(size=self.width)).float()


class TiresAfterFourBatches(GoodFusion):
    calls = 0

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        tired = not self.training and not torch.is_grad_enabled() and len(views) == 9 and self.calls > 3
        self.calls += len(views) == 9
        return super().combine(views, present) * (0.5 if tired else 1.0)


class LessTheBatchMean(GoodFusion):
    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        fused = super().combine(views, present)
        return fused - fused.mean(0)


class FactorInAList(GoodFusion):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.factors = [nn.Parameter(torch.tensor(1.5))]

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return super().combine(views, present) * self.factors[0]


class SymmetricUnawares(GoodFusion):
    symmetric = False


class MaskedInNameOnly(GoodFusion):
    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return views.mean(1) * self.gain


class ImputedInNameOnly(GoodFusion):
    missing: ClassVar[str] = "imputed"


class DividesByNothing(GoodFusion):
    def mean(self, views: Tensor, present: Tensor) -> Tensor:
        mask = present.unsqueeze(-1).to(views.dtype)
        return (views * mask).sum(1) / mask.sum(1)


class LossOfEachRow(GoodFusion):
    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output.logits, target, reduction="none")


class WithoutTheLast(GoodFusion):
    symmetric = None

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        end = max(views.shape[1] - 1, 1)
        return super().combine(views[:, :end], present[:, :end])


class InTwoGroups(GoodFusion):
    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([self.gain], lr=0.1), ParameterGroup([self.gain], first_epoch=3)]


class DetachedGain(GoodFusion):
    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return self.mean(views, present) * self.gain.detach()


class StraightThrough(GoodFusion):
    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        fused = super().combine(views, present)
        return fused + (fused.round() - fused).detach()


class ForgottenBuffer(GoodFusion):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.register_buffer("shift", torch.randn(self.width), persistent=False)

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return super().combine(views, present) + self.shift


class HoldsALambda(GoodFusion):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.activation = lambda x: x


class TupleOrList(GoodFusion):
    """The mean of views, turned where it is given a tuple.

    Args:
        kinds: some.

    Reference: a toy.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"kinds": (1, 2)},)

    def __init__(self, in_dims: dict[str, int], num_classes: int, kinds: Sequence[int] = (1,)) -> None:
        super().__init__(in_dims, num_classes)
        self.sign = -1.0 if isinstance(kinds, tuple) else 1.0

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        return super().combine(views, present) * self.sign


class MisspeltRecipe(GoodFusion):
    recipe: ClassVar[dict[str, Any]] = {"epoch": 3}


class SeedsTorch(GoodFusion):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        torch.manual_seed(42)
        super().__init__(in_dims, num_classes)


class GivesADistribution(GoodLogits):
    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Any:
        return FusionOutput(logits=super().fuse(views, present).logits.softmax(1))


class WeighsPadding(GoodClipFusion):
    def weights(self, number: Tensor, mask: Tensor, frame: Tensor) -> Tensor:
        return super().weights(number, torch.ones_like(mask), frame)


class LooksAhead(GoodClipFusion):
    def weights(self, number: Tensor, mask: Tensor, frame: Tensor) -> Tensor:
        return super().weights(torch.zeros_like(number), mask, frame)


class LessTheMeanOfAllWindows(GoodClipFusion):
    def fuse_clip(self, views: dict[str, Tensor], present: dict[str, Tensor], number: Tensor, mask: Tensor) -> Tensor:
        joint = super().fuse_clip(views, present, number, mask)
        return joint - joint.mean((0, 1))


BROKEN: dict[str, type] = {
    "padding_has_no_effect": WeighsPadding,
    "causal_uses_no_later_frame": LooksAhead,
    "parameter_groups_can_be_used": InTwoGroups,
    "global_seed_is_not_set": SeedsTorch,
    "logits_are_not_probabilities": GivesADistribution,
    "builds_and_runs": CannotBeBuilt,
    "one_view": NeedsTwoViews,
    "views_of_different_widths": OneWidthOnly,
    "twelve_views": AtMostEight,
    "output_shapes": WideViewLogits,
    "token_count": FirstTokenOnly,
    "maps_of_any_grid": GridOfTwelve,
    "dtype_is_kept": SinglePrecision,
    "device_is_kept": OnTheProcessor,
    "input_is_not_changed": WritesToPresence,
    "same_seed_same_weights": Unseeded,
    "same_input_same_output": TiresAfterFourBatches,
    "row_alone_is_row_in_batch": LessTheBatchMean,
    "every_tensor_is_registered": FactorInAList,
    "symmetry_is_as_declared": SymmetricUnawares,
    "content_of_an_absent_view": MaskedInNameOnly,
    "presence_of_an_imputed_view": ImputedInNameOnly,
    "all_views_missing": DividesByNothing,
    "loss_is_a_finite_scalar": LossOfEachRow,
    "gradient_reaches_every_view": WithoutTheLast,
    "every_parameter_learns": DetachedGain,
    "gradients_agree_with_finite_differences": StraightThrough,
    "state_dict_round_trip": ForgottenBuffer,
    "pickle_round_trip": HoldsALambda,
    "spec_round_trip": TupleOrList,
    "recipe_can_be_used": MisspeltRecipe,
}

MORE: list[tuple[str, type]] = [
    ("row_alone_is_row_in_batch", LessTheMeanOfAllWindows),
    ("maps_of_any_grid", FirstRowOnly),
]
