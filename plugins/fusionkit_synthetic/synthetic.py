"""The data set that needs no download: drawn faces of invented persons with the eight ABAW expressions on video."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Count, FaceDataset, FrameTable, Labels, Natural, Range
from fusionkit.errors import ConfigError
from fusionkit_synthetic.action import UNITS
from fusionkit_synthetic.affect import DIMENSIONS
from fusionkit_synthetic.cast import Cast, Sizes
from fusionkit_synthetic.expression import CLASSES
from fusionkit_synthetic.interaction import CLASSES as TWO
from fusionkit_synthetic.interaction import Interaction

MOST_FRAMES = 10_000_000
RENDERER = 1  # raise it when the same options give other pixels than before


class Synthetic(FaceDataset):
    """Procedural faces with the eight ABAW expressions: 60 persons, 360 short clips, no download.

    A 112 x 112 px face in the ArcFace geometry is drawn from facial action units over time: onset, apex and offset of
    expressions that overlap between classes, on different persons, with speech, blinks, pose, light, blur, noise and
    occlusions. Splits share no person. The label of a frame is the current expression if it is at 40 % of its apex or
    more, else Neutral; some spans are unlabelled and some frames have no image.

    Labels of ``action-units``: the 21 drawn units, ``AU1`` to ``AU43``, active from an intensity of 0.3 on either side,
    speech and blinks included. Labels of ``valence-arousal``: places of the six expressions on Russell's circle, mixed
    by the intensities of the drawn units without speech and blinks, so that they rise and fall with an expression, and
    compound expressions lie between. Frames without a label have none for any task.

    A frame depends only on the options and its row: it is the same in any order of reading, in any process and with any
    number of threads. Other major versions of OpenCV draw a few pixels slightly differently.

    Args:
        train: persons in the training split.
        val: persons in the validation split.
        test: persons in the test split.
        clips: clips per person; a split needs at least 8 clips, so that it has every class.
        clip_length: mean length of a clip in frames; lengths vary by a fifth.
        seed: seed of everything.
        difficulty: weakness, incompleteness and mixture of expressions, and strength of pose, light, blur and
            occlusions.
        noise: factor for the noise of the camera's sensor.
        missing: fraction of frames without an image.
        unlabelled: fraction of frames without a label.
        interaction: ``none``: the eight expressions, as above. Otherwise two classes, with eyes and mouth drawn open or
            shut for every frame, all labelled: the label depends on the mouth alone (``unique``), equally on eyes and
            mouth (``redundant``), or only on whether they differ (``synergy``). It has no labels of other tasks.
        label_noise: fraction of wrong labels with an interaction. Default: 0.1. The accuracy of any method is at most
            one minus it; see :meth:`best`.

    Raises:
        ConfigError: if a split has fewer than 8 clips, all have more than 10 million frames, or ``label_noise`` is
            given without an interaction.

    Reference:
        P. Ekman, W. V. Friesen, J. C. Hager, Facial Action Coding System, 2002; classes and their skew as in D. Kollias
        et al., The 6th Affective Behavior Analysis in-the-wild (ABAW) Competition, CVPRW 2024, arXiv:2402.19344; J. A.
        Russell, A circumplex model of affect, Journal of Personality and Social Psychology 39 (1980), 1161-1178.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"train": 4, "val": 3, "test": 3, "clips": 4, "clip_length": 8},
        {"train": 4, "val": 3, "test": 3, "clips": 4, "clip_length": 8, "interaction": "synergy"},
    )

    def __init__(
        self,
        train: Count = 26,
        val: Count = 12,
        test: Count = 22,
        clips: Count = 6,
        clip_length: Annotated[int, Range(least=6)] = 16,
        seed: Natural = 0,
        difficulty: Annotated[float, Range(least=0, most=1)] = 0.5,
        noise: Annotated[float, Range(least=0, most=3)] = 1.0,
        missing: Annotated[float, Range(least=0, most=0.5)] = 0.02,
        unlabelled: Annotated[float, Range(least=0, most=0.3)] = 0.05,
        interaction: Literal["none", "unique", "redundant", "synergy"] = "none",
        label_noise: Annotated[float, Range(least=0, most=0.4)] | None = None,
    ) -> None:
        sizes = Sizes(train, val, test, clips, clip_length)
        problems = [
            f"synthetic: {split}={persons} with clips={clips} gives {persons * clips} clips; a split needs at least "
            f"{len(CLASSES)} to have every class"
            for split, persons in sizes.splits
            if persons * clips < len(CLASSES)
        ]
        if (frames := sizes.total_clips * clip_length) > MOST_FRAMES:
            problems.append(f"synthetic: about {frames:,} frames; at most {MOST_FRAMES:,} are drawn")
        if label_noise is not None and interaction == "none":
            problems.append("synthetic: label_noise requires an interaction")
        if problems:
            raise ConfigError(problems)
        self._cast: Cast | Interaction
        if interaction == "none":
            self._cast = Cast(sizes, seed, float(difficulty), float(noise), float(missing), float(unlabelled))
        else:
            wrong = 0.1 if label_noise is None else float(label_noise)
            self._cast = Interaction(interaction, wrong, sizes, seed, float(difficulty), float(noise), float(missing))

    @property
    def classes(self) -> tuple[str, ...]:
        """The eight classes of the ABAW expression challenge, in its order; two with an interaction."""
        return CLASSES if isinstance(self._cast, Cast) else TWO

    @cached_property
    def frames(self) -> FrameTable:
        """The table; no image is drawn for it."""
        return self._cast.table()

    def labels(self, task: str) -> Labels | None:
        """Return expressions, ``action-units`` or ``valence-arousal``; no image is drawn for them."""
        if task == "action-units" and isinstance(self._cast, Cast):
            return Labels(tuple(f"AU{unit}" for unit in UNITS), self._cast.action_units)
        if task == "valence-arousal" and isinstance(self._cast, Cast):
            return Labels(DIMENSIONS, self._cast.affect)
        return super().labels(task)

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Draw frames: each (112, 112, 3), or None if the frame has no image."""
        starts = self._cast.starts
        clips = np.searchsorted(starts, rows, side="right") - 1
        indices = rows - starts[clips]
        return [self._cast.frame(clip, index) for clip, index in zip(clips.tolist(), indices.tolist(), strict=True)]

    def content(self) -> str:
        """Return all options and the version of the renderer."""
        return json.dumps({"renderer": RENDERER, **asdict(self._cast)}, sort_keys=True)

    def where(self, row: int) -> str:
        """Return clip and number of the frame; there is no file."""
        return f"synthetic clip {self.frames.clip[row]} frame {self.frames.number[row]}"

    def best(self, views: tuple[str, ...]) -> float:
        """Return the highest possible expected accuracy with an interaction and the views ``eye``, ``mouth`` or both.

        Raises:
            ConfigError: without an interaction, since it is then unknown.
        """
        if isinstance(self._cast, Cast):
            raise ConfigError("synthetic: the highest possible score is known only with an interaction")
        return self._cast.best(views)
