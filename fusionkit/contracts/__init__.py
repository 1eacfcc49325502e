"""Contracts that a plugin implements, one module per kind. They import numpy or torch, so they are loaded lazily."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionkit.contracts.backbone import Backbone
    from fusionkit.contracts.clip_fusion import ClipFusion
    from fusionkit.contracts.component import Component
    from fusionkit.contracts.dataset import UNLABELLED, Export, FaceDataset, FrameTable
    from fusionkit.contracts.extractor import Extractor, Face, Located
    from fusionkit.contracts.fusion import Batch, FittedFusion, Fusion, FusionOutput, ParameterGroup, StackedFusion
    from fusionkit.contracts.option_types import Count, Natural, NonNegative, Positive, Probability, Range
    from fusionkit.contracts.smoother import CausalSmoother, Clip, Smoother, Stream
    from fusionkit.contracts.task import Labels, LossOptions, Task

__all__ = [
    "UNLABELLED",
    "Backbone",
    "Batch",
    "CausalSmoother",
    "Clip",
    "ClipFusion",
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
    "Labels",
    "Located",
    "LossOptions",
    "Natural",
    "NonNegative",
    "ParameterGroup",
    "Positive",
    "Probability",
    "Range",
    "Smoother",
    "StackedFusion",
    "Stream",
    "Task",
]

_NAMES = {
    "backbone": ("Backbone",),
    "clip_fusion": ("ClipFusion",),
    "component": ("Component",),
    "dataset": ("UNLABELLED", "Export", "FaceDataset", "FrameTable"),
    "extractor": ("Extractor", "Face", "Located"),
    "fusion": ("Batch", "FittedFusion", "Fusion", "FusionOutput", "ParameterGroup", "StackedFusion"),
    "option_types": ("Count", "Natural", "NonNegative", "Positive", "Probability", "Range"),
    "smoother": ("CausalSmoother", "Clip", "Smoother", "Stream"),
    "task": ("Labels", "LossOptions", "Task"),
}


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
