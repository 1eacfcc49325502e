"""Counts and problems of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fusionkit.contracts import FaceDataset, FrameTable, Labels
from fusionkit.data.check import DataCheck, check_data
from fusionkit.errors import DataError
from fusionkit.grid.progress import Progress

IMAGE = np.zeros((2, 2, 3), np.uint8)


class Toy(FaceDataset):
    """Returns its arguments; ``broken`` rows are read as None."""

    classes = ("calm", "glad")

    def __init__(
        self, table: FrameTable, available: Any = None, broken: Iterable[int] = (), problems: Iterable[str] = ()
    ) -> None:
        self._table, self._available, self._broken, self._problems = table, available, set(broken), problems

    @property
    def frames(self) -> FrameTable:
        return self._table

    def has_image(self) -> np.ndarray | None:
        return self._available

    def problems(self) -> Iterable[str]:
        return self._problems

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        available = np.ones(len(self._table), bool) if self._available is None else self._available
        return [IMAGE if available[row] and row not in self._broken else None for row in rows.tolist()]


def checked(data: FaceDataset, read: bool = False) -> DataCheck:
    return check_data(data, read=read, progress=Progress())


TABLE = FrameTable.of(
    ["a", "a", "a", "b", "b", "c"],
    [1, 2, 7, 1, 3, 1],
    [0, 1, -1, 0, 0, -1],
    split=["train", "train", "train", "val", "val", "val"],
    video=["", "", "", "v", "v", "v"],
)


def test_classes_units_clips_and_gaps_are_counted_for_each_split() -> None:
    train, val, whole = checked(Toy(TABLE)).splits
    assert (train.name, train.tasks[0].counts, train.units, train.clips, train.frames) == ("train", (1, 1), 1, 1, 3)
    assert (val.name, val.tasks[0].counts, val.units, val.clips, val.frames) == ("val", (2, 0), 1, 2, 3)
    assert (whole.name, whole.tasks[0].counts, whole.units, whole.clips, whole.frames) == ("all", (3, 1), 2, 3, 6)
    assert [(split.gaps, split.longest_gap) for split in (train, val, whole)] == [(1, 4), (1, 1), (2, 4)]


rows = st.tuples(
    st.sampled_from("abc"), st.integers(0, 9), st.integers(-1, 1), st.booleans(), st.sampled_from(["", "x", "y"])
)


@given(st.lists(rows, min_size=1, unique_by=lambda row: row[:2]).map(sorted), st.data())
def test_counts_are_those_of_a_loop(drawn: list[tuple[str, int, int, bool, str]], data: st.DataObject) -> None:
    splits = {clip: data.draw(st.sampled_from(["train", "test"])) for clip in "abc"}
    clip, number, label, there, subject = (list(column) for column in zip(*drawn, strict=True))
    table = FrameTable.of(clip, number, label, subject=subject, split=[splits[each] for each in clip])
    for split in checked(Toy(table, np.array(there))).splits:
        mine = [row for row in drawn if split.name in ("all", splits[row[0]])]
        assert split.tasks[0].counts == tuple(sum(row[2] == c for row in mine) for c in (0, 1))
        assert split.units == len({row[4] or row[0] for row in mine})
        assert split.clips == len({row[0] for row in mine})
        assert split.tasks[0].imageless == sum(row[2] >= 0 and not row[3] for row in mine)
        jumps = [b[1] - a[1] for a, b in pairwise(mine) if a[0] == b[0]]
        assert split.gaps == sum(jump > 1 for jump in jumps)
        assert split.longest_gap == max([0, *(jump - 1 for jump in jumps)])


def test_images_are_counted_from_the_data_set_or_by_reading() -> None:
    there = np.array([True, False, False, True, True, True])
    assert [split.tasks[0].imageless for split in checked(Toy(TABLE)).splits] == [None, None, None]
    assert [split.tasks[0].imageless for split in checked(Toy(TABLE, there)).splits] == [1, 0, 1]
    assert [split.tasks[0].imageless for split in checked(Toy(TABLE, broken=[3]), read=True).splits] == [0, 1, 1]
    found = checked(Toy(TABLE, there, broken=[3, 5]), read=True)
    assert [split.tasks[0].imageless for split in found.splits] == [1, 1, 2]
    assert found.problems == [
        "clip 'b' frame 1: cannot be decoded",
        "clip 'c' frame 1: cannot be decoded",
    ]


def test_reading_reports_progress() -> None:
    calls: list[Any] = []

    class Recorder(Progress):
        @contextmanager
        def stage(self, name: str, total: int, unit: str):  # type: ignore[no-untyped-def]
            calls.append((name, total, unit))
            yield

        def advance(self, count: int = 1) -> None:
            calls.append(count)

    table = FrameTable.of(["a"] * 150, range(150), [0, 1] * 75)
    check_data(Toy(table), read=True, progress=Recorder())
    assert calls == [("read", 150, "frames"), 64, 64, 22]


def test_ready_embeddings_are_read_too() -> None:
    class Ready(Toy):
        views = ("audio", "pose")

        def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
            values = np.ones((len(rows), 3), np.float32)
            values[np.isin(rows, [0] if view == "audio" else [1])] = np.nan
            return values

    assert [split.tasks[0].imageless for split in checked(Ready(TABLE), read=True).splits] == [2, 0, 2]


def test_a_unit_in_two_splits_and_a_class_that_train_lacks_are_problems() -> None:
    table = FrameTable.of(
        ["a", "b", "c"], [1, 1, 1], [0, 1, -1], subject=["s", "s", ""], split=["train", "test", "val"]
    )
    assert checked(Toy(table)).problems == [
        "unit 's' is in several splits: test, train",
        "class 'glad' has no labelled frame in train",
    ]
    assert checked(Toy(TABLE)).problems == []  # val lacks a class, and may


def test_without_splits_there_is_one_column_and_a_class_must_be_somewhere() -> None:
    found = checked(Toy(FrameTable.of(["a", "b"], [1, 1], [0, 0])))
    assert [split.name for split in found.splits] == ["no split"]
    assert found.problems == ["class 'glad' has no labelled frame in no split"]


def test_problems_of_the_data_set_come_first_and_replace_its_error() -> None:
    class Invalid(Toy):
        @property
        def frames(self) -> FrameTable:
            raise DataError("2 problems: x.txt:3 and 1 more")

    own = ["x.txt:3: no", "x.txt:4: no"]
    assert checked(Invalid(TABLE, problems=own)) == DataCheck((), own)
    assert checked(Invalid(TABLE)).problems == ["2 problems: x.txt:3 and 1 more"]
    assert checked(Toy(TABLE, problems=own)).problems == own


def test_a_data_set_without_overrides_has_no_problems_and_unknown_images() -> None:
    class Plain(Toy):
        has_image = FaceDataset.has_image
        problems = FaceDataset.problems

    assert list(Plain(TABLE).problems()) == []
    assert Plain(TABLE).has_image() is None


@pytest.mark.parametrize("width", [50, 120])
def test_the_table_shows_counts_and_shares(width: int) -> None:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(checked(Toy(TABLE, np.array([True, False, False, True, True, True]))).table())
    lines = [line.split() for line in capture.get().splitlines()]
    assert lines[0] == ["labelled", "frames", "train", "val", "all"]
    assert ["calm", "1", "50.0", "%", "2", "100.0", "%", "3", "75.0", "%"] in lines
    assert ["without", "image", "1", "50.0", "%", "0", "0.0", "%", "1", "25.0", "%"] in lines
    assert ["unlabelled", "1", "1", "2"] in lines
    assert ["units", "1", "1", "2"] in lines
    assert ["longest", "gap", "4", "1", "4"] in lines


def test_many_classes_of_one_frame_are_doubted() -> None:
    names = [f"face{number}" for number in range(12)]
    doubted = Toy(FrameTable.of(names, [1] * 12, [*range(10), 0, 0]))
    doubted.classes = tuple(names[:10])
    (problem,) = checked(doubted).problems
    assert problem.startswith("9 of 10 classes have a single labelled frame in no split")
    fine = Toy(FrameTable.of([*names, *"abcdefgh"], [1] * 20, [*range(10), *range(10)]))
    fine.classes = tuple(names[:10])
    assert checked(fine).problems == []


class Affective(Toy):
    """Has action units and valence too."""

    def labels(self, task: str) -> Labels | None:
        nan = np.nan
        if task == "action-units":
            units = [(1, 0), (nan, nan), (1, nan), (0, 1), (nan, nan), (nan, nan)]
            return Labels(("AU1", "AU2"), np.array(units, np.float32))
        if task == "valence-arousal":
            return Labels(("valence",), np.array([[0.5], [nan], [2.0 if self._broken else 0.0], [-1], [nan], [1]]))
        return super().labels(task)


def test_labels_of_each_task_are_counted() -> None:
    train, val, whole = checked(Affective(TABLE, np.array([True, False, False, True, True, True]))).splits
    assert [found.task for found in whole.tasks] == ["expression", "action-units", "valence-arousal"]
    units, valence = zip(*(split.tasks[1:] for split in (train, val, whole)), strict=True)
    assert [(each.counts, each.labelled, each.imageless) for each in units] == [
        ((2, 0), 2, 1),
        ((0, 1), 1, 0),
        ((2, 1), 3, 1),
    ]
    assert [(each.counts, each.labelled, each.imageless) for each in valence] == [
        ((2,), 2, 1),
        ((2,), 2, 0),
        ((4,), 4, 1),
    ]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(checked(Affective(TABLE)).table())
    lines = [line.split() for line in capture.get().splitlines()]
    assert ["AU1", "2", "100.0", "%", "0", "0.0", "%", "2", "66.7", "%"] in lines
    assert [line[0] for line in lines].count("labelled") == 4
    assert [line for line in lines if line == ["action-units"]]


def test_labels_that_a_task_refuses_are_a_problem() -> None:
    found = checked(Affective(TABLE, broken=[9]))
    (problem,) = found.problems
    assert problem.startswith("task valence-arousal: valence 2 of row 2 is not in -1..1")
    assert [each.task for each in found.splits[0].tasks] == ["expression", "action-units"]


def test_without_expressions_no_class_is_missed() -> None:
    class Units(Affective):
        def labels(self, task: str) -> Labels | None:
            return None if task == "expression" else super().labels(task)

    found = checked(Units(TABLE))
    assert found.problems == []
    assert [each.task for each in found.splits[0].tasks] == ["action-units", "valence-arousal"]
