"""Position of a row in a grid. Separate from the plan, so that reading results imports nothing that trains."""

from __future__ import annotations

from dataclasses import dataclass

from fusionkit.config.keys import DEFAULTS
from fusionkit.registry.spec import Spec

RANDOM_MARK = " (random weights)"  # of rows and backbones that must not pass for a result of trained weights
REFERENCE_FUSION = Spec("linear")  # of the default reference row: the main view alone


@dataclass(frozen=True)
class Axes:
    """A row's value on each axis of the grid, as text: the leading columns of ``results.csv``.

    Extractor and backbone are ``none`` where every view is a ready-made feature. ``learned_with`` names the tasks that
    the heads have learned together with the task of the row; it is ``none`` without others.
    """

    dataset: str
    split: str
    extractor: str
    backbone: str
    main: str
    views: str
    fusion: str
    recipe: str
    smoother: str
    task: str = DEFAULTS["bench"]["task"]
    learned_with: str = "none"
    labels: str = DEFAULTS["bench"]["labels"]

    @property
    def name(self) -> str:
        """``views/fusion/smoother``."""
        return f"{self.views}/{self.fusion}/{self.smoother}"

    @property
    def scored(self) -> str:
        """What counts once in a score: ``frames`` or ``clips``."""
        return f"{self.labels}s"
