"""Frames one by one get the predictions of the whole clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_components import Blobs, carry_out, toy_house, toy_plan  # noqa: F401

import fusionkit
from fusionkit.errors import ConfigError, DataError
from fusionkit.predict.predictor import Predictor, causal_smoothers

pytestmark = pytest.mark.usefixtures("toy_house")


@pytest.fixture
def predictor(tmp_path: Path, toy_house: None) -> Predictor:  # noqa: F811
    plan = toy_plan(seeds=2, reference="none", smoothers=["exponential:half_life=2", "toy-box:width=3"])
    carry_out(plan, tmp_path / "run")
    return fusionkit.load(tmp_path / "run", "toy-sum/exponential")


def clip() -> list[np.ndarray | None]:
    return Blobs().images(np.arange(8))  # no image at 5, no bottom at 3


NUMBERS = [1, 2, 3, 9, 10, 11, 12, 20]


def test_each_frame_gets_the_prediction_of_the_whole_clip(predictor: Predictor) -> None:
    expected = predictor.predict_proba(clip(), "x", NUMBERS)
    stream = predictor.stream()
    assert stream.classes == predictor.classes
    for _ in range(2):  # reset() starts a new clip
        found = [stream(frame, number) for frame, number in zip(clip(), NUMBERS, strict=True)]
        assert [index for index, probs in enumerate(found) if probs is None] == [5]
        for index, probs in enumerate(found):
            if probs is not None:
                np.testing.assert_allclose(probs, expected[index], atol=1e-6)
        stream.reset()


@pytest.mark.parametrize("smoother", ["none", "exponential:half_life=2"])
@pytest.mark.parametrize("fusion", ["gated-gru:width=8,window=4", "temporal-transformer:width=8,window=3,causal=true"])
def test_a_causal_fusion_over_time_gives_a_stream_the_numbers_of_its_clip(
    tmp_path: Path, fusion: str, smoother: str
) -> None:
    plan = toy_plan(seeds=2, reference="none", fusions=[fusion], smoothers=[smoother])
    carry_out(plan, tmp_path / "run")
    predictor = fusionkit.load(tmp_path / "run", fusion.partition(":")[0])
    frames = Blobs().images(np.arange(30))  # longer than a window; some without image or bottom
    numbers = [2 * number + number // 5 for number in range(30)]
    expected = predictor.predict_proba(frames, "x", numbers)
    alone = predictor.predict_proba(frames)
    stream = predictor.stream()
    found = [stream(frame, number) for frame, number in zip(frames, numbers, strict=True)]
    seen = [index for index, probs in enumerate(found) if probs is not None]
    assert len(seen) == sum(frame is not None for frame in frames) < 30
    np.testing.assert_allclose([found[index] for index in seen], expected[seen], atol=1e-5)
    assert np.abs(expected - alone)[seen].max() > 1e-3  # the frames before matter


def test_a_fusion_that_uses_later_frames_is_not_streamed(tmp_path: Path) -> None:
    carry_out(
        toy_plan(seeds=1, reference="none", fusions=["gated-gru:width=8,causal=false"], smoothers=["none"]),
        tmp_path / "run",
    )
    with pytest.raises(ConfigError, match=r"cannot be streamed: its fusion uses later frames .*a causal fusion"):
        fusionkit.load(tmp_path / "run", "gated-gru").stream()


def test_without_numbers_frames_are_consecutive(predictor: Predictor) -> None:
    expected = predictor.predict_proba(clip(), "x")
    stream = predictor.stream()
    for index, frame in enumerate(clip()):
        probs = stream(frame)
        if probs is not None:
            np.testing.assert_allclose(probs, expected[index], atol=1e-6)


def test_two_streams_are_independent(predictor: Predictor) -> None:
    one, other = predictor.stream(), predictor.stream()
    frames = [frame for frame in clip() if frame is not None]
    alone = predictor.stream()
    expected = [alone(frame) for frame in frames[:3]]
    found = []
    for frame in frames[:3]:
        other(frames[-1])
        found.append(one(frame))
    np.testing.assert_array_equal(np.array(found), np.array(expected))


def test_frames_come_in_order_and_are_images(predictor: Predictor) -> None:
    stream = predictor.stream()
    stream(clip()[0], 4)
    with pytest.raises(DataError, match=r"frame 4 follows frame 4: .* \(reset\(\) starts a new clip\)"):
        stream(clip()[1], 4)
    with pytest.raises(DataError, match=r"frame 5 has dtype float64 and shape \(4, 4, 3\); expected uint8"):
        stream(np.zeros((4, 4, 3)), 5)


def test_a_smoother_that_uses_later_frames_raises(tmp_path: Path, predictor: Predictor) -> None:
    late = fusionkit.load(tmp_path / "run", "toy-sum/toy-box")
    with pytest.raises(ConfigError, match=r"uses later frames .*exponential, hmm-filter, kalman-filter, none"):
        late.stream()
    assert causal_smoothers() == ["exponential", "hmm-filter", "kalman-filter", "none"]
