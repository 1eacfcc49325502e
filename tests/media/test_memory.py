"""Memory does not grow with the length of a video."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_videos import write_video

FRAMES = 30
SIDE = 320  # of a frame, which holds 0.3 MB

MEASURE = """
import json, resource, sys
from pathlib import Path
import numpy as np
from fusionkit.contracts import Face
from fusionkit.contracts.extractor import TEMPLATE
from fusionkit.media.align import align
from fusionkit.media.face_tracking import DetectionOptions
from fusionkit.media.inputs import find_inputs
from fusionkit_faces.detector import Detector

class Still(Detector):
    "Detects the same face in every frame."
    def faces(self, frame):
        return [Face(np.array([50.0, 50, 160, 160]), 0.9, TEMPLATE + 50)]

peaks = []
for path in sys.argv[2:]:
    found, _ = find_inputs([path])
    options = DetectionOptions(Still("largest", "emotic", None))
    (outcome,) = align(found, options, {}, Path(sys.argv[1]))
    peaks.append([outcome.result.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])
print(json.dumps(peaks))
"""


@pytest.mark.slow
def test_a_video_of_twenty_times_the_length_takes_no_more_memory(tmp_path: Path):
    rng = np.random.default_rng(0)
    few = [
        np.kron(rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(5)
    ]
    paths = []
    for name, count in (("warm", FRAMES), ("short", FRAMES), ("long", 20 * FRAMES)):
        paths.append(write_video(tmp_path / f"{name}.mp4", (few[number % 5] for number in range(count))))
    words = [sys.executable, "-c", MEASURE, str(tmp_path / "out"), *map(str, paths)]
    found = subprocess.run(words, capture_output=True, text=True, env=os.environ, check=True)
    _, (short, before), (long, after) = json.loads(found.stdout)
    assert (short, long) == (FRAMES, 20 * FRAMES)
    held = (long - short) * SIDE * SIDE * 3 / 1024  # KiB, if every frame were kept
    assert after - before < held / 20
