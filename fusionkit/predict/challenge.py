"""A challenge submission: what a cell predicts for every row of a template, or for every frame of a test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fusionkit.engine.smooth import clips
from fusionkit.engine.source import Source
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.progress import Progress
from fusionkit.options import options_of
from fusionkit.predict.predictor import Predictor
from fusionkit.registry import DATASETS
from fusionkit.report.submission import class_order
from fusionkit.spec import Spec


@dataclass(frozen=True, eq=False)
class Answer:
    """What a cell says of the frames of a challenge.

    Attributes:
        predicted: (T,) class numbers of the frames that were asked for, by clip.
        imputed: how many of them have no view, in clips that have some.
        unseen: how many are in clips without any view: they get the class that training has most frames of.
    """

    predicted: dict[str, np.ndarray]
    imputed: int
    unseen: int

    @property
    def frames(self) -> int:
        """How many were asked for."""
        return sum(map(len, self.predicted.values()))


def with_test_clips(dataset: Spec) -> Spec:
    """The data set with its test clips, as its option ``test`` adds them.

    Raises:
        ConfigError: if it has no such switch.
    """
    option = options_of(DATASETS.get(dataset.name)).get("test")
    if option is None or not isinstance(option.default, bool):
        raise ConfigError(
            f"data set {dataset.name} has no option that adds a test set", hint="name the frames: --dataset"
        )
    return Spec(dataset.name, {**dataset.options, "test": True})


def answer(
    predictor: Predictor,
    classes: Sequence[str],
    wanted: Mapping[str, np.ndarray],
    source: Source,
    progress: Progress,
) -> Answer:
    """Predict some frames of some clips.

    Clips are smoothed over all their frames in the data set, whether they are asked for or not; then the frames are
    read off by number, and imputed where the data set has no image of them.

    Args:
        predictor: of the cell.
        classes: names, in the order of the numbers that are wanted.
        wanted: (T,) frame numbers by clip, in any order.
        source: the data set that has them.
        progress: told of the frames.

    Raises:
        ConfigError: if the cell's classes are others.
        DataError: if the data set has none of the clips.
        FusionKitError: if a component fails.
    """
    order = class_order(predictor.classes, classes)
    spans = [span for span in clips(source.table) if str(source.table.clip[span.start]) in wanted]
    if not spans:
        raise DataError(f"data set {source.spec} has none of the clips, {next(iter(wanted))!r} for one")
    rows = np.concatenate([np.arange(span.start, span.stop) for span in spans])
    found = predictor.predict_dataset(source.take(rows), progress=progress)
    predicted, imputed, unseen = {}, 0, 0
    for clip, numbers in wanted.items():
        probs, seen = found.at(clip, numbers)
        predicted[clip] = order[probs.argmax(1)]
        if found.has(clip):
            imputed += int((~seen).sum())
        else:
            unseen += len(numbers)
    return Answer(predicted, imputed, unseen)


def all_test_frames(source: Source) -> dict[str, np.ndarray]:
    """Frames 1 to the last one of each clip of the test split, by clip.

    Raises:
        DataError: if there is no test split.
    """
    table = source.table
    found = {
        str(table.clip[span.start]): np.arange(1, int(table.number[span.stop - 1]) + 1)
        for span in clips(table)
        if table.split[span.start] == "test"
    }
    if not found:
        raise DataError(f"data set {source.spec} has no test split", hint="a template says which frames are asked for")
    return found
