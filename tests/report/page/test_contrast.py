"""Contrast of the colours of the page: WCAG 2.2, level AA, in light, dark and print."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product

import pytest

CSS = (files("fusionkit.report.page") / "page.css").read_text(encoding="utf-8")
THEMES = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)]
GROUNDS = ("ground", "band", "best", "tied", "note")


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark", "print"])
def test_text_stands_out_from_every_ground(theme: dict[str, str]) -> None:
    low = {
        (ink, ground): round(contrast(theme[ink], theme[ground]), 1)
        for ink, ground in [*product(("ink", "accent"), GROUNDS), ("quiet", "ground"), ("quiet", "band")]
        if contrast(theme[ink], theme[ground]) < 4.5
    }
    assert low == {}


def test_series_of_figures_stand_out_from_light_and_dark() -> None:
    from fusionkit.report.charts.figure import MAX_SERIES, PALETTE

    grounds = [theme["ground"] for theme in THEMES]
    assert min(contrast(colour, ground) for colour in PALETTE[:MAX_SERIES] for ground in grounds) >= 3
