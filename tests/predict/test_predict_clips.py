"""Frames of a template are predicted by clip and frame number, as by a plain loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_components import Blobs, registered, toy_house  # noqa: F401
from toy_tasks import expression

from fusionkit.contracts import FaceDataset, FrameTable, Task
from fusionkit.engine.source import Source
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.progress import Progress
from fusionkit.predict.predictor import Predictions, Predictor
from fusionkit.predict.submission import all_test_frames, predict_clips, with_test_clips
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec

CLASSES = ("Anger", "neutral", "Fear")
THEIRS = ("Neutral", "Anger", "Fear")
PRIOR = np.array([0.2, 0.1, 0.7])


@dataclass
class Oracle:
    """Predicts given probabilities; records the rows of each call."""

    probs: np.ndarray
    seen: np.ndarray
    impute: str = "nearest"
    classes: tuple[str, ...] = CLASSES
    task: Task = field(default_factory=lambda: expression(CLASSES))
    calls: list[np.ndarray] = field(default_factory=list)

    def predict_dataset(self, source: Source, progress: Progress) -> Predictions:
        self.calls.append(source.rows)
        rows = source.rows
        return Predictions(self.task, source.table, self.probs[rows], self.seen[rows], PRIOR, self.impute)


def source_of(frames: list[tuple[str, int]], split: str = "test") -> Source:
    clip, number = [c for c, _ in frames], [n for _, n in frames]
    table = FrameTable.of(clip, number, [-1] * len(clip), split=[split] * len(clip))
    return Source(Spec("drawn"), cast("FaceDataset", None), np.arange(len(clip)), table)


def by_hand(oracle: Oracle, frames: list[tuple[str, int]], clip: str, number: int) -> int:
    seen = {n: oracle.probs[row] for row, (c, n) in enumerate(frames) if c == clip and oracle.seen[row]}
    if number in seen:
        probs = seen[number]
    elif not seen or oracle.impute == "prior":
        probs = PRIOR
    elif oracle.impute == "nearest":
        probs = seen[min(seen, key=lambda n: (abs(n - number), n))]
    else:
        have = sorted(seen)
        probs = np.array([np.interp(number, have, [seen[n][c] for n in have]) for c in range(3)])
    return {"Anger": 1, "neutral": 0, "Fear": 2}[CLASSES[int(np.argmax(probs))]]


@given(data=st.data())
def test_every_frame_is_predicted_as_by_a_plain_loop(data: Any) -> None:
    frames = sorted(data.draw(st.sets(st.tuples(st.sampled_from("abcd"), st.integers(1, 25)), min_size=1, max_size=40)))
    wanted = data.draw(st.lists(st.tuples(st.sampled_from("abcx"), st.integers(1, 30)), min_size=1, unique=True))
    how = data.draw(st.sampled_from(["nearest", "linear", "prior"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    oracle = Oracle(rng.dirichlet([1, 1, 1], len(frames)), rng.random(len(frames)) < 0.7, how)
    by_clip = {clip: np.array([n for c, n in wanted if c == clip]) for clip, _ in wanted}
    if not set(by_clip) & {clip for clip, _ in frames}:
        with pytest.raises(DataError, match="data set drawn has none of the requested clips"):
            predict_clips(cast("Predictor", oracle), THEIRS, by_clip, source_of(frames), Progress())
        return
    found = predict_clips(cast("Predictor", oracle), THEIRS, by_clip, source_of(frames), Progress())
    for clip, numbers in by_clip.items():
        assert found.predicted[clip].tolist() == [by_hand(oracle, frames, clip, n) for n in numbers.tolist()]
    there = {(c, n) for row, (c, n) in enumerate(frames) if oracle.seen[row]}
    clips = {c for c, _ in there}
    assert found.frames == len(wanted)
    assert found.imputed == sum(c in clips and (c, n) not in there for c, n in wanted)
    assert found.unseen == sum(c not in clips for c, _ in wanted)
    # a clip is smoothed over all its frames, and no other is looked at
    assert [rows.tolist() for rows in oracle.calls] == [[row for row, (c, _) in enumerate(frames) if c in by_clip]]


def test_other_classes_raise_before_anything_is_predicted() -> None:
    oracle = Oracle(np.ones((1, 3)), np.ones(1, bool))
    with pytest.raises(ConfigError, match="only in the template: Other"):
        predict_clips(
            cast("Predictor", oracle), [*THEIRS, "Other"], {"a": np.array([1])}, source_of([("a", 1)]), Progress()
        )
    assert oracle.calls == []


def test_without_a_template_a_clip_ends_with_its_last_frame() -> None:
    found = all_test_frames(source_of([("a", 3), ("a", 5), ("b", 2)]))
    assert {clip: numbers.tolist() for clip, numbers in found.items()} == {"a": [1, 2, 3, 4, 5], "b": [1, 2]}
    with pytest.raises(DataError, match="data set drawn has no test split"):
        all_test_frames(source_of([("a", 3)], split="val"))


@pytest.mark.usefixtures("toy_house")
def test_only_a_data_set_with_an_option_has_test_clips() -> None:
    class Switched(Blobs):
        def __init__(self, clips: int = 4, test: bool = False) -> None:
            super().__init__(clips)

    with registered(DATASETS, "toy-switched", Switched):
        assert with_test_clips(Spec("toy-switched", {"clips": 8})) == Spec("toy-switched", {"clips": 8, "test": True})
    for name in ("toy-blobs", "synthetic"):  # the second has a number of people under that name
        with pytest.raises(ConfigError, match=f"data set {name} has no option that adds a test set"):
            with_test_clips(Spec(name))
