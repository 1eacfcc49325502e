"""The majority vote over time."""

from __future__ import annotations

import numpy as np

from fusionkit_smoothers.shared_options import WindowSmoother


class Mode(WindowSmoother):
    """The most frequent predicted class of the frames up to half a width away.

    Distance is counted in frame numbers: a missing frame has no vote. Of equally frequent classes, the frame's own is
    taken, else the first. The result is a decision: one-hot, also for a constant clip.

    Reference: votes of labels in a window are a usual last step in the expression challenge of ABAW, among others of
    the team CtyunAI in its sixth edition (https://github.com/upczww/abaw6). The default width and the rule for equal
    votes are our reading.
    """

    discrete = True

    hard = True

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Vote over time: (T, C) probabilities to (T, C) one-hot."""
        decided = np.zeros(x.shape, dtype=np.int32)
        decided[np.arange(len(x)), x.argmax(1)] = 1
        votes = np.zeros((len(x) + 1, x.shape[1]), dtype=np.int32)
        np.cumsum(decided, axis=0, out=votes[1:])
        first, stop = self.bounds(frame_numbers)
        won = (2 * (votes[stop] - votes[first]) + decided).argmax(1)
        return np.eye(x.shape[1])[won]
