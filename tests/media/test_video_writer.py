"""Videos are written with the time of each frame, completely or not at all."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from fusionkit.errors import StorageError
from fusionkit.media.video_writer import VideoWriter

NAN = float("nan")


def shades(path: Path) -> list[tuple[float, float]]:
    with av.open(str(path)) as container:
        return [(float(f.time), float(f.to_ndarray(format="rgb24").mean())) for f in container.decode(video=0)]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        ([0.0, 0.04, 0.1, 1.5], [0.0, 0.04, 0.1, 1.5]),
        ([NAN] * 4, [0.0, 0.04, 0.08, 0.12]),
        ([0.2, NAN, 0.1, 0.5], [0.2, 0.24, 0.24001, 0.5]),
    ],
)
def test_frames_are_read_back_in_order_and_on_time(tmp_path: Path, seconds: list[float], shown: list[float]) -> None:
    with VideoWriter(tmp_path / "below/m.mp4") as writer:
        for place, time in enumerate(seconds):
            writer.add(np.full((48, 64, 3), 60 * place + 20, np.uint8), time)
    found = shades(tmp_path / "below/m.mp4")
    assert [time for time, _ in found] == pytest.approx(shown, abs=1e-3)
    assert [shade for _, shade in found] == pytest.approx([20, 80, 140, 200], abs=4)


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "m.mp4").write_bytes(b"old")

    def interrupted() -> None:
        with VideoWriter(tmp_path / "m.mp4") as writer:
            writer.add(np.zeros((48, 64, 3), np.uint8), 0.0)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"m.mp4": b"old"}


def test_a_path_that_cannot_be_written_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with (
        pytest.raises(StorageError, match=r"file/m\.mp4 cannot be written"),
        VideoWriter(tmp_path / "file/m.mp4") as writer,
    ):
        writer.add(np.zeros((48, 64, 3), np.uint8), 0.0)
