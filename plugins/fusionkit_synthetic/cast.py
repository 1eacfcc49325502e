"""Who plays what in the synthetic data set: people, their clips and the table, every part drawn from its own seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from fusionkit.contracts import FrameTable
from fusionkit_synthetic.action import Pose
from fusionkit_synthetic.camera import Camera, draw_camera, film
from fusionkit_synthetic.expression import CLASSES
from fusionkit_synthetic.face import Face
from fusionkit_synthetic.identity import draw_identity
from fusionkit_synthetic.motion import draw_actions, draw_habit, draw_poses
from fusionkit_synthetic.occluder import Occluder, draw_occluder, draw_occlusion
from fusionkit_synthetic.options import Sizes
from fusionkit_synthetic.script import Script, draw_script

# share of clips a class: skewed as in the wild, though less, so that a small set still has the rare ones
SHARES = (0.15, 0.10, 0.10, 0.09, 0.17, 0.12, 0.11, 0.16)
CASTING, PERSON, HABIT, SCRIPT, CLIP = range(5)  # which part of the data set a generator is for


@dataclass(frozen=True)
class _Take:
    """One clip ready to be drawn."""

    actions: np.ndarray
    poses: list[Pose]
    camera: Camera
    occluder: Occluder


@dataclass(frozen=True)
class Cast:
    """All people and clips of one data set; the fields are its options."""

    sizes: Sizes
    seed: int
    difficulty: float
    noise: float
    missing: float
    unlabelled: float

    def table(self) -> FrameTable:
        """The frame table: clips person by person, frames numbered from 1."""
        lengths = [script.length for script in self.scripts]
        person = np.arange(len(lengths)) // self.sizes.clips
        names = [f"p{p:03d}_{c % self.sizes.clips + 1:02d}" for c, p in enumerate(person.tolist())]
        splits = np.repeat([name for name, _ in self.sizes.splits], [count for _, count in self.sizes.splits])
        return FrameTable.of(
            clip=np.repeat(names, lengths),
            number=np.concatenate([np.arange(1, length + 1) for length in lengths]),
            label=np.concatenate([script.label for script in self.scripts]),
            subject=np.repeat([f"p{p:03d}" for p in person.tolist()], lengths),
            split=np.repeat(splits[person], lengths),
        )

    @cached_property
    def starts(self) -> np.ndarray:
        """(clips,) the row at which each clip begins."""
        lengths = [script.length for script in self.scripts]
        return np.cumsum([0, *lengths[:-1]])

    @cached_property
    def scripts(self) -> list[Script]:
        """What happens in each clip, in the order of the table."""
        scripts = []
        for clip, label in enumerate(self._labels()):
            rng = generator(self.seed, SCRIPT, clip)
            mean = self.sizes.clip_length
            length = max(6, int(rng.integers(round(0.8 * mean), round(1.2 * mean) + 1)))
            scripts.append(draw_script(rng, label, length, self.missing, self.unlabelled))
        return scripts

    def frame(self, clip: int, place: int) -> np.ndarray | None:
        """Draw one frame, (112, 112, 3) uint8 RGB; None where it has no image."""
        if not self.scripts[clip].image[place]:
            return None
        face, take = _face(self.seed, clip // self.sizes.clips), _take(self, clip)
        pose = take.poses[place]
        canvas = face.draw(take.actions[place], pose)
        draw_occlusion(canvas, face.who, take.occluder, place, pose)
        return film(canvas, take.camera, place, pose)

    def _labels(self) -> list[int]:
        """The class of each clip: fixed numbers of each in every split, dealt out at random."""
        dealt: list[int] = []
        for number, (_, people) in enumerate(self.sizes.splits):
            labels = np.repeat(np.arange(len(CLASSES)), quotas(people * self.sizes.clips))
            dealt += generator(self.seed, CASTING, number).permutation(labels).tolist()
        return dealt


def generator(seed: int, *place: int) -> np.random.Generator:
    """The generator of one part of a data set: what it draws depends on nothing else that was drawn."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place)))


@lru_cache(maxsize=64)  # about 1 MB each
def _face(seed: int, person: int) -> Face:
    """A person ready to be drawn."""
    return Face(draw_identity(generator(seed, PERSON, person)))


@lru_cache(maxsize=512)  # about 30 kB each
def _take(cast: Cast, clip: int) -> _Take:
    """A clip ready to be drawn."""
    person = clip // cast.sizes.clips
    who, script = _face(cast.seed, person).who, cast.scripts[clip]
    habit = draw_habit(generator(cast.seed, HABIT, person), cast.difficulty)
    rng = generator(cast.seed, CLIP, clip)
    return _Take(
        draw_actions(rng, who, script, habit, cast.difficulty),
        draw_poses(rng, script.length, 0.3 + cast.difficulty),
        draw_camera(rng, script.length, cast.difficulty, cast.noise),
        draw_occluder(rng, who, script.length, cast.difficulty),
    )


def quotas(clips: int) -> np.ndarray:
    """(C,) how many of some clips show each class: by ``SHARES``, one at least (largest remainders)."""
    spare = clips - len(SHARES)
    ideal = np.maximum(np.array(SHARES) * clips - 1, 0)
    ideal *= spare / ideal.sum() if ideal.sum() else 0.0
    counts = np.floor(ideal).astype(np.int64)
    order = np.argsort(-(ideal - counts), kind="stable")
    counts[order[: spare - int(counts.sum())]] += 1
    result: np.ndarray = counts + 1
    return result
