"""The page on photos and videos: its commands, in their order, go from scenes to a benchmark."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import pytest
from command_line import output_of
from toy_faces import frame_of, place, register
from toy_videos import write_video

PAGE = Path(__file__).parents[2] / "docs/video.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def video_commands() -> list[str]:
    """Every command of the page on videos, in its order."""
    return [line for block in blocks("bash") for line in block.splitlines()]


@pytest.mark.slow
def test_the_commands_of_the_page_on_videos_go_from_scenes_to_a_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a detector of drawn faces in the place of YuNet's and insightface's models."""
    register()
    monkeypatch.chdir(tmp_path)
    frames = [frame_of(place(60 + n, 60, 0.8), height=120, width=160, mood=1) for n in range(6)]
    for name in ("train/glad/a", "train/sad/b", "train/glad/c", "train/sad/d", "val/glad/e", "val/sad/f"):
        Path("videos", name).parent.mkdir(parents=True, exist_ok=True)
        write_video(Path("videos", f"{name}.mp4"), frames)
    Path("photos").mkdir()
    cv2.imwrite("photos/one.png", frames[0][..., ::-1])
    write_video(Path("more.mp4"), frames)
    for split, clips in (("Train_Set", "abcd"), ("Validation_Set", "ef")):
        folder = Path("Aff-Wild2/annotations/EXPR_Recognition_Challenge", split)
        folder.mkdir(parents=True)
        for clip in clips:
            header = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
            (folder / f"{clip}.txt").write_text("\n".join([header, *"01234567"]), encoding="utf-8")
    exec(compile(blocks("python")[0], "group.py", "exec"), {})
    assert sorted(path.name for path in Path("group").iterdir()) == ["1.png", "2.png", "3.png"]
    for command in video_commands():
        words = shlex.split(re.sub(r"yunet:model=yunet\.onnx|insightface:pack=buffalo_l", "dots", command))[1:]
        words += ["--dry-run"] if words[0] == "bench" else []
        output_of(*(word.replace("dots,", "dots:") for word in words))
