"""The six registries of components."""

from fusionkit.registry.registries import (
    BACKBONES,
    DATASETS,
    EXTRACTORS,
    FUSIONS,
    REGISTRIES,
    SMOOTHERS,
    TASKS,
    ComponentRegistry,
    Origin,
    did_you_mean,
    did_you_mean_path,
    find_components,
    kebab,
    why_unread,
)
from fusionkit.registry.source import LONE_FILE

__all__ = [
    "BACKBONES",
    "DATASETS",
    "EXTRACTORS",
    "FUSIONS",
    "LONE_FILE",
    "REGISTRIES",
    "SMOOTHERS",
    "TASKS",
    "ComponentRegistry",
    "Origin",
    "did_you_mean",
    "did_you_mean_path",
    "find_components",
    "kebab",
    "why_unread",
]
