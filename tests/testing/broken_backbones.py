"""Backbones with one fault each, by the only check that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from testing.good_plugins import FromBytes, GoodBackbone, GoodMaps, GoodNetwork
from torch import Tensor, nn


class OtherWidth(GoodBackbone):
    def embed(self, views: np.ndarray) -> np.ndarray:
        return super().embed(views)[:, :5]


class WidthOfNumPy(GoodBackbone):
    @property
    def dim(self) -> Any:
        return np.int64(12)


class NoSpread(GoodBackbone):
    std = (0.0, 0.0, 0.0)


class DoublePrecision(GoodBackbone):
    def embed(self, views: np.ndarray) -> np.ndarray:
        return super().embed(views).astype(np.float64)


class DividesByContrast(GoodBackbone):
    def embed(self, views: np.ndarray) -> np.ndarray:
        values = super().embed(views)
        with np.errstate(invalid="ignore"):
            return (values / values.std(1, keepdims=True) * np.sign(views.std((1, 2, 3)))[:, None]).astype(np.float32)

    def tokens(self, views: np.ndarray) -> np.ndarray:
        return np.repeat(super().embed(views)[:, None], 3, axis=1)


class SeesNothing(GoodBackbone):
    def embed(self, views: np.ndarray) -> np.ndarray:
        return np.ones((len(views), 12), np.float32)


class LessTheBatchMean(GoodBackbone):
    def embed(self, views: np.ndarray) -> np.ndarray:
        values = super().embed(views)
        return values - values.mean(0) + len(views)

    def tokens(self, views: np.ndarray) -> np.ndarray:
        return np.repeat(super().embed(views)[:, None], 3, axis=1) * 0 + 1


class TiresAfterTwoBatches(GoodBackbone):
    calls = 0

    def embed(self, views: np.ndarray) -> np.ndarray:
        self.calls += len(views) > 1
        return super().embed(views) * np.float32(0.5 if self.calls > 2 else 1.0)


class BlanksAPixel(GoodBackbone):
    def embed(self, views: np.ndarray) -> np.ndarray:
        views[:, 0, 0] = 0
        return super().embed(views)


class WideTokens(GoodBackbone):
    def tokens(self, views: np.ndarray) -> np.ndarray:
        return np.zeros((len(views), 3, 13), np.float32)


class ColumnByColumn(GoodMaps):
    def tokens(self, views: np.ndarray) -> np.ndarray:
        return super().tokens(views)[:, [0, 2, 1, 3]]


class OneTokenTooMany(GoodMaps):
    token_grid = (2, 3)


class HalfAParameter(GoodBackbone):
    def cost(self) -> tuple[Any, float]:
        return 1.5, 0.0


class TupleOrList(GoodBackbone):
    """The mean colour of each quarter, twice where it is given a tuple.

    Args:
        kinds: some.

    Reference: a toy.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"kinds": (1, 2)},)

    def __init__(self, kinds: Sequence[int] = (1,)) -> None:
        super().__init__(2.0 if isinstance(kinds, tuple) else 1.0)


class SeedsTorch(GoodNetwork):
    def __init__(self, weights: str | None = None) -> None:
        torch.manual_seed(3)
        super().__init__(weights)


class BlueFirst(GoodNetwork):
    def normalised(self, views: np.ndarray) -> Tensor:
        return super().normalised(views[..., ::-1])


class ColumnsFirst(GoodNetwork):
    def normalised(self, views: np.ndarray) -> Tensor:
        return super().normalised(views.swapaxes(1, 2))


class DividesTwice(GoodNetwork):
    def normalised(self, views: np.ndarray) -> Tensor:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return ((super().normalised(views) * std + mean) / 255 - mean) / std


class ForgetsMeanAndStd(GoodNetwork):
    def normalised(self, views: np.ndarray) -> Tensor:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return super().normalised(views) * std + mean


class BeyondFloat16(GoodBackbone):
    def embed(self, views: np.ndarray) -> np.ndarray:
        return super().embed(views) * np.float32(1e5)


class FarFromZero(GoodBackbone):
    def embed(self, views: np.ndarray) -> np.ndarray:
        return super().embed(views) + np.float32(3e3)


class TrainsAnotherPooling(GoodNetwork):
    def trainable(self, drop_path: float, seed: int) -> nn.Module:
        return nn.Sequential(*super().trainable(drop_path, seed)[:2], nn.AdaptiveMaxPool2d(2), nn.Flatten())


class TrainsOtherWidth(GoodNetwork):
    def trainable(self, drop_path: float, seed: int) -> nn.Module:
        return nn.Sequential(*super().trainable(drop_path, seed)[:2], nn.AdaptiveAvgPool2d(1), nn.Flatten())


class ExportsWithoutMean(GoodNetwork):
    def as_network(self, *, tokens: bool) -> nn.Module:
        return FromBytes(self.network, (0.0, 0.0, 0.0), self.std)


class LoadsNothing(GoodNetwork):
    def __init__(self, weights: str | None = None) -> None:
        super().__init__(None)


BROKEN: dict[str, type] = {
    "what_is_trained_is_what_embeds": TrainsAnotherPooling,
    "exported_network_is_what_embeds": ExportsWithoutMean,
    "builds_and_runs": OtherWidth,
    "sizes": WidthOfNumPy,
    "normalisation": NoSpread,
    "dtype_is_float32": DoublePrecision,
    "embeddings_are_finite": DividesByContrast,
    "distinct_views_distinct_rows": SeesNothing,
    "row_alone_is_row_in_batch": LessTheBatchMean,
    "same_input_same_output": TiresAfterTwoBatches,
    "input_is_not_changed": BlanksAPixel,
    "tokens": WideTokens,
    "token_grid": ColumnByColumn,
    "cost_is_known": HalfAParameter,
    "spec_round_trip": TupleOrList,
    "global_seed_is_not_set": SeedsTorch,
    "network_gets_what_is_declared": BlueFirst,
    "embeddings_fit_float16": BeyondFloat16,
}
MORE: list[tuple[str, type]] = [
    ("what_is_trained_is_what_embeds", TrainsOtherWidth),
    ("what_is_trained_is_what_embeds", LoadsNothing),
    ("network_gets_what_is_declared", ColumnsFirst),
    ("network_gets_what_is_declared", DividesTwice),
    ("network_gets_what_is_declared", ForgetsMeanAndStd),
    ("embeddings_fit_float16", FarFromZero),
    ("token_grid", OneTokenTooMany),
]
