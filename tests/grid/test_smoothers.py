"""Smoothers on the clips of a data set: none on stills, and a warning where they average more than the clips have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy_components import Blobs, registered, toy_grid, toy_house  # noqa: F401

from fusionkit.contracts import Clip, FrameTable, Smoother
from fusionkit.errors import ConfigError
from fusionkit.grid.plan import Plan, make_plan
from fusionkit.grid.smoothers import acting_smoothers, median_length, smoother_warnings
from fusionkit.registry import DATASETS, SMOOTHERS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")
STILLS, CLIPS = "toy-blobs:length=1,clips=80", "toy-blobs"


def plan(**changes: Any) -> Plan:
    return make_plan(toy_grid(**changes), "cpu")


def smoothers(found: Plan) -> list[tuple[str, str]]:
    return [(row.axes.dataset.partition(":")[0], row.axes.smoother) for row in found.rows]


def words(found: Plan, part: str) -> list[str]:
    return [line for line in found.notes if part in line]


def table(lengths: list[int], step: int = 1) -> FrameTable:
    clip = np.repeat([f"c{index:02d}" for index in range(len(lengths))], lengths)
    number = np.concatenate([step * np.arange(length) + 5 for length in lengths])
    return FrameTable.of(clip, number, np.zeros(len(clip), np.int64))


def test_stills_have_rows_of_none_each_once_and_a_line_says_so() -> None:
    found = plan(datasets=[STILLS], smoothers=["toy-plain", "window", "hmm", "none"], reference="none")
    assert [row.axes.smoother for row in found.rows] == ["none"]
    (line,) = words(found, "every clip has one prediction")
    assert "toy-plain, window, hmm would change nothing" in line


class OfSeconds(Smoother):
    """Needs the rate."""

    needs_rate = True

    def smooth(self, x: np.ndarray, clip: Clip) -> np.ndarray:
        return x


def test_a_smoother_that_needs_the_rate_is_refused_where_a_clip_has_none() -> None:
    with registered(SMOOTHERS, "toy-seconds", OfSeconds), pytest.raises(ConfigError) as caught:
        plan(smoothers=["toy-plain", "toy-seconds"])
    (problem,) = caught.value.problems
    assert problem == (
        "smoothers: toy-seconds needs frames per second, which data set toy-blobs does not state for 40 clip(s), "
        "such as 'c000'"
    )


def test_rates_enter_the_identity_of_rows_whose_smoother_gets_the_clip_and_of_nothing_else() -> None:
    class Rated(Blobs):
        rate = 25.0

        @property
        def frames(self) -> FrameTable:
            return replace(super().frames, rate=np.full(len(super().frames), self.rate))

    with registered(SMOOTHERS, "toy-seconds", OfSeconds), registered(DATASETS, "toy-rated", Rated):
        found = []
        for rate in (25.0, 30.0, np.nan):
            Rated.rate = rate
            spec = ["toy-plain"] if np.isnan(rate) else ["toy-plain", "toy-seconds"]
            found.append(plan(datasets=["toy-rated"], smoothers=spec))
    plain, seconds = (
        [[row.id for row in each.rows if row.axes.smoother == name] for each in found]
        for name in ("toy-plain", "toy-seconds")
    )
    assert plain[0] == plain[1] == plain[2]
    assert not set(seconds[0]) & set(seconds[1])
    assert [*found[0].heads] == [*found[1].heads] == [*found[2].heads]


def test_the_default_smoothers_are_left_out_of_stills_without_a_word() -> None:
    grid = toy_grid(datasets=[STILLS, CLIPS], smoothers=None, reference="none")
    assert [str(spec) for spec in grid.smoothers] == ["none", "window:width=auto"]
    found = make_plan(grid, "cpu")
    assert [smoother for _, smoother in smoothers(found)] == ["none", "none", "window:width=auto"]
    assert words(found, "every clip") == []


def test_the_reference_row_of_stills_has_no_smoother_either() -> None:
    found = plan(datasets=[STILLS], smoothers=["window"])
    assert [row.axes.smoother for row in found.rows] == ["none", "none"]
    assert found.rows[1].reference == found.rows[0].id


def test_a_smoother_of_embeddings_acts_on_stills_too() -> None:
    specs = [Spec("toy-leaning"), Spec("window")]

    class Leaning(Smoother):
        """Reads embeddings."""

        needs = "embeddings"

        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            return x[:, :3]

    with registered(SMOOTHERS, "toy-leaning", Leaning):
        assert acting_smoothers(specs, table([1, 1, 1])) == (specs[0], Spec("none"))
        assert acting_smoothers(specs, table([1, 1, 2])) == tuple(specs)


@pytest.mark.parametrize(
    ("lengths", "step", "expected"), [([4, 9, 5], 1, 5), ([4, 9, 5, 7], 1, 6), ([4, 9, 5], 10, 41)]
)
def test_the_median_length_counts_frame_numbers(lengths: list[int], step: int, expected: float) -> None:
    assert median_length(table(lengths, step)) == expected


@pytest.mark.parametrize(
    ("smoother", "warned"),
    [
        ("window:width=19", "window:width=19 (about 19)"),
        ("window:width=17", ""),
        ("window", ""),
        ("window:width=auto", ""),
        ("gaussian:sigma=5", "gaussian:sigma=5 (about 18)"),
        ("gaussian:sigma=4.7", ""),
        ("savitzky-golay:width=19,order=1", "order=1,width=19 (about 19)"),
        ("savitzky-golay:width=101", ""),
        ("exponential", "exponential (about 43)"),
        ("kalman:noise=100", "kalman:noise=100 (about 40)"),
        ("kalman", ""),
        ("tcn", ""),
        ("none", ""),
    ],
)
def test_a_smoother_that_averages_more_than_half_of_the_clips_have_is_warned_of(smoother: str, warned: str) -> None:
    found = list(smoother_warnings([Spec.parse(smoother)], table([3, 17, 17, 17, 400])))
    assert len(found) == bool(warned)
    for line in found:
        assert f"{warned};" in line
        assert "half of the clips have 17 frames or fewer" in line


def test_the_plan_of_a_bench_holds_the_warning() -> None:
    (line,) = words(plan(smoothers=["window:width=101", "window", "mode:width=51"]), "average more")
    assert "have 20 frames or fewer" in line
    assert "more: window:width=101 (about 101), mode:width=51 (about 51);" in line
