"""Faces whose label depends on one region, on either of two, or on both together; the best score is known.

Eyes are shut or open, the mouth is open or shut, and both are drawn for each frame. The label is one of two classes. A
known fraction of labels is wrong, which limits the accuracy of any method.

Reference: the kinds of information are those of Williams and Beer 2010, "Nonnegative Decomposition of Multivariate
Information" (https://arxiv.org/abs/1004.2515); synergy is the exclusive or.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from fusionkit.contracts import FrameTable
from fusionkit_synthetic.action import Pose, actions
from fusionkit_synthetic.camera import Camera, draw_camera, film
from fusionkit_synthetic.cast import CLIP, SCRIPT, Sizes, face_of, generator
from fusionkit_synthetic.motion import draw_poses

Kind = Literal["unique", "redundant", "synergy"]
CLASSES = ("zero", "one")


@dataclass(frozen=True)
class Interaction:
    """All persons and clips of one such data set; the fields are its options.

    ``unique``: the label is the mouth, the eyes have no information. ``redundant``: the label is the mouth, and the
    eyes are equal to it. ``synergy``: the label is whether eyes and mouth differ; either alone has no information.
    """

    kind: Kind
    label_noise: float
    sizes: Sizes
    seed: int
    difficulty: float
    noise: float
    missing: float

    def table(self) -> FrameTable:
        """Return the frame table; all clips have the same length."""
        return self.sizes.table([self.sizes.clip_length] * self.sizes.total_clips, self.label)

    @property
    def starts(self) -> np.ndarray:
        """(clips,) first row of each clip."""
        return np.arange(0, len(self.label), self.sizes.clip_length)

    @cached_property
    def drawn(self) -> np.ndarray:
        """(N, 4) bool per frame: eyes shut, mouth open, label wrong, has an image."""
        clips, length = self.sizes.total_clips, self.sizes.clip_length
        chances = np.concatenate([generator(self.seed, SCRIPT, clip).random((length, 4)) for clip in range(clips)])
        shut, opened, wrong, image = (chances < (0.5, 0.5, self.label_noise, 1 - self.missing)).T
        return np.stack([opened if self.kind == "redundant" else shut, opened, wrong, image], 1)

    @cached_property
    def label(self) -> np.ndarray:
        """(N,) int64: the class, flipped if the label is wrong."""
        shut, opened, wrong, _ = self.drawn.T
        truth = opened ^ shut if self.kind == "synergy" else opened
        return (truth ^ wrong).astype(np.int64)

    def best(self, views: tuple[str, ...]) -> float:
        """Return the highest possible expected accuracy with the views ``eye``, ``mouth`` or both.

        Both classes are equally frequent, so it is the highest macro-F1 too.
        """
        enough = {"unique": "mouth" in views, "redundant": bool(views), "synergy": {"eye", "mouth"} <= set(views)}
        return 1 - self.label_noise if enough[self.kind] else 0.5

    def frame(self, clip: int, index: int) -> np.ndarray | None:
        """Draw one frame, (112, 112, 3) uint8 RGB; None if it has no image."""
        shut, opened, _, image = self.drawn[clip * self.sizes.clip_length + index].tolist()
        if not image:
            return None
        camera, poses = _clip(self, clip)
        face = face_of(self.seed, clip // self.sizes.clips)
        intensity = actions({43: 0.95 * shut, 25: 0.8 * opened, 26: 0.8 * opened})
        return film(face.draw(intensity, poses[index]), camera, index, poses[index])


@lru_cache(maxsize=512)
def _clip(scene: Interaction, clip: int) -> tuple[Camera, list[Pose]]:
    rng = generator(scene.seed, CLIP, clip)
    length = scene.sizes.clip_length
    return draw_camera(rng, length, scene.difficulty, scene.noise), draw_poses(rng, length, 0.3 + scene.difficulty)
