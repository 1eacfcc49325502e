"""Progress: counts, pace, remaining time, reused work and failures; lines where there is no terminal."""

from __future__ import annotations

import re
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from fusionkit.api import AlignOutcome, MediaInput
from fusionkit.cli.progress import BarProgress, FrameBars, FrameLines, LineProgress


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    return clock


def test_lines_come_at_the_end_of_a_stage_and_once_in_a_while_before(clock: Clock) -> None:
    screen = StringIO()
    progress = LineProgress(Console(file=screen, width=100))
    with progress.stage("fit", 10, "heads"):
        progress.reused(1200, "heads")
        progress.advance()  # within the first seconds: nothing to say yet
        clock.now += 12
        progress.advance(2)  # 3 in 12 s: 15 a minute, 28 s for the other 7
        progress.failed("face/mlp/0", "a bug")
        clock.now += 2
        progress.advance(7)
    with progress.stage("score", 4, "rows"):
        clock.now += 0.5
        progress.advance(4)
    assert screen.getvalue().splitlines() == [
        "fit: 3/10 heads, 15/min, 28 s left, 1,200 heads reused",
        "fit: failed face/mlp/0: a bug",
        "fit: 10/10 heads in 14.0 s, 1,200 heads reused, 1 failed",
        "score: 4/4 rows in 0.5 s",
    ]


@pytest.mark.parametrize("kind", [LineProgress, BarProgress])
def test_repeated_steps_are_added_to_the_total_and_no_time_is_negative(
    kind: type[LineProgress | BarProgress], clock: Clock
) -> None:
    screen = StringIO()
    progress = kind(Console(file=screen, width=80, force_terminal=kind is BarProgress))
    with progress.stage("fit", 12, "heads"):
        for _ in range(13):
            clock.now += 15
            progress.advance()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "13/13 heads" in text
    assert "13/12" not in text
    assert not re.search(r"-\d", text)


def test_a_bar_has_its_counts_pace_and_time_left_beside_it_within_eighty_columns(clock: Clock) -> None:
    screen = StringIO()
    progress = BarProgress(Console(file=screen, width=80, force_terminal=True))
    progress.bars.get_time = clock.monotonic
    with progress.stage("embed", 2000, "frames"):
        progress.reused(7, "cells")
        clock.now += 4
        progress.advance(1000)
        progress.failed("face/mlp/0", "a [bug]")
        progress.bars.refresh()
        clock.now += 3
        progress.advance(1000)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "failed face/mlp/0: a [bug]\n" in text
    drawn = [line.strip() for line in re.split("[\r\n]+", text) if "embed" in line]
    assert any(
        re.fullmatch(r"embed \S+ +1000/2000 frames 250/s, 0:00:04 left 7 cells reused, 1 failed", line)
        for line in drawn
    )
    assert re.fullmatch(r"embed \S+ +2000/2000 frames 0:00:07 +7 cells reused, 1 failed", drawn[-1])
    assert all(len(line) <= 80 for line in drawn)


def test_brief_lines_come_only_where_something_lasts(clock: Clock) -> None:
    screen = StringIO()
    progress = LineProgress(Console(file=screen, width=100), brief=True)
    for seconds in (9, 11):
        with progress.stage("clip", 4, "frames"):
            clock.now += seconds
            progress.advance(2)
            progress.advance(2)
    assert [line.split(",")[0] for line in screen.getvalue().splitlines()] == [
        "clip: 2/4 frames",
        "clip: 4/4 frames in 11.0 s",
    ]


def test_brief_bars_are_taken_away() -> None:
    progress = BarProgress(Console(file=StringIO(), force_terminal=True), brief=True)
    for name in ("one", "two"):
        with progress.stage(name, 2, "frames"):
            progress.advance(2)
            assert [task.description for task in progress.bars.tasks] == [name]
    assert progress.bars.tasks == []


def outcome(name: str) -> AlignOutcome:
    return AlignOutcome(Path(name), name, None, False, [])


def test_a_long_video_has_a_line_every_ten_seconds(clock: Clock) -> None:
    screen, reported = StringIO(), []
    item = MediaInput(Path("in/[long].mp4"), "[long].mp4", "[long]", True)
    with FrameLines(Console(file=screen, width=140), reported.append) as lines:
        lines.started(1)
        for number in range(1, 1001):
            clock.now = 100 + number / 40
            lines.frame_read(item, number, 3000)
        lines.finished(outcome("in/[long].mp4"))
    assert screen.getvalue().splitlines() == [
        "in/[long].mp4: frame 400 of about 3,000, 40 frames/s",
        "in/[long].mp4: frame 800 of about 3,000, 40 frames/s",
    ]
    assert len(reported) == 1


def test_on_a_terminal_inputs_and_frames_have_a_bar_each() -> None:
    screen, reported = StringIO(), []
    with FrameBars(Console(file=screen, width=140, force_terminal=True), reported.append) as bars:
        bars.started(3)
        for number in range(1, 4):
            bars.frame_read(MediaInput(Path("a.mp4"), "a.mp4", "a", True), number, 12)
        bars.bars.refresh()
        assert "3 of 12 frames" in screen.getvalue()
        bars.finished(outcome("a.mp4"))
    assert "1 of 3 inputs" in screen.getvalue()
    assert len(reported) == 1
