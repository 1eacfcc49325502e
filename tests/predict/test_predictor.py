"""Frames in memory and rows of data sets: clips, frame numbers, and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from toy_components import Blobs, carry_out, registered, toy_house, toy_plan  # noqa: F401
from toy_videos import write_video

import fusionkit
from fusionkit.contracts import Clip, FaceDataset, FrameTable, Smoother
from fusionkit.engine.features import EmbeddingsInMemory
from fusionkit.engine.smooth import TaskSmoother
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.progress import Progress
from fusionkit.media.inputs import ImageSequence, MediaInput
from fusionkit.media.video import MediaFrame
from fusionkit.predict.predictor import Predictor, frame_table
from fusionkit.predict.video.run import VideoOptions, VideoRun
from fusionkit.registry import DATASETS

pytestmark = pytest.mark.usefixtures("toy_house")


@pytest.fixture
def predictor(tmp_path: Path, toy_house: None) -> Predictor:  # noqa: F811
    carry_out(toy_plan(seeds=2, reference="none", smoothers=["toy-box:width=3"]), tmp_path / "run")
    return fusionkit.load(tmp_path / "run", "toy-sum")


def frames() -> list[np.ndarray | None]:
    return Blobs().images(np.arange(16))  # two clips of 8; no image at 5, no bottom at 3 and 10


def unsmoothed(predictor: Predictor) -> np.ndarray:
    """(S, n, C)"""
    return softmax(predictor.logits(predictor.embed(frames())).astype(float), axis=2)


def windowed(probs: np.ndarray, numbers: list[int]) -> np.ndarray:
    """Mean over three frame numbers, over what is there; then the nearest for the rest; then over heads."""
    seen = [n for n in range(len(numbers)) if not np.isnan(probs[0, n, 0])]
    out = np.empty(probs.shape)
    for n in seen:
        out[:, n] = probs[:, [m for m in seen if abs(numbers[m] - numbers[n]) <= 1]].mean(1)
    for n in set(range(len(numbers))) - set(seen):
        out[:, n] = out[:, min(seen, key=lambda m: (abs(numbers[m] - numbers[n]), m))]
    return out.mean(0)


def test_clips_are_smoothed_by_number(predictor: Predictor) -> None:
    numbers = [1, 2, 3, 9, 10, 11, 12, 13, 4, 5, 6, 7, 8, 20, 21, 22]
    found = predictor.predict_proba(frames(), ["a"] * 8 + ["b"] * 8, numbers)
    raw = unsmoothed(predictor)
    expected = np.concatenate([windowed(raw[:, :8], numbers[:8]), windowed(raw[:, 8:], numbers[8:])])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_one_name_or_numbers_alone_are_one_clip(predictor: Predictor) -> None:
    expected = windowed(unsmoothed(predictor), list(range(16)))
    np.testing.assert_allclose(predictor.predict_proba(frames(), "x"), expected, rtol=1e-12)
    np.testing.assert_allclose(predictor.predict_proba(frames(), None, np.arange(16)), expected, rtol=1e-12)


def test_without_either_each_frame_is_a_still_image(predictor: Predictor) -> None:
    found = predictor.predict_proba(frames())
    raw = unsmoothed(predictor)
    there = ~np.isnan(raw[0, :, 0])
    np.testing.assert_allclose(found[there], raw.mean(0)[there], rtol=1e-12)
    np.testing.assert_array_equal(found[~there], predictor.prior[None])
    assert (~there).sum() == 1


def test_no_frames_give_no_rows(predictor: Predictor) -> None:
    assert predictor.predict_proba([]).shape == (0, 3)


def test_a_frame_that_is_no_image_raises(predictor: Predictor) -> None:
    with pytest.raises(DataError, match=r"frame 1 has dtype float64 and shape \(4, 4, 3\); expected uint8"):
        predictor.predict_proba([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3))])


def test_an_instance_gives_what_its_name_gives(predictor: Predictor) -> None:
    rows = np.arange(40, 120)
    named, given = predictor.predict_dataset("toy-blobs", rows), predictor.predict_dataset(Blobs(), rows)
    np.testing.assert_allclose(given.probs, named.probs, rtol=1e-5)
    np.testing.assert_array_equal(given.seen, named.seen)
    np.testing.assert_array_equal(given.labels, named.labels)
    assert given.table.digest() == named.table.digest()


def test_rows_that_are_not_ascending_raise(predictor: Predictor) -> None:
    for rows in ([3, 2], [2, 2], []):
        with pytest.raises(ConfigError, match="rows of a data set must be at least one, and ascending"):
            predictor.predict_dataset("toy-blobs", rows)


class Ready(FaceDataset):
    """The toy's mean colours as ready embeddings."""

    @property
    def classes(self) -> tuple[str, ...]:
        return Blobs().classes

    @property
    def frames(self) -> FrameTable:
        return Blobs(missing=False).frames

    @property
    def views(self) -> tuple[str, ...]:
        return ("face", "bottom")

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        images = Blobs(missing=False).read(rows)
        return np.array([image.mean((0, 1)) + len(view) for image in images if image is not None], np.float32)


