"""Where a row stands in a grid; apart from the plan, so that reading results needs nothing that trains."""

from __future__ import annotations

from dataclasses import dataclass

from fusionkit.registry.spec import Spec

ALONE = Spec("linear")  # the fusion of the reference row: the main view alone with a linear head


@dataclass(frozen=True)
class Axes:
    """Where a row stands in a grid, as text: the leading columns of the results."""

    dataset: str
    split: str
    extractor: str
    backbone: str
    main: str
    views: str
    fusion: str
    recipe: str
    smoother: str

    @property
    def name(self) -> str:
        """``views/fusion/smoother``."""
        return f"{self.views}/{self.fusion}/{self.smoother}"
