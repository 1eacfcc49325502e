"""The majority vote over time."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother
from fusionkit_smoothers.option_checks import require_width, settled


class Mode(Smoother):
    """Each frame is given the class that most frames up to half a width away are recognised as.

    Distance is counted in frame numbers: a missing frame has no vote. Of equally frequent classes, the frame's own is
    taken, else the first. The result is a decision: one-hot, also for a clip without change.

    Args:
        width: frames in the window, odd: the frame and as many on either side. ``1`` leaves every decision as it is.
            ``'auto'`` is chosen on dev.

    Reference: votes of labels in a window are a usual last step in the expression challenge of ABAW, among others of
    the team CtyunAI in its sixth edition (https://github.com/upczww/abaw6). The default width and the rule for equal
    votes are our reading.
    """

    hard: bool = True
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5, 11, 25, 51, 101, 201)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 5}, {"width": 15})

    def __init__(self, width: int | Literal["auto"] = 101) -> None:
        require_width("mode", width)
        self.width = width

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Votes over time.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) one-hot.

        Raises:
            PluginError: if the width is still ``'auto'``.
        """
        half = settled("mode", "width", self.width) // 2
        decided = np.zeros(x.shape, dtype=np.int32)
        decided[np.arange(len(x)), x.argmax(1)] = 1
        votes = np.zeros((len(x) + 1, x.shape[1]), dtype=np.int32)
        np.cumsum(decided, axis=0, out=votes[1:])
        first = np.searchsorted(frame_numbers, frame_numbers - half, side="left")
        stop = np.searchsorted(frame_numbers, frame_numbers + half, side="right")
        won = (2 * (votes[stop] - votes[first]) + decided).argmax(1)
        return np.eye(x.shape[1])[won]
