"""Any exception of a component ends its own cell; only a signal ends the run. Long messages and prints are bounded."""

from __future__ import annotations

import csv
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from torch import Tensor
from toy_components import (  # noqa: F401
    Blobs,
    Colours,
    Halves,
    Plain,
    Sum,
    carry_out,
    registered,
    toy_house,
    toy_plan,
)

from fusionkit.contracts import Located
from fusionkit.errors import PluginError, watched_interrupts
from fusionkit.grid.progress import Progress
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS, FUSIONS, SMOOTHERS
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.page.write import report_or_line
from fusionkit.report.run_data import RunData

pytestmark = pytest.mark.usefixtures("toy_house")


class Odd(BaseException):
    """An exception outside Exception."""


class Act:
    """What the misbehaving components do."""

    error: ClassVar[BaseException | None] = None
    text: ClassVar[str] = ""
    press: ClassVar[bool] = False

    @classmethod
    def out(cls) -> None:
        sys.stdout.write(cls.text)
        sys.stderr.write(cls.text)
        if cls.press:
            signal.raise_signal(signal.SIGINT)
        if cls.error is not None:
            raise cls.error


class BadFusion(Sum):
    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        if self.training:
            Act.out()
        return super().combine(views, present)


class BadStart(Sum):
    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        Act.out()


class BadBackbone(Colours):
    def embed(self, views: np.ndarray) -> np.ndarray:
        Act.out()
        return super().embed(views)


class BadCost(Colours):
    def cost(self) -> tuple[int, float]:
        Act.out()
        return super().cost()


class BadWidth(Colours):
    @property
    def dim(self) -> int:
        Act.out()
        return 12


class BadExtractor(Halves):
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        Act.out()
        return super().locate(frames)


class BadData(Blobs):
    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        Act.out()
        return super().read(rows)


class BadSmoother(Plain):
    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        Act.out()
        return super().smooth(x, frame_numbers)


@pytest.fixture(autouse=True)
def bad() -> Iterator[None]:
    Act.error, Act.text, Act.press = None, "", False
    components = {
        "bad-fusion": (FUSIONS, BadFusion),
        "bad-start": (FUSIONS, BadStart),
        "bad-backbone": (BACKBONES, BadBackbone),
        "bad-cost": (BACKBONES, BadCost),
        "bad-width": (BACKBONES, BadWidth),
        "bad-extractor": (EXTRACTORS, BadExtractor),
        "bad-data": (DATASETS, BadData),
        "bad-smoother": (SMOOTHERS, BadSmoother),
    }
    with ExitStack() as stack:
        for name, (registry, cls) in components.items():
            stack.enter_context(registered(registry, name, cls))
        yield


GRIDS: dict[str, dict[str, Any]] = {
    "bad-fusion": {"fusions": ["bad-fusion", "toy-sum"]},
    "bad-start": {"fusions": ["bad-start", "toy-sum"]},
    "bad-backbone": {"backbones": ["bad-backbone", "toy-colours"]},
    "bad-cost": {"backbones": ["bad-cost", "toy-colours"]},
    "bad-extractor": {"extractor": ["bad-extractor", "toy-halves"], "main": "top", "reference": "none"},
    "bad-data": {"datasets": ["bad-data", "toy-blobs"]},
    "bad-smoother": {"smoothers": ["bad-smoother", "toy-plain"]},
}


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        *(pytest.param(e, marks=pytest.mark.slow) for e in (SystemExit(3), GeneratorExit(), Odd("o"), StopIteration())),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("name", GRIDS)
def test_any_exception_of_a_component_ends_its_own_cells(tmp_path: Path, name: str, error: BaseException) -> None:
    plan = toy_plan(seeds=1, **GRIDS[name])
    Act.error, kind = error, type(error).__name__
    outcome, results = carry_out(plan, tmp_path / "run")
    assert {name in str(row.axes) for row in results.rows} == {True, False}
    assert len(outcome.failed) == sum(name in str(row.axes) for row in results.rows)
    for row in results.rows:
        bad = name in str(row.axes)
        assert (row.score is None) == bad
        assert [kind in message for message in row.failures.values()] == [True] * bad


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), Odd("o")], ids=lambda e: type(e).__name__)
def test_an_exception_in_planning_names_the_component(error: BaseException) -> None:
    Act.error = error
    with watched_interrupts(), pytest.raises(PluginError, match=f"^backbone bad-width failed: {type(error).__name__}"):
        toy_plan(backbones=["bad-width"])


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS)
def test_a_signal_ends_the_run_at_once_and_is_no_failure(tmp_path: Path, name: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    plan = toy_plan(seeds=1, **GRIDS[name])
    Act.press = True
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, tmp_path / "run")
    assert not (tmp_path / "run/failures").exists()
    assert signal.getsignal(signal.SIGINT) is handler
    Act.press = False
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert outcome.failed == {}


