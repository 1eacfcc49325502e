"""Memory while a long recording is answered: that of a short one, and some hundred bytes a frame."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

import fusionkit
from fusionkit.grid.progress import Progress
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import DetectionOptions
from fusionkit.media.recording import Recording
from fusionkit.media.video import MediaFrame
from fusionkit.predict.video.predictors import BatchPredictor, StreamingPredictor
from fusionkit.predict.video.reading import answered

pytestmark = pytest.mark.usefixtures("toy_house")
SIDE = 256  # 192 KiB a frame, so that no frame can be kept unnoticed


class Endless(Recording):
    """A video that is made while it is read; notes the most memory that the process had."""

    def __init__(self, count: int) -> None:
        super().__init__("v", Path("v.mp4"), moving=True)
        self.count, self.most = count, 0

    def expected(self) -> int:
        return self.count

    def frames(self) -> Iterator[MediaFrame]:
        rng = np.random.default_rng(0)
        for number in range(1, self.count + 1):
            if number % 25 == 0:
                self.most = max(self.most, anonymous())
            image = np.full((SIDE, SIDE, 3), rng.integers(256), np.uint8)
            yield MediaFrame(number, number / 25, image)


def anonymous() -> int:
    """Bytes of the process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")
@pytest.mark.parametrize("kind", [BatchPredictor, StreamingPredictor])
def test_memory_does_not_grow_with_length(tmp_path: Path, kind: type[BatchPredictor | StreamingPredictor]) -> None:
    carry_out(toy_plan(seeds=2, reference="none", smoothers=["exponential"]), tmp_path / "run")
    predictor = fusionkit.load(tmp_path / "run", "toy-sum")

    def most(count: int) -> int:
        recording = Endless(count)
        answerer = kind(predictor, 64 if kind is BatchPredictor else 1, Clock())
        (outcome,) = answered([recording], DetectionOptions(), answerer, Clock(), Progress())
        assert (len(outcome.clips[0].frames), outcome.clips[0].seen.all()) == (count, True)
        gc.collect()
        return recording.most

    most(50)
    short, long = most(50), most(1000)
    # 950 frames more are 187 MB of pixels; what is kept of them is below a kilobyte each.
    assert long - short < 16 << 20
