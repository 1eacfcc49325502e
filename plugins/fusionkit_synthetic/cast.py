"""All persons, clips and frames of the synthetic data set; every part is drawn from its own seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from fusionkit.contracts import FrameTable
from fusionkit_synthetic.action import Pose
from fusionkit_synthetic.affect import valence_arousal
from fusionkit_synthetic.camera import Camera, draw_camera, film
from fusionkit_synthetic.expression import CLASSES
from fusionkit_synthetic.face import Face
from fusionkit_synthetic.identity import draw_identity
from fusionkit_synthetic.motion import draw_actions, draw_expressive, draw_habit, draw_poses
from fusionkit_synthetic.occluder import Occluder, draw_occluder, draw_occlusion
from fusionkit_synthetic.script import Script, draw_script

# Fraction of clips per class: skewed as in real data, but less, so that a small set has the rare classes too.
SHARES = (0.15, 0.10, 0.10, 0.09, 0.17, 0.12, 0.11, 0.16)
ACTIVE = 0.3  # least intensity of an active unit; habits and chance add up to less in most frames
CASTING, PERSON, HABIT, SCRIPT, CLIP = range(5)  # parts of the data set that have their own random numbers


@dataclass(frozen=True)
class Sizes:
    """Numbers of persons per split, clips per person, and frames per clip."""

    train: int
    val: int
    test: int
    clips: int
    clip_length: int

    @property
    def splits(self) -> tuple[tuple[str, int], ...]:
        """(name, number of persons) of each split."""
        return ("train", self.train), ("val", self.val), ("test", self.test)

    @property
    def total_clips(self) -> int:
        """Number of all clips."""
        return (self.train + self.val + self.test) * self.clips

    def table(self, lengths: Sequence[int], label: np.ndarray) -> FrameTable:
        """Return the frame table: clips sorted by person, frames numbered from 1.

        Args:
            lengths: frames of each clip.
            label: (N,) int64.
        """
        person = np.arange(len(lengths)) // self.clips
        names = [f"p{p:03d}_{c % self.clips + 1:02d}" for c, p in enumerate(person.tolist())]
        splits = np.repeat([name for name, _ in self.splits], [count for _, count in self.splits])
        return FrameTable.of(
            clip=np.repeat(names, lengths),
            number=np.concatenate([np.arange(1, length + 1) for length in lengths]),
            label=label,
            subject=np.repeat([f"p{p:03d}" for p in person.tolist()], lengths),
            split=np.repeat(splits[person], lengths),
        )


@dataclass(frozen=True)
class _Clip:
    """Everything that is drawn for one clip."""

    actions: np.ndarray
    poses: list[Pose]
    camera: Camera
    occluder: Occluder


@dataclass(frozen=True)
class Cast:
    """All persons and clips of one data set; the fields are its options."""

    sizes: Sizes
    seed: int
    difficulty: float
    noise: float
    missing: float
    unlabelled: float

    def table(self) -> FrameTable:
        """Return the frame table."""
        return self.sizes.table(
            [script.length for script in self.scripts], np.concatenate([script.label for script in self.scripts])
        )

    @cached_property
    def starts(self) -> np.ndarray:
        """(clips,) first row of each clip."""
        lengths = [script.length for script in self.scripts]
        return np.cumsum([0, *lengths[:-1]])

    @cached_property
    def scripts(self) -> list[Script]:
        """The script of each clip, in the order of the table."""
        scripts = []
        for clip, label in enumerate(self._labels()):
            rng = generator(self.seed, SCRIPT, clip)
            mean = self.sizes.clip_length
            length = max(6, int(rng.integers(round(0.8 * mean), round(1.2 * mean) + 1)))
            scripts.append(draw_script(rng, label, length, self.missing, self.unlabelled))
        return scripts

    def frame(self, clip: int, index: int) -> np.ndarray | None:
        """Draw one frame, (112, 112, 3) uint8 RGB; None if it has no image."""
        if not self.scripts[clip].image[index]:
            return None
        face, drawn = face_of(self.seed, clip // self.sizes.clips), _clip(self, clip)
        pose = drawn.poses[index]
        canvas = face.draw(drawn.actions[index], pose)
        draw_occlusion(canvas, face.person, drawn.occluder, index, pose)
        return film(canvas, drawn.camera, index, pose)

    @cached_property
    def action_units(self) -> np.ndarray:
        """(N, A) float32: 1 if a unit has ``ACTIVE`` or more on either side, else 0; NaN in unlabelled frames."""
        clips = [self._intensity(clip, draw_actions).max(1) >= ACTIVE for clip in range(len(self.scripts))]
        return self._labelled(np.concatenate(clips))

    @cached_property
    def affect(self) -> np.ndarray:
        """(N, 2) float32: valence and arousal; NaN in unlabelled frames."""
        clips = [self._intensity(clip, draw_expressive) for clip in range(len(self.scripts))]
        return self._labelled(valence_arousal(np.clip(np.concatenate(clips), 0.0, 1.0)))

    def _intensity(self, clip: int, draw: Callable[..., np.ndarray]) -> np.ndarray:
        """Return the intensities (T, 2, A) of a clip, drawn as for its images."""
        number = clip // self.sizes.clips
        person = draw_identity(generator(self.seed, PERSON, number))
        habit = draw_habit(generator(self.seed, HABIT, number), self.difficulty)
        return draw(generator(self.seed, CLIP, clip), person, self.scripts[clip], habit, self.difficulty)

    def _labelled(self, values: np.ndarray) -> np.ndarray:
        known = np.concatenate([script.label for script in self.scripts]) >= 0
        return np.where(known[:, None], values, np.nan).astype(np.float32)

    def _labels(self) -> list[int]:
        """Return the class of each clip: fixed numbers per class and split, in random order."""
        labels: list[int] = []
        for number, (_, persons) in enumerate(self.sizes.splits):
            of_split = np.repeat(np.arange(len(CLASSES)), quotas(persons * self.sizes.clips))
            labels += generator(self.seed, CASTING, number).permutation(of_split).tolist()
        return labels


def generator(seed: int, *part: int) -> np.random.Generator:
    """Return the random numbers of one part of a data set, independent of all other parts."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=part)))


@lru_cache(maxsize=64)  # about 1 MB each
def face_of(seed: int, person: int) -> Face:
    """Return the face of a person."""
    return Face(draw_identity(generator(seed, PERSON, person)))


@lru_cache(maxsize=512)  # about 30 kB each
def _clip(cast: Cast, clip: int) -> _Clip:
    number = clip // cast.sizes.clips
    person, script = face_of(cast.seed, number).person, cast.scripts[clip]
    habit = draw_habit(generator(cast.seed, HABIT, number), cast.difficulty)
    rng = generator(cast.seed, CLIP, clip)
    return _Clip(
        draw_actions(rng, person, script, habit, cast.difficulty),
        draw_poses(rng, script.length, 0.3 + cast.difficulty),
        draw_camera(rng, script.length, cast.difficulty, cast.noise),
        draw_occluder(rng, person, script.length, cast.difficulty),
    )


def quotas(clips: int) -> np.ndarray:
    """Return (C,) clips per class by ``SHARES``, at least one each (largest remainders)."""
    spare = clips - len(SHARES)
    ideal = np.maximum(np.array(SHARES) * clips - 1, 0)
    ideal *= spare / ideal.sum() if ideal.sum() else 0.0
    counts = np.floor(ideal).astype(np.int64)
    order = np.argsort(-(ideal - counts), kind="stable")
    counts[order[: spare - int(counts.sum())]] += 1
    result: np.ndarray = counts + 1
    return result
