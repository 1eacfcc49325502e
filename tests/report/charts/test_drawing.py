"""Charts are drawn in a process of their own: one that ends it costs itself alone."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from fusionkit.report.charts.drawing import draw_figures
from fusionkit.report.charts.figure import Figure, Tile, heat_map


def test_a_chart_that_ends_the_process_is_missing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def process(*_: Any, input: bytes, **__: Any) -> SimpleNamespace:  # noqa: A002
        names = [b"bad" in line for line in input.splitlines()]
        asked.append(len(names))
        good = names.index(True) if True in names else len(names)
        return SimpleNamespace(stdout=b'"svg"\n' * good + b'"half')

    monkeypatch.setattr(subprocess, "run", process)
    figures: Any = [SimpleNamespace(specification=lambda name=name: name) for name in ("a", "bad", "b", "c")]
    assert draw_figures(figures) == ["svg", None, "svg", "svg"]
    assert asked == [4, 2]
    asked.clear()
    bad: Any = [SimpleNamespace(specification=lambda: "bad")] * 20
    assert draw_figures(bad) == [None] * 20
    assert asked == [20, 19]  # V8 cannot run here
    assert draw_figures([]) == []


def test_a_process_that_cannot_be_started_costs_the_charts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/no/such/program")
    figure = Figure("x", "x", "x", "x", heat_map([Tile("a", "b", 0.5)], "x", "y"))
    assert draw_figures([figure]) == [None]
