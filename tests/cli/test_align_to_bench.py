"""From videos to a benchmark: what ``fusionkit align`` writes is read by data sets ``folder`` and ``affwild2``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import output_of
from toy_faces import frame_of, place, register
from toy_videos import write_video

from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec

EMPTY = np.full((120, 240, 3), 128, np.uint8)
BENCH = ("--backbone", "hog", "--regions", "mouth", "--fusion", "plain-concat", "--smoother", "none", "--seeds", "1")
QUICK = ("--recipe", "epochs=8", "--executor", "serial", "--out", "runs")


@pytest.fixture(autouse=True)
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_page: None) -> None:
    monkeypatch.chdir(tmp_path)
    register()


def film(path: Path, mood: float, seed: int, two: bool = False) -> None:
    """Eight frames, without a face in the third."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(8):
        faces = [place(60 + rng.normal(), 60 + rng.normal(), 0.9, rng.normal() * 8)]
        faces += [place(180, 60, 0.7)] if two else []
        frames.append(EMPTY if number == 2 else frame_of(*faces, height=120, width=240, mood=mood))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames)


@pytest.mark.slow
def test_videos_in_class_folders_are_benched_as_a_folder() -> None:
    for split, count in (("train", 4), ("val", 2)):
        for place_, (name, mood) in enumerate((("glad", 1.0), ("sad", -1.0))):
            for number in range(count):
                film(Path(f"videos/{split}/{name}/{split}{number}{name}.mp4"), mood, 10 * number + place_, number == 1)
    output_of("align", "videos", "--detector", "dots", "--people", "largest", "--out", "aligned")
    spec = "folder:root=aligned/cropped_aligned,clip=(.+)/"
    data = DATASETS.build(Spec.parse(spec))
    assert data.classes == ("glad", "sad")
    table = data.frames
    assert len(table) == 12 * 7
    assert len(set(table.clip.tolist())) == 12
    first = table.clip == table.clip[0]
    assert table.number[first].tolist() == [1, 2, 4, 5, 6, 7, 8]  # the frame without a face is a gap in time
    output_of("bench", "--dataset", spec, "--extractor", "template:layout=arcface", *BENCH, *QUICK)
    last = Path("runs/results.csv").read_text(encoding="utf-8").splitlines()[-1].split(",")
    header = Path("runs/results.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert float(last[header.index("macro_f1")]) > 0.9  # the mouths tell


@pytest.mark.slow
def test_annotated_videos_are_benched_as_aff_wild2() -> None:
    for name in ("a", "b", "c"):
        film(Path(f"videos/{name}.mp4"), 1.0, ord(name), two=name == "b")
    output_of("align", "videos", "--detector", "dots", "--out", "Aff-Wild2")
    assert sorted(path.name for path in Path("Aff-Wild2/cropped_aligned").iterdir()) == ["a", "b_left", "b_right", "c"]
    header = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    for split, clips in (("Train_Set", ("a", "b_left")), ("Validation_Set", ("c",))):
        folder = Path("Aff-Wild2/annotations/EXPR_Recognition_Challenge", split)
        folder.mkdir(parents=True)
        for clip in clips:
            (folder / f"{clip}.txt").write_text("\n".join([header, *"04440404"]), encoding="utf-8")
    data = DATASETS.build(Spec.parse("affwild2:root=Aff-Wild2"))
    table = data.frames
    assert {clip: int((table.clip == clip).sum()) for clip in set(table.clip.tolist())} == {"a": 8, "b_left": 8, "c": 8}
    there = data.has_image()
    for clip in ("a", "b_left", "c"):
        assert table.number[(table.clip == clip) & ~there].tolist() == [3]  # scored, and counted as not covered