@pytest.mark.slow
def test_ready_made_views_are_taken_from_the_data_set(tmp_path: Path, predictor: Predictor) -> None:
    with registered(DATASETS, "toy-ready", Ready):
        plan = toy_plan(datasets=["toy-ready"], seeds=1, reference="none")
        carry_out(plan, tmp_path / "ready")
        ready = fusionkit.load(tmp_path / "ready", "toy-sum")
        head = plan.rows[0].heads[0]
        rows = head.fold_data.rows.test
        stored = np.load(tmp_path / "ready/heads" / head.id / "test_logits.npy")
        probs = ready.predict_dataset("toy-ready", rows).probs
        np.testing.assert_allclose(probs, softmax(stored.astype(float), axis=1), rtol=1e-12)
        np.testing.assert_allclose(ready.predict_dataset(Ready(), rows).probs, probs, rtol=1e-12)
        with pytest.raises(ConfigError, match="view 'face' is ready-made by its data set"):
            ready.embed(frames())
        with pytest.raises(ConfigError, match="needs view 'face' ready-made; data set toy-blobs provides images"):
            ready.predict_dataset("toy-blobs")
        with pytest.raises(
            ConfigError, match="needs view 'face' from toy-colours; data set toy-ready provides it ready-made"
        ):
            predictor.predict_dataset("toy-ready")


def test_columns_that_do_not_match_raise() -> None:
    with pytest.raises(DataError, match="3 frames have 2 clips and 3 numbers"):
        frame_table(3, ["a", "b"], [1, 2, 3])
    with pytest.raises(DataError, match="must be next to each other"):
        frame_table(3, ["a", "b", "a"], None)
    with pytest.raises(DataError, match="must be ascending within a clip"):
        frame_table(3, "a", [1, 1, 2])
    assert frame_table(3, ["a", "b", "b"], [5, 1, 2]).number.tolist() == [5, 1, 2]


class OfSeconds(Smoother):
    """Leaves the first class to a clip of 25 frames per second."""

    needs_rate = True

    def smooth(self, x: np.ndarray, clip: Clip) -> np.ndarray:
        return x + np.eye(x.shape[1])[0] if clip.rate == 25 else x


def test_the_rate_of_frames_in_memory_reaches_the_smoother(predictor: Predictor) -> None:
    smoother = TaskSmoother(predictor.task, [OfSeconds()])
    rated = replace(predictor, heads=tuple(replace(head, smoother=smoother) for head in predictor.heads))
    seen = np.delete(np.arange(16), 5)
    raw = unsmoothed(predictor).mean(0)[seen]
    np.testing.assert_allclose(rated.predict_proba(frames(), "x", rate=30)[seen], raw, rtol=1e-12)
    np.testing.assert_allclose(rated.predict_proba(frames(), "x", rate=25)[seen], (raw + np.eye(3)[0]) / 2, rtol=1e-12)
    with pytest.raises(DataError, match="needs the frames per second of clip 'x', which are unknown"):
        rated.predict_proba(frames(), "x")


def test_an_input_whose_rate_varies_fails_alone_if_the_smoother_needs_it(predictor: Predictor, tmp_path: Path) -> None:
    smoother = TaskSmoother(predictor.task, [OfSeconds()])
    rated = replace(predictor, heads=tuple(replace(head, smoother=smoother) for head in predictor.heads))
    images = [np.full((12, 12, 3), 10 * number, np.uint8) for number in range(1, 11)]
    steady = write_video(tmp_path / "steady.mp4", images)
    varying = write_video(tmp_path / "varying.mp4", images, times=np.cumsum(np.arange(10) / 25).tolist())
    run = VideoRun(rated, VideoOptions(draw=False), tmp_path / "out")
    good, bad = run([MediaInput(path, path.name, path.stem, True) for path in (steady, varying)], Progress())
    assert good.faults == []
    (clip,) = good.clips
    assert (clip.probs[:, 0] > 0.5).all()
    assert bad.faults == [
        f"{varying}: smoother OfSeconds needs the frames per second of clip 'varying', which are unknown"
    ]


def test_the_frames_of_a_video_get_the_answer_of_its_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"datasets": ["toy-clips"], "labels": "clip", "smoothers": ["none"], "recipe": {"epochs": 4}}
    carry_out(toy_plan(seeds=2, reference="none", **chosen), tmp_path / "run")
    predictor = fusionkit.load(tmp_path / "run", "toy-sum")
    images = [image for image in frames() if image is not None]
    video = ImageSequence(Path("v.mp4"), [])
    monkeypatch.setattr(MediaInput, "open", lambda _: video)
    monkeypatch.setattr(video, "frames", lambda: (MediaFrame(n, n / 25, image) for n, image in enumerate(images, 1)))
    (result,) = VideoRun(predictor, VideoOptions(draw=False), tmp_path / "out")(
        [MediaInput(Path("v.mp4"), "v.mp4", "v", True)], Progress()
    )
    assert len(result.outputs) == 1  # for both heads
    (clip,) = result.clips
    np.testing.assert_allclose(clip.probs, predictor.predict_proba(images, "v"), rtol=1e-5)
    own = [
        softmax(head.logits(EmbeddingsInMemory(predictor.embed(images)), frame_table(15, "v", None)).astype(float), 1)
        for head in predictor.heads
    ]
    assert not np.allclose(own[0], own[1])
    np.testing.assert_allclose(clip.probs, np.mean(own, axis=0), rtol=1e-5)
