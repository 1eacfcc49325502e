"""Memory while a long video is predicted: that of a short one, and some hundred bytes per frame."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

import fusionkit
from fusionkit.grid.progress import Progress
from fusionkit.media.inputs import ImageSequence, MediaInput
from fusionkit.media.video import MediaFrame
from fusionkit.predict.video.run import VideoOptions, VideoRun

pytestmark = pytest.mark.usefixtures("toy_house")
SIDE = 256  # 192 KiB a frame, so that no frame can be kept unnoticed


class Generated(ImageSequence):
    """Frames that are made while they are read; records the peak of the memory of the process."""

    def __init__(self, count: int) -> None:
        super().__init__(Path("v.mp4"), [])
        self.count, self.most = count, 0

    def frames(self, after: int = 0) -> Iterator[MediaFrame]:
        rng = np.random.default_rng(0)
        for number in range(1, self.count + 1):
            if number % 25 == 0:
                self.most = max(self.most, anonymous())
            image = np.full((SIDE, SIDE, 3), rng.integers(256), np.uint8)
            yield MediaFrame(number, number / 25, image)


def anonymous() -> int:
    """Bytes of the process that no file backs."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")
@pytest.mark.parametrize("stream", [False, True])
def test_memory_does_not_grow_with_length(tmp_path: Path, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(toy_plan(seeds=2, reference="none", smoothers=["exponential"]), tmp_path / "run")
    predictor = fusionkit.load(tmp_path / "run", "toy-sum")

    def most(count: int) -> int:
        reader = Generated(count)
        monkeypatch.setattr(MediaInput, "open", lambda _: reader)
        run = VideoRun(predictor, VideoOptions(stream=stream, draw=False), tmp_path / "out")
        (result,) = run([MediaInput(Path("v.mp4"), "v.mp4", "v", True)], Progress())
        assert (len(result.clips[0].frames), result.clips[0].seen.all()) == (count, True)
        gc.collect()
        return reader.most

    most(50)
    short, long = most(50), most(1000)
    # 950 frames more are 187 MB of pixels; less than a kilobyte of each is kept.
    assert long - short < 16 << 20
