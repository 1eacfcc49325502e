"""What the README and the docs tell people to type works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import pytest
from toy_faces import frame_of, place, register
from toy_videos import write_video
from typer.testing import CliRunner

from fusionkit.cli import app

ROOT = Path(__file__).parents[2]
PIPELINE = "paper/pipeline_tiny"  # its commands go together: test_paper_pipeline.py
SMALL = "--dataset synthetic:train=8,val=6,test=6,clips=4,clip_length=8 --recipe epochs=1 --seeds 1 --smoother none"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every ``fusionkit`` command in README and docs that needs no data, files or cluster of the reader's own."""
    found = [
        line.partition("#")[0].strip()
        for name in ("README.md", "docs/plugins.md", "docs/results.md", "docs/paper.md")
        for block in blocks(name, "bash")
        if PIPELINE not in block
        for line in block.splitlines()
        if line.startswith("fusionkit ")
    ]
    own = ("root=faces", "gated_sum.py", "root=Aff-Wild2", "fusionkit submit")
    return [line for line in found if not any(text in line for text in own)]


@pytest.mark.parametrize("command", commands())
def test_commands_can_be_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = command.split()[1:]
    words += ["--dry-run"] if words[0] == "bench" and "--dry-run" not in words else []
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


def test_the_first_block_of_the_readme_is_all_the_set_up() -> None:
    assert blocks("README.md", "bash")[0].splitlines() == [
        "pip install -e . && fusionkit bench --regions eye,mouth --fusion concat",
        "pip install -e '.[test]' && pytest",
    ]


def test_the_fusion_of_the_plugin_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = blocks("docs/plugins.md", "python")[0]
    assert len(source.splitlines()) < 25
    Path("gated_sum.py").write_text(source)
    command = next(line for block in blocks("docs/plugins.md", "bash") for line in block.splitlines())
    result = CliRunner().invoke(app, [*command.split()[1:], *SMALL.split(), "--executor", "serial"])
    assert result.exit_code == 0, result.output
    assert "gated-sum" in result.output


def video_commands() -> list[str]:
    """Every command of the page on videos, in its order."""
    return [line for block in blocks("docs/video.md", "bash") for line in block.splitlines()]


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
            (folder / f"{clip}.txt").write_text("\n".join([header, *"01234567"]))
    exec(compile(blocks("docs/video.md", "python")[0], "group.py", "exec"), {})
    assert sorted(path.name for path in Path("group").iterdir()) == ["1.png", "2.png", "3.png"]
    for command in video_commands():
        words = shlex.split(re.sub(r"yunet:model=yunet\.onnx|insightface:pack=buffalo_l", "dots", command))[1:]
        words += ["--dry-run"] if words[0] == "bench" else []
        result = CliRunner().invoke(app, [word.replace("dots,", "dots:") for word in words])
        assert result.exit_code == 0, result.output
