"""Speed of predicting videos, the share of each step, and memory by length of the video.

    python benchmarks/video.py                                   # a detector that knows the position of the face
    python benchmarks/video.py --detector yunet:model=FILE       # a real one

A photo of a face moves and rotates through a video of 640 x 480 px, H.264, which is predicted by cells trained on drawn
faces, with face, eye and mouth and each backbone. Each pass is a process of its own, over a short video and over one of
20 times the length. Times are wall-clock and CPU seconds; shares are of the pass without start-up; memory is the peak
of RssAnon, the private memory of the process, minus its value before the first frame.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import fusionkit
from fusionkit.contracts import Extractor, Face, Located
from fusionkit.grid.progress import Progress
from fusionkit.media.face_tracking import DetectionOptions
from fusionkit.media.inputs import find_inputs, join_numbered_images
from fusionkit.media.video_writer import VideoWriter
from fusionkit.predict.video.run import VideoOptions, VideoRun
from fusionkit.registry import EXTRACTORS
from fusionkit.registry.spec import Spec

HEIGHT, WIDTH = 480, 640
BACKBONES = ["hog", "tiny-mae"]
STEPS = ["decoding", "detection", "cutting", "embedding", "heads", "drawing"]
# The face's five points in skimage's photo of an astronaut: eyes, tip of the nose, corners of the mouth.
POINTS = np.array([(205.1, 100.1), (249.5, 104.9), (223.9, 126.3), (202.6, 141.2), (241.4, 145.2)])
INTERVAL = 0.02  # s between samples of the memory


def drift(number: int) -> np.ndarray:
    """Return the similarity (2, 3) from the photo to a frame."""
    turn = np.radians(12 * np.sin(number / 40))
    linear = 1.2 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([WIDTH / 2 + 120 * np.sin(number / 70), HEIGHT / 2 + 60 * np.cos(number / 50)])
    return np.column_stack([linear, middle - linear @ POINTS.mean(0)])


def frames(count: int) -> Iterator[np.ndarray]:
    """Yield the photo at each position."""
    import cv2
    from skimage import data

    photo = np.ascontiguousarray(data.astronaut())
    for number in range(count):
        yield cv2.warpAffine(photo, drift(number), (WIDTH, HEIGHT), borderValue=(90, 90, 90))


class Known(Extractor):
    """Returns the known position of the face, at no cost."""

    def __init__(self) -> None:
        self.number = 0

    @property
    def regions(self) -> tuple[str, ...]:
        """Return none: it only detects faces."""
        return ()

    def locate(self, frames: Any) -> Located:
        """Return no boxes."""
        return Located(np.empty((len(frames), 0, 5)), np.empty((len(frames), 0)))

    def faces(self, frame: np.ndarray) -> list[Face]:
        """Return the face of the next frame."""
        similarity = drift(self.number)
        self.number += 1
        points = POINTS @ similarity[:, :2].T + similarity[:, 2]
        return [Face(np.concatenate([points.min(0) - 40, points.max(0) + 40]), 1.0, points)]


def private_memory() -> int:
    """Return the private memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


class Peak(threading.Thread):
    """Record the peak of memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.stop = private_memory(), False

    def run(self) -> None:
        """Sample the memory until ``stop`` is set."""
        while not self.stop:
            self.most = max(self.most, private_memory())
            time.sleep(INTERVAL)


def one_pass(run: str, backbone: str, video: str, detector: str, *, stream: bool, draw: bool) -> dict[str, Any]:
    """Predict one video in this process."""
    import matplotlib.backends.backend_agg  # noqa: F401  # imported before anything is measured
    import matplotlib.figure  # noqa: F401  # imported before anything is measured

    EXTRACTORS.register_module(name="known", module=Known)
    predictor = fusionkit.load(f"{run}/{backbone}", "mlp/exponential")
    warm = np.zeros((112, 112, 3), np.uint8)
    predictor.predict_proba([warm] * 64)
    detection = DetectionOptions(EXTRACTORS.build(Spec.parse(detector)))
    with tempfile.TemporaryDirectory() as out:
        video_run = VideoRun(predictor, VideoOptions(detection, stream=stream, draw=draw), Path(out))
        before, peak = private_memory(), Peak()
        peak.start()
        wall, processor = time.perf_counter(), time.process_time()
        (result,) = video_run(join_numbered_images(find_inputs([video])[0]), Progress())
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        peak.stop = True
    steps = dict(video_run.clock.seconds)
    steps["heads"] = steps.get("heads", 0.0) + steps.pop("smoothing", 0.0)
    found = {"frames": len(result), "wall": wall, "processor": processor, "steps": steps}
    found["memory"] = max(peak.most - before, 0)
    found["seen"] = float(np.mean([clip.seen.mean() for clip in result.clips]))
    if stream:
        found["latency"] = float(np.median(result.latency.values))
    return found


def in_new_process(**words: Any) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", json.dumps(words)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=150, help="length of the short video")
    parser.add_argument("--detector", default="known")
    parser.add_argument(
        "--backbone", action="append", choices=BACKBONES, help="backbone to measure; repeatable; default: all"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_pass(**json.loads(options.one))))
        return
    with tempfile.TemporaryDirectory() as home:
        for backbone in options.backbone or BACKBONES:
            fusionkit.bench(
                out=f"{home}/{backbone}",
                datasets=["synthetic:train=2,val=2,test=2,clips=4,clip_length=6"],
                backbones=[backbone],
                regions=["eye,mouth"],
                fusions=["mlp"],
                smoothers=["exponential"],
                seeds=1,
                reference="none",
                recipe={"epochs": 2},
            )
        lengths = (options.frames, 20 * options.frames)
        for length in lengths:
            with VideoWriter(Path(home, f"{length}.mp4")) as writer:
                for image in frames(length):
                    writer.add(image, float("nan"))
        table = Table("backbone", "mode", "frames", "frames/s", "ms CPU", *STEPS, "MiB", "latency ms")
        console = Console(width=150)
        for backbone in options.backbone or BACKBONES:
            for mode in ("batches", "stream", "annotated"):
                for length in lengths:
                    if mode == "annotated" and length != lengths[0]:
                        continue
                    found = in_new_process(
                        run=home,
                        backbone=backbone,
                        video=f"{home}/{length}.mp4",
                        detector=options.detector,
                        stream=mode == "stream",
                        draw=mode == "annotated",
                    )
                    assert found["frames"] == length
                    table.add_row(
                        backbone,
                        mode,
                        f"{length:,}",
                        f"{length / found['wall']:.0f}",
                        f"{1e3 * found['processor'] / length:.1f}",
                        *(f"{found['steps'].get(step, 0.0) / found['wall']:.0%}" for step in STEPS),
                        f"{found['memory'] / 2**20:.0f}",
                        f"{1e3 * found['latency']:.1f}" if "latency" in found else "",
                    )
                    print(f"{backbone} {mode} {length}: face in {found['seen']:.1%}", file=sys.stderr)
        console.print(table)


if __name__ == "__main__":
    main()
