"""Contracts that a plugin implements, one module per kind. Those of fusions import torch, so they are loaded lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusionkit.contracts.backbone import Backbone
from fusionkit.contracts.component import Component
from fusionkit.contracts.dataset import UNLABELLED, Export, FaceDataset, FrameTable
from fusionkit.contracts.extractor import Extractor, Face, Located
from fusionkit.contracts.option_types import Count, Natural, NonNegative, Positive, Probability, Range
from fusionkit.contracts.option_values import require_choice, require_count, require_number, require_switch
from fusionkit.contracts.smoother import CausalSmoother, Smoother, Stream
from fusionkit.contracts.task import SingleLabel

if TYPE_CHECKING:
    from fusionkit.contracts.fusion import FittedFusion, Fusion, FusionOutput, StackedFusion

__all__ = [
    "UNLABELLED",
    "Backbone",
    "CausalSmoother",
    "Component",
    "Count",
    "Export",
    "Extractor",
    "Face",
    "FaceDataset",
    "FittedFusion",
    "FrameTable",
    "Fusion",
    "FusionOutput",
    "Located",
    "Natural",
    "NonNegative",
    "Positive",
    "Probability",
    "Range",
    "SingleLabel",
    "Smoother",
    "StackedFusion",
    "Stream",
    "require_choice",
    "require_count",
    "require_number",
    "require_switch",
]


def __getattr__(name: str) -> Any:
    if name in {"FittedFusion", "Fusion", "FusionOutput", "StackedFusion"}:
        from fusionkit.contracts import fusion

        return getattr(fusion, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
