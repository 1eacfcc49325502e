"""A clip over time is drawn frame by frame, in order."""

from __future__ import annotations

import re
from itertools import groupby

import numpy as np

from fusionkit.report.charts.drawing import draw_figures
from fusionkit.report.charts.figure import Figure
from fusionkit.report.charts.timelines import Timeline, chosen_clips, timeline_chart

CLASSES = ("a", "b", "c")


def drawn(smoothed: list[int]) -> str:
    frames = np.arange(10, 10 + len(smoothed))
    raw = np.zeros(len(smoothed), int)
    truth = np.full(len(smoothed), 2)
    truth[1] = -1
    line = Timeline("clip", frames, truth, raw, np.array(smoothed))
    return draw_figures([Figure("t", "", "", "", timeline_chart(line, CLASSES))])[0] or ""


def test_the_smoothed_line_is_in_the_order_of_frames() -> None:
    (path,) = re.findall(r'<path d="([^"]+)" stroke="#D55E00"', drawn([1, 0, 1, 1, 2, 0]))
    points = [tuple(map(float, point.split(","))) for point in re.findall(r"-?[\d.]+,-?[\d.]+", path)]
    across = [x for x, _ in points]
    assert across == sorted(across)
    assert [y for y, _ in groupby(y for _, y in points)] == [30, 10, 30, 50, 10]  # px: the middles of b a b c a


def test_tooltips_have_annotation_and_predictions() -> None:
    labels = re.findall(r'aria-label="(frame[^"]+)"', drawn([1, 0, 2]))
    assert labels == [
        "frame 10&#xA;truth: c&#xA;predicted: a&#xA;smoothed: b",
        "frame 11&#xA;truth: not annotated&#xA;predicted: a&#xA;smoothed: a",
        "frame 12&#xA;truth: c&#xA;predicted: a&#xA;smoothed: c",
    ]


def clip(name: str, truth: list[int], raw: list[int], smoothed: list[int]) -> Timeline:
    return Timeline(name, np.arange(len(truth)), *(np.array(values) for values in (truth, raw, smoothed)))


def test_clips_are_those_where_smoothing_helps_most_and_hurts_most_and_of_median_change() -> None:
    truth = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    wrong = [1 - label for label in truth]
    lines = [clip(f"gains {gain}", truth, wrong[:gain] + truth[gain:], truth) for gain in (1, 5, 2)]
    lines += [clip(f"loses {loss}", truth, truth, wrong[:loss] + truth[loss:]) for loss in (3, 1)]
    lines += [
        clip("short", truth[:7], wrong[:7], truth[:7]),
        clip("without annotation", [-1] * 10, wrong, truth),
        clip("late", [0] * 300 + [1] * 300, [0] * 600, [0] * 300 + [1] * 300),  # its first 300 frames do not change
    ]
    found = chosen_clips(lines, smoothed=True)
    assert [choice.line.clip for choice in found] == ["gains 5", "loses 3", "late"]  # changes: -.3 -.1 0 .1 .2 .5
    assert len(found[2].line.truth) == 300
    rule = "Smoothing raises the accuracy of 3 and lowers that of 2 of 6 clips; "
    cut = " Only the first 300 frames of a clip count."
    assert [choice.reason for choice in found] == [
        f"{rule}it rises most in this one.{cut}",
        f"{rule}it falls most in this one.{cut}",
        f"{rule}this one has the median change.{cut}",
    ]


def test_clips_without_a_loss_are_not_said_to_lose_and_equal_clips_are_chosen_by_changes() -> None:
    still, moving = [0] * 8, [0, 1, 0, 1, 0, 1, 0, 1]
    lines = [clip("still", still, still, still), clip("moving", moving, moving, moving)]
    found = chosen_clips([*lines, clip("gain", still, moving, still)], smoothed=True)
    best, worst = (choice.reason for choice in found[:2])
    assert best.endswith("1 and lowers that of 0 of 3 clips; it rises most in this one.")
    assert worst.endswith("; this one has the lowest change.")
    assert chosen_clips(lines, smoothed=True)[0].line.clip == "moving"


def test_clips_of_a_row_that_is_not_smoothed_are_compared_by_accuracy() -> None:
    truth = [0, 1] * 5
    lines = [clip(str(hits), truth, truth[:hits] + [2] * (10 - hits), truth) for hits in (4, 9, 0, 7, 6)]
    assert [(choice.line.clip, choice.reason) for choice in chosen_clips(lines, smoothed=False)] == [
        ("9", "Of 5 clips, this one has the highest accuracy."),
        ("0", "Of 5 clips, this one has the lowest accuracy."),
        ("6", "Of 5 clips, this one has the median accuracy."),
    ]


def test_a_row_that_is_not_smoothed_has_no_line() -> None:
    line = clip("clip", [0, 1, 2], [0, 1, 1], [2, 2, 2])
    svg = draw_figures([Figure("t", "", "", "", timeline_chart(line, CLASSES, smoothed=False))])[0] or ""
    assert "#D55E00" not in svg
    assert "smoothed" not in svg
