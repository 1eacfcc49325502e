"""Faces whose label hides in one region, in two alike, or only in what two show together; the best score is known.

Eyes are shut or open, the mouth is open or shut, and each frame draws both anew. The label is one of two classes, and a
known share of labels is wrong, so that no method can be right more often than the rest.

Reference: the kinds of information are those of Williams and Beer 2010, "Nonnegative Decomposition of Multivariate
Information" (https://arxiv.org/abs/1004.2515); synergy is the exclusive or.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from fusionkit.contracts import FrameTable
from fusionkit_synthetic.action import COLUMN, UNITS, Pose
from fusionkit_synthetic.camera import Camera, draw_camera, film
from fusionkit_synthetic.cast import CLIP, PERSON, SCRIPT, generator
from fusionkit_synthetic.face import Face
from fusionkit_synthetic.identity import draw_identity
from fusionkit_synthetic.motion import draw_poses
from fusionkit_synthetic.options import Sizes

Kind = Literal["unique", "redundant", "synergy"]
CLASSES = ("zero", "one")


@dataclass(frozen=True)
class Interaction:
    """All people and clips of one such data set; the fields are its options.

    ``unique``: the mouth is the label, the eyes say nothing. ``redundant``: eyes and mouth both are the label.
    ``synergy``: the label is whether eyes and mouth differ; either alone says nothing.
    """

    kind: Kind
    label_noise: float
    sizes: Sizes
    seed: int
    difficulty: float
    noise: float
    missing: float

    def table(self) -> FrameTable:
        """The frame table: clips of equal length person by person, frames numbered from 1."""
        clips, length = sum(people for _, people in self.sizes.splits) * self.sizes.clips, self.sizes.clip_length
        person = np.repeat(np.arange(clips) // self.sizes.clips, length)
        splits = np.repeat([name for name, _ in self.sizes.splits], [count for _, count in self.sizes.splits])
        names = [f"p{clip // self.sizes.clips:03d}_{clip % self.sizes.clips + 1:02d}" for clip in range(clips)]
        return FrameTable.of(
            clip=np.repeat(names, length),
            number=np.tile(np.arange(1, length + 1), clips),
            label=self.label,
            subject=[f"p{number:03d}" for number in person.tolist()],
            split=splits[person],
        )

    @property
    def starts(self) -> np.ndarray:
        """(clips,) the row at which each clip begins."""
        return np.arange(0, len(self.label), self.sizes.clip_length)

    @cached_property
    def drawn(self) -> np.ndarray:
        """(N, 4) bool a frame: eyes shut, mouth open, label wrong, has an image."""
        clips = sum(people for _, people in self.sizes.splits) * self.sizes.clips
        chances = np.concatenate(
            [generator(self.seed, SCRIPT, clip).random((self.sizes.clip_length, 4)) for clip in range(clips)]
        )
        shut, opened, wrong, image = (chances < (0.5, 0.5, self.label_noise, 1 - self.missing)).T
        return np.stack([opened if self.kind == "redundant" else shut, opened, wrong, image], 1)

    @cached_property
    def label(self) -> np.ndarray:
        """(N,) int64: what the regions say, flipped where the label is wrong."""
        shut, opened, wrong, _ = self.drawn.T
        truth = opened ^ shut if self.kind == "synergy" else opened
        return (truth ^ wrong).astype(np.int64)

    def best(self, views: tuple[str, ...]) -> float:
        """The accuracy that no method can beat in expectation, given the views ``eye``, ``mouth`` or both.

        Both classes are equally frequent, so it is the best macro-F1 too.
        """
        enough = {"unique": "mouth" in views, "redundant": bool(views), "synergy": {"eye", "mouth"} <= set(views)}
        return 1 - self.label_noise if enough[self.kind] else 0.5

    def frame(self, clip: int, place: int) -> np.ndarray | None:
        """Draw one frame, (112, 112, 3) uint8 RGB; None where it has no image."""
        shut, opened, _, image = self.drawn[clip * self.sizes.clip_length + place].tolist()
        if not image:
            return None
        camera, poses = _take(self, clip)
        face = _face(self.seed, clip // self.sizes.clips)
        return film(face.draw(_actions(shut, opened), poses[place]), camera, place, poses[place])


def _actions(shut: bool, opened: bool) -> np.ndarray:
    intensity = np.zeros((2, len(UNITS)))
    intensity[:, COLUMN[43]] = 0.95 * shut
    intensity[:, COLUMN[25]] = 0.8 * opened
    intensity[:, COLUMN[26]] = 0.8 * opened
    return intensity


@lru_cache(maxsize=64)  # about 1 MB each
def _face(seed: int, person: int) -> Face:
    return Face(draw_identity(generator(seed, PERSON, person)))


@lru_cache(maxsize=512)
def _take(scene: Interaction, clip: int) -> tuple[Camera, list[Pose]]:
    rng = generator(scene.seed, CLIP, clip)
    length = scene.sizes.clip_length
    return draw_camera(rng, length, scene.difficulty, scene.noise), draw_poses(rng, length, 0.3 + scene.difficulty)