def test_a_signal_ends_the_run_though_the_component_turns_it_into_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError("cancelled") from error

    monkeypatch.setattr(Act, "out", out)
    with pytest.raises(KeyboardInterrupt):
        carry_out(toy_plan(fusions=["bad-fusion"]), tmp_path / "run")
    assert not (tmp_path / "run/failures").exists()


# -- bounded text ------------------------------------------------------------------------------------------------------

LONG = "".join(f"{index:07d} " for index in range(1_500_000))  # 12 MB


class Messages(Progress):
    """Keeps the messages of failures."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def failed(self, name: str, message: str) -> None:
        self.failures.append(message)


@pytest.mark.slow
def test_a_long_message_is_shortened_everywhere_but_in_its_file(tmp_path: Path) -> None:
    Act.error = ValueError(LONG)
    progress = Messages()
    outcome, results = carry_out(toy_plan(fusions=["bad-fusion"], seeds=1), tmp_path / "run", progress=progress)
    (message,) = outcome.failed.values()
    assert progress.failures == [message]
    assert len(message) < 2_000
    begin = "fusion BadFusion on views face (8, 12), bottom (8, 12) failed: ValueError: 0000000 0000001 "
    (file,) = (tmp_path / "run/failures").glob("*.txt")
    assert message.startswith(begin)
    assert message.endswith(f" ... ({len(LONG) - 1 - 1_000:,} more characters in failures/{file.name})")
    assert LONG in file.read_text(encoding="utf-8")
    write_csv_files(results)
    assert (tmp_path / "run/cells.csv").stat().st_size < 10_000
    lines = csv.DictReader((tmp_path / "run/cells.csv").read_text(encoding="utf-8").splitlines())
    assert [line["error"] for line in lines if line["error"]] == [message]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bad-fusion", "bad-smoother"])
def test_what_a_failing_component_prints_is_cut_and_kept_with_its_failure(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Act.text, Act.error = LONG, ValueError("no")
    carry_out(toy_plan(seeds=1, **GRIDS[name], reference="none"), tmp_path / "run")
    more = f"\n... ({len(LONG) - 2_000:,} more characters of output are not shown)\n"
    assert capsys.readouterr() == (LONG[:2_000] + more,) * 2
    (file,) = (tmp_path / "run/failures").glob("*.txt")
    assert file.read_text(encoding="utf-8").endswith(f"\nOutput:\n{LONG}{LONG}")


@pytest.mark.slow
def test_what_a_component_prints_while_the_page_is_drawn_is_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = toy_plan(smoothers=["bad-smoother"], seeds=1)
    _, results = carry_out(plan, tmp_path / "run")
    Act.text = LONG
    assert report_or_line(results, RunData.of(plan)) == []
    found = capsys.readouterr().out
    assert found.startswith(LONG[:2_000])
    assert re.fullmatch(r"\n\.\.\. \([\d,]+ more characters of output are not shown\)\n", found[2_000:])


def test_short_prints_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Act.text = "loss 0.5\n"
    carry_out(toy_plan(fusions=["bad-start"], seeds=2, reference="none"), tmp_path / "run")
    found = capsys.readouterr()
    assert found.out == found.err
    assert re.fullmatch(r"(loss 0.5\n)+", found.out)
