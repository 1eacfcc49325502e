"""Options that several smoothers share: the width of a window, and values chosen on dev."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError, PluginError


class WindowSmoother(Smoother):
    """Base of smoothers over the frames up to half a width away, counted in frame numbers.

    Args:
        width: frames in the window, odd: the frame and as many on either side. ``1`` uses the frame alone; ``'auto'``
            is chosen on dev.

    Raises:
        ConfigError: if the width is even.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5, 11, 25, 51, 101, 201)}
    examples = ({"width": 5}, {"width": 15})

    def __init__(self, width: Count | Literal["auto"] = 101) -> None:
        if width != "auto" and width % 2 == 0:
            raise ConfigError(f"smoother {type(self).__name__}: option width = {width} must be odd, or 'auto'")
        self.width = width

    @property
    def half(self) -> int:
        """Frame numbers from the centre to either end of the window."""
        return int(chosen(self, "width")) // 2

    def bounds(self, frame_numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first index and the end index of each frame's window: two arrays (T,)."""
        first = np.searchsorted(frame_numbers, frame_numbers - self.half, side="left")
        return first, np.searchsorted(frame_numbers, frame_numbers + self.half, side="right")


def chosen(smoother: Smoother, option: str) -> Any:
    """Return the value of an option that may be ``'auto'``.

    Raises:
        PluginError: if it still is ``'auto'``.
    """
    value = getattr(smoother, option)
    if value == "auto":
        raise PluginError(
            f"smoother {type(smoother).__name__}: option {option} = 'auto' has not been chosen on dev",
            hint="build it with a number to smooth",
        )
    return value
