"""Options that several smoothers share: a width that follows the clip or is given, and values chosen on dev."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError, PluginError

LARGEST_WIDTH = 101  # frames, as published for long videos: see the reference of `window`
_CLIP_PART = 3  # the default window covers this part of a clip


def clip_width(frame_numbers: np.ndarray) -> int:
    """Return the default width of a clip's window: the odd number nearest to a third of the clip, at most 101.

    Args:
        frame_numbers: (T,) rising; the clip's length is counted in them, lost frames included.
    """
    if not len(frame_numbers):
        return 1
    length = int(frame_numbers[-1] - frame_numbers[0]) + 1
    return min(LARGEST_WIDTH, 2 * (length // (2 * _CLIP_PART)) + 1)


class WindowSmoother(Smoother):
    """Base of smoothers over the frames up to half a width away, counted in frame numbers.

    Args:
        width: frames in the window, odd: the frame and as many on either side. ``1`` uses the frame alone; ``'clip'``
            is a third of each clip's length, at most 101; ``'auto'`` is chosen on dev.

    Raises:
        ConfigError: if the width is even.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5, 11, 25, 51, 101, 201)}
    examples = ({"width": 5}, {"width": 15})

    def __init__(self, width: Count | Literal["clip", "auto"] = "clip") -> None:
        if isinstance(width, int) and width % 2 == 0:
            raise ConfigError(f"smoother {type(self).__name__}: option width = {width} must be odd, 'clip' or 'auto'")
        self.width = width

    @property
    def span(self) -> float | None:
        """See :attr:`Smoother.span`: the width; None if it follows the clip or is chosen on dev."""
        return self.width if isinstance(self.width, int) else None

    def half(self, frame_numbers: np.ndarray) -> int:
        """Return the frame numbers from the centre to either end of the window in a clip of frames (T,)."""
        width = chosen(self, "width")
        return (clip_width(frame_numbers) if width == "clip" else int(width)) // 2

    def bounds(self, frame_numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first index and the end index of each frame's window: two arrays (T,)."""
        half = self.half(frame_numbers)
        first = np.searchsorted(frame_numbers, frame_numbers - half, side="left")
        return first, np.searchsorted(frame_numbers, frame_numbers + half, side="right")


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
