from __future__ import annotations

import math

import pytest

from fusionkit.training.schedule import Schedule


def test_warm_up_is_a_line_and_the_rest_half_a_cosine() -> None:
    schedule = Schedule(peak=0.8, steps=12, warmup=4, floor=0.2)
    assert [schedule.at(step) for step in range(5)] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert schedule.at(8) == pytest.approx(0.5)  # half way down
    assert schedule.at(6) == pytest.approx(0.2 + 0.6 * (1 + math.sqrt(0.5)) / 2)
    assert schedule.at(10) == pytest.approx(0.2 + 0.6 * (1 - math.sqrt(0.5)) / 2)
    assert schedule.at(12) == pytest.approx(0.2)


def test_without_warm_up_it_starts_at_the_peak() -> None:
    assert Schedule(peak=3.0, steps=2).at(0) == 3.0
    assert Schedule(peak=3.0, steps=2).at(1) == pytest.approx(1.5)
