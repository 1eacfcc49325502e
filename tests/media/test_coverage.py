"""How much of each input has a face: numbers against a count by hand, and a picture that shows them."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from fusionkit.media.align import AlignedClip, AlignedInput, AlignOutcome
from fusionkit.media.coverage import write_coverage

CLIPS = [AlignedClip("a_left", 60, [[1, 50], [91, 100]]), AlignedClip("a_right", 20, [[11, 20], [31, 40]])]


def outcome(name: str, result: AlignedInput | None, *faults: str) -> AlignOutcome:
    return AlignOutcome(Path(f"{name}.mp4"), name, result, False, list(faults))


def result_of(name: str, frames: int, clips: list[AlignedClip]) -> AlignedInput:
    return AlignedInput(f"{name}.mp4", {"size": 1}, frames, frames / 25, sum(c.frames for c in clips) + 3, 3, clips)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "coverage.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_there_is_a_row_per_clip_and_one_for_an_input_without_clips(tmp_path: Path) -> None:
    outcomes = [
        outcome("a", result_of("a", 100, CLIPS)),
        outcome("b", result_of("b", 40, []), "b.mp4: no face"),
        outcome("c", None, "c.mp4 is empty"),
    ]
    write_coverage(outcomes, tmp_path)
    left, right, none, unread = rows(tmp_path)
    assert (left["clip"], left["frames_read"], left["frames_with_face"], left["coverage"]) == (
        "a_left",
        "100",
        "60",
        "0.6",
    )
    assert (left["first"], left["last"], left["longest_gap"]) == ("1", "100", "40")
    assert (right["coverage"], right["first"], right["last"], right["longest_gap"]) == ("0.2", "11", "40", "60")
    assert (right["seconds"], right["faces_found"], right["faces_dropped"]) == ("4", "83", "3")
    assert (none["clip"], none["coverage"], none["longest_gap"], none["faults"]) == ("", "0", "40", "b.mp4: no face")
    assert (unread["input"], unread["frames_read"], unread["faults"]) == ("c.mp4", "", "c.mp4 is empty")


def test_the_picture_shows_where_there_are_faces(tmp_path: Path) -> None:
    write_coverage([outcome("a", result_of("a", 100, [AlignedClip("a", 50, [[1, 50]])]))], tmp_path)
    image = cv2.imread(str(tmp_path / "coverage.png"))[..., ::-1].astype(int)
    blue = (np.abs(image - (0, 114, 178)) < 30).all(-1).sum(0)
    grey = (np.abs(image - (232, 232, 232)) < 8).all(-1).sum(0)
    columns = [np.flatnonzero(found > 10) for found in (blue, grey)]
    assert abs(len(columns[0]) / (len(columns[0]) + len(columns[1])) - 0.5) < 0.02
    assert columns[0].max() < columns[1].min() + 3


def test_inputs_of_earlier_runs_are_included_and_updated(tmp_path: Path) -> None:
    result_of("old", 10, [AlignedClip("old", 10, [[1, 10]])]).write(tmp_path, "old")
    write_coverage([outcome("new", result_of("new", 20, [AlignedClip("new", 5, [[1, 5]])]))], tmp_path)
    assert [(row["clip"], row["coverage"]) for row in rows(tmp_path)] == [("new", "0.25"), ("old", "1")]
    write_coverage([outcome("old", result_of("old", 10, [AlignedClip("old", 1, [[1, 1]])]))], tmp_path)
    assert [(row["clip"], row["coverage"]) for row in rows(tmp_path)] == [("old", "0.1")]


@pytest.mark.slow
def test_many_clips_and_strange_names_can_be_drawn(tmp_path: Path) -> None:
    many = [
        outcome(f"$x_{n}$ 表情", result_of("n", 10, [AlignedClip(f"$x_{n}$ 表情", n % 10, [[1, 5]])]))
        for n in range(90)
    ]
    write_coverage(many, tmp_path)
    height = cv2.imread(str(tmp_path / "coverage.png")).shape[0]
    assert height < 2000
    assert len(rows(tmp_path)) == 90


def test_no_inputs_can_be_drawn(tmp_path: Path) -> None:
    write_coverage([], tmp_path)
    assert rows(tmp_path) == []
