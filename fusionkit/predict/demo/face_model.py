"""What a trained cell sees in one face and predicts from it, with all regions or some of them covered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np

from fusionkit.config.views import cut
from fusionkit.engine.features import EmbeddingsInMemory
from fusionkit.errors import ConfigError
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import DetectionOptions, FaceTracker
from fusionkit.media.video import MediaFrame
from fusionkit.predict.predictor import ClipStream, Predictor, frame_table, one_thread, require_frames
from fusionkit.predict.video.drawing import corners

_UPRIGHT = np.eye(2, 3)  # corners of boxes are in px of the face itself


@dataclass(frozen=True, eq=False)
class SeenFace:
    """One face as a cell sees it.

    Attributes:
        face: RGB uint8 (H, W, 3), with the covered regions painted.
        boxes: (5,) by region: centre x, y, width, height in px, and angle in degrees; NaN if not found.
        views: by name, main view first: RGB uint8 (h, w, 3), before the backbone's resizing; None if not found.
        probs: (C,) float64, the mean over the heads of the cell; None if the face has no view.
    """

    face: np.ndarray
    boxes: dict[str, np.ndarray]
    views: dict[str, np.ndarray | None]
    probs: np.ndarray | None


class FaceModel:
    """A trained cell for single faces. Backbones are loaded once; calls from several threads take turns.

    Args:
        predictor: of the cell.
        detection: how the face of a picture is found.

    Raises:
        ConfigError: if the data set of the cell provides its views ready-made.
    """

    def __init__(self, predictor: Predictor, detection: DetectionOptions) -> None:
        require_frames(predictor, "shown by the demo")
        if not predictor.task.exclusive:
            raise ConfigError(f"{predictor.name} does not predict one class per frame: the demo shows only such rows")
        self.predictor, self._detection = predictor, detection
        self._embedder = predictor.embedder(1)
        self._lock = Lock()

    @property
    def is_causal(self) -> bool:
        """Whether fusion and smoother of the cell need no later frames."""
        return not self.predictor.heads[0].later_frames

    @property
    def takes_scenes(self) -> bool:
        """Whether faces are found in a picture, by the detector or by the extractor of the cell."""
        return self._detection.detector is not None or self._embedder.finds_faces

    def find(self, picture: np.ndarray) -> np.ndarray | None:
        """Return the aligned face of a picture, the largest of several; None without a face.

        Args:
            picture: RGB uint8 (H, W, 3). Without a detector it is the aligned face itself.
        """
        with self._lock:
            found = FaceTracker(self._detection, Clock(), is_photo=True)(MediaFrame(1, float("nan"), picture))
        return found[0].crop if found else None

    def predict(self, face: np.ndarray) -> SeenFace:
        """Predict one face, RGB uint8 (H, W, 3), aligned, as a still image."""
        return self._seen(face, self._still)

    def covered(self, whole: SeenFace, regions: Iterable[str]) -> SeenFace:
        """Predict a face with regions painted in its mean colour before anything is located or cut."""
        return self.predict(cover(whole.face, whole.boxes, regions))

    def effects(self, whole: SeenFace) -> dict[str, SeenFace]:
        """Return the prediction with each region covered alone."""
        return {region: self.covered(whole, [region]) for region in whole.boxes}

    def live(self) -> Callable[[np.ndarray, int], SeenFace]:
        """Return a function from a face and its frame number to the prediction.

        A causal cell sees the frames before; any other sees each frame as a still image.
        """
        if not self.is_causal:
            return lambda face, _: self.predict(face)
        stream = ClipStream(self.predictor.heads)
        return lambda face, number: self._seen(face, lambda outputs: stream([out[0] for out in outputs], number))

    def _seen(self, face: np.ndarray, smooth: Callable[[list[np.ndarray]], np.ndarray | None]) -> SeenFace:
        """Locate, cut, embed and predict a face; ``smooth`` takes the outputs of each head, (1, C) or (1, D)."""
        with self._lock, one_thread():
            found = self._embedder([face])
            views = EmbeddingsInMemory(self.predictor.by_view(found.values))
            outputs = [head.outputs(views) for head in self.predictor.heads]
        boxes = dict(found.boxes[0] or {})
        cuts = {name: cut(face, boxes, source.view) for name, source in self.predictor.views.items()}
        return SeenFace(face, boxes, cuts, smooth(outputs))

    def _still(self, outputs: list[np.ndarray]) -> np.ndarray | None:
        """Return (C,) probabilities of a still image; None without a view."""
        if np.isnan(outputs[0][0]).any():
            return None
        table, impute = frame_table(1, None, None), self.predictor.impute
        heads = zip(self.predictor.heads, outputs, strict=True)
        mean: np.ndarray = np.mean([head.smooth_outputs(out, table, impute)[0] for head, out in heads], axis=0)
        return mean


def cover(face: np.ndarray, boxes: Mapping[str, np.ndarray], regions: Iterable[str]) -> np.ndarray:
    """Return a face with regions painted in its mean colour; regions that were not found are left as they are."""
    import cv2

    painted = face.copy()
    colour = [round(value) for value in face.mean((0, 1)).tolist()]
    for region in regions:
        if region in boxes:
            for polygon in corners(boxes[region][None], _UPRIGHT):
                cv2.fillConvexPoly(painted, np.rint(polygon - 0.5).astype(np.int32), colour)
    return painted
