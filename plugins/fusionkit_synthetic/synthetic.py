"""The data set that needs no download: drawn faces of invented people who show the eight ABAW expressions on video."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.errors import ConfigError
from fusionkit_synthetic.cast import Cast
from fusionkit_synthetic.expression import CLASSES
from fusionkit_synthetic.interaction import CLASSES as TWO
from fusionkit_synthetic.interaction import Interaction
from fusionkit_synthetic.options import Sizes, check_interaction, check_options

RENDERER = 1  # raise it when the same options give other pixels than before


class Synthetic(FaceDataset):
    """Procedural faces with the eight ABAW expressions: 60 people, 360 short clips, no download.

    A 112 x 112 px face in the ArcFace geometry is drawn from facial action units over time: onset, apex and offset of
    expressions that overlap between classes, on people who differ, with speech, blinks, pose, light, blur, noise and
    things in the way. Splits share no person. A frame bears the class of the expression under way where that shows at
    least 40 % of its apex, else Neutral; some spans are unlabelled and some frames have no image.

    Every frame is a function of the options and its own place in the table: it is the same in any order of reading, in
    any process and with any number of threads. Other major versions of OpenCV draw a few pixels slightly differently.

    Args:
        train: people in the training split.
        val: people in the validation split.
        test: people in the test split.
        clips: clips a person; each split needs 8 clips or more, so that it holds every class.
        clip_length: mean length of a clip in frames, 6 or more; lengths vary by a fifth.
        seed: draws everything.
        difficulty: 0..1: how weak, incomplete and mixed expressions are, and how much pose, light, blur and things in
            the way disturb.
        noise: 0..3; scales the noise of the camera's sensor.
        missing: share of frames without an image, 0..0.5.
        unlabelled: share of frames without a label, 0..0.3.
        interaction: ``none``: the eight expressions, as above. Otherwise two classes and open or shut eyes and mouths,
            drawn anew for every frame, all labelled: the label hides in the mouth alone (``unique``), in eyes and mouth
            alike (``redundant``) or only in whether they differ (``synergy``).
        label_noise: with an interaction, the share of labels that are wrong, 0..0.4; 0.1 where it is not given. No
            method can be right more often than one minus it; see :meth:`best`.

    Reference:
        P. Ekman, W. V. Friesen, J. C. Hager, Facial Action Coding System, 2002; classes and their skew as in D. Kollias
        et al., The 6th Affective Behavior Analysis in-the-wild (ABAW) Competition, CVPRW 2024, arXiv:2402.19344.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"train": 4, "val": 3, "test": 3, "clips": 4, "clip_length": 8},
        {"train": 4, "val": 3, "test": 3, "clips": 4, "clip_length": 8, "interaction": "synergy"},
    )

    def __init__(
        self,
        train: int = 26,
        val: int = 12,
        test: int = 22,
        clips: int = 6,
        clip_length: int = 16,
        seed: int = 0,
        difficulty: float = 0.5,
        noise: float = 1.0,
        missing: float = 0.02,
        unlabelled: float = 0.05,
        interaction: Literal["none", "unique", "redundant", "synergy"] = "none",
        label_noise: float | None = None,
    ) -> None:
        check_options(
            {"train": train, "val": val, "test": test, "clips": clips, "clip_length": clip_length, "seed": seed},
            {"difficulty": difficulty, "noise": noise, "missing": missing, "unlabelled": unlabelled},
        )
        check_interaction(interaction, label_noise)
        sizes = Sizes(train, val, test, clips, clip_length)
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

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Draw some frames: each (112, 112, 3), or None where the frame has no image."""
        return [self._cast.frame(clip, place) for clip, place in self._places(rows)]

    def content(self) -> str:
        """All options and the version of the renderer."""
        return json.dumps({"renderer": RENDERER, **asdict(self._cast)}, sort_keys=True)

    def where(self, row: int) -> str:
        """The frame's clip and number: there is no file to name."""
        return f"synthetic clip {self.frames.clip[row]} frame {self.frames.number[row]}"

    def best(self, views: tuple[str, ...]) -> float:
        """With an interaction: the accuracy that no method can beat in expectation, given ``eye``, ``mouth`` or both.

        Raises:
            ConfigError: without an interaction, where nobody knows it.
        """
        if isinstance(self._cast, Cast):
            raise ConfigError("synthetic: the best possible score is known with an interaction only")
        return self._cast.best(views)

    def _places(self, rows: np.ndarray) -> list[tuple[int, int]]:
        """(number of the clip, place in it) of each row."""
        clip = np.searchsorted(self._cast.starts, rows, side="right") - 1
        return list(zip(clip.tolist(), (rows - self._cast.starts[clip]).tolist(), strict=True))
