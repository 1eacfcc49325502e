"""A clip over time is drawn frame by frame, in order."""

from __future__ import annotations

import re
from itertools import groupby

import numpy as np

from fusionkit.report.charts.figure import Figure
from fusionkit.report.charts.timelines import Timeline, timeline_chart

CLASSES = ("a", "b", "c")


def drawn(smoothed: list[int]) -> str:
    frames = np.arange(10, 10 + len(smoothed))
    raw = np.zeros(len(smoothed), int)
    truth = np.full(len(smoothed), 2)
    truth[1] = -1
    line = Timeline("clip", frames, truth, raw, np.array(smoothed))
    return Figure("t", "", "", "", timeline_chart(line, CLASSES)).svg()


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
