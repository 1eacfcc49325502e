"""Contestants take turns, failures are told by name, and what is reported is the median of the rounds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

CONTESTANT = """
import sys
sys.path.insert(0, {folder!r})
from interleaved import serve

def ready(loops):
    print("a library talks")
    if loops < 0:
        raise ValueError("backwards")
    return lambda: sum(range(loops))

serve(ready)
"""


@pytest.fixture
def interleaved(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("interleaved")


def test_each_round_does_everything_once_and_somebody_else_begins(interleaved: ModuleType) -> None:
    done: list[str] = []
    seconds = iter(range(100))

    def work(name: str) -> Callable[[], object]:
        def do() -> object:
            done.append(name)
            return interleaved.Cost(next(seconds), 1.0)

        return do

    costs = interleaved.in_turn({name: work(name) for name in "abc"}, 3)
    assert "".join(done) == "abcbcacab"
    # a: 0, 5, 7; b: 1, 3, 8; c: 2, 4, 6.
    assert {name: cost.cpu for name, cost in costs.items()} == {"a": 5, "b": 3, "c": 4}


def test_no_round_begins_when_time_is_up(interleaved: ModuleType) -> None:
    done: list[int] = []
    interleaved.in_turn({"a": lambda: done.append(1) or interleaved.Cost(1, 1)}, 5, seconds=0)
    assert done == [1]


def test_a_contestant_is_timed_in_its_own_process_and_says_what_failed(interleaved: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "contestant.py"
    file.write_text(CONTESTANT.format(folder=str(Path(interleaved.__file__).parent)), encoding="utf-8")
    with interleaved.contestants(str(file), ["counting"]) as (counting,):
        little, much = counting.do({"loops": 10}), counting.do({"loops": 10**7})
        assert 0 <= little.cpu < much.cpu
        assert much.wall > 0
        with pytest.raises(RuntimeError, match="counting: ValueError: backwards"):
            counting.do({"loops": -1})
        assert counting.do({"loops": 10}).cpu < much.cpu
    with (
        interleaved.started({"gone": [sys.executable, "-c", ""]}) as (gone,),
        pytest.raises(RuntimeError, match="gone"),
    ):
        gone.do({})
