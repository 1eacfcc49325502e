"""Progress on the terminal: bars with counts and time left, or plain lines where nobody is looking."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from fusionkit.grid.progress import Progress

if TYPE_CHECKING:
    from fusionkit.media.inputs import MediaInput


class _Told(Progress):
    """Counts what a stage did beside its steps."""

    def __init__(self) -> None:
        self.done = 0
        self.started = 0.0
        self.beside: Counter[str] = Counter()

    def begin(self) -> None:
        """A stage begins."""
        self.done, self.started = 0, time.monotonic()
        self.beside.clear()

    def advance(self, count: int = 1) -> None:
        """Count steps."""
        self.done += count

    def reused(self, count: int, unit: str) -> None:
        """Count what stood ready."""
        self.beside[f"{unit} reused"] += count

    def failed(self, name: str, message: str) -> None:
        """Count a failure."""
        self.beside["failed"] += 1

    @property
    def counts(self) -> list[str]:
        """``12 heads reused``, ``1 failed``."""
        return [f"{count:,} {what}" for what, count in self.beside.items() if count]


def _rate(done: float, seconds: float) -> str:
    """Steps a second, or a minute where they are slow."""
    pace = done / max(seconds, 1e-9)
    if pace >= 100:
        return f"{pace:,.0f}/s"
    return f"{pace:.3g}/s" if pace >= 1 else f"{60 * pace:.3g}/min"


def _left(done: float, total: float, seconds: float) -> float:
    """Seconds that the rest takes at the pace so far."""
    return seconds / done * (total - done)


class _Pace(ProgressColumn):
    """How fast it goes and how long it still takes; at the end, how long it took."""

    def render(self, task: Task) -> Text:
        """Of one bar."""
        spent, total = task.elapsed or 0.0, task.total or 0.0
        if task.finished or not task.completed:
            return Text(_clock(spent))
        left = _left(task.completed, total, spent)
        return Text(f"{_rate(task.completed, spent)}, {_clock(left)} left")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


class BarProgress(_Told):
    """A bar a stage.

    Args:
        console: where to.
        brief: take a bar away when its stage is over.
    """

    def __init__(self, console: Console, *, brief: bool = False) -> None:
        super().__init__()
        self.brief = brief
        whole = Column(no_wrap=True)
        self.bars = Bars(
            TextColumn("{task.description:>6}", table_column=whole),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4, max_width=32)),
            MofNCompleteColumn(table_column=whole),
            TextColumn("{task.fields[unit]}", table_column=whole),
            _Pace(table_column=whole),
            TextColumn("{task.fields[counts]}", table_column=whole),
            console=console,
            transient=brief,
        )
        self.task: TaskID | None = None

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Draw a bar while the stage lasts."""
        self.begin()
        self.task = self.bars.add_task(name, total=total, unit=unit, counts="")
        self.bars.start()
        try:
            yield
        finally:
            self.bars.stop()
            if self.brief and self.task is not None:
                self.bars.remove_task(self.task)
            self.task = None

    def advance(self, count: int = 1) -> None:
        """Move the bar."""
        super().advance(count)
        if self.task is not None:
            self.bars.advance(self.task, count)

    def reused(self, count: int, unit: str) -> None:
        """Say so beside the bar."""
        super().reused(count, unit)
        self._count()

    def failed(self, name: str, message: str) -> None:
        """A line above the bar, and a number beside it."""
        super().failed(name, message)
        self._count()
        self.bars.console.print(f"[red]failed[/] {escape(name)}: {escape(message)}", soft_wrap=True)

    def _count(self) -> None:
        if self.task is not None:
            self.bars.update(self.task, counts=", ".join(self.counts))


class LineProgress(_Told):
    """A line when a stage ends, and one every ten seconds before.

    Args:
        console: where to.
        brief: say nothing of stages that end sooner.
    """

    EVERY = 10.0

    def __init__(self, console: Console, *, brief: bool = False) -> None:
        super().__init__()
        self.console, self.brief = console, brief
        self.name, self.total, self.unit = "", 0, ""
        self.told = 0.0

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Say how long it took."""
        self.begin()
        self.name, self.total, self.unit, self.told = name, total, unit, self.started
        yield
        if self.brief and self.told == self.started:
            return
        self._say(f"{self._so_far()} in {time.monotonic() - self.started:.1f} s", *self.counts)

    def advance(self, count: int = 1) -> None:
        """Say how far it is, once in a while."""
        super().advance(count)
        now = time.monotonic()
        if now - self.told >= self.EVERY and self.done:
            spent = now - self.started
            left = _left(self.done, self.total, spent)
            self._say(self._so_far(), _rate(self.done, spent), f"{left:.0f} s left", *self.counts)
            self.told = now

    def failed(self, name: str, message: str) -> None:
        """Say so at once."""
        super().failed(name, message)
        self._say(f"failed {name}: {message}")

    def _so_far(self) -> str:
        return f"{self.done}/{self.total} {self.unit}"

    def _say(self, *parts: str) -> None:
        self.console.print(f"{self.name}: {', '.join(parts)}", markup=False, highlight=False, soft_wrap=True)


class FrameLines:
    """A line every ten seconds; none for what is quick."""

    EVERY = 10.0

    def __init__(self, console: Console) -> None:
        self.console = console
        self.told = time.monotonic()
        self.item: MediaInput | None = None
        self.first, self.began = 0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def see(self, item: MediaInput, number: int, expected: int | None) -> None:
        """Count a frame."""
        now = time.monotonic()
        if item is not self.item:
            self.item, self.first, self.began = item, number, now
        if now - self.told < self.EVERY:
            return
        rate = (number - self.first) / (now - self.began) if now > self.began else 0.0
        of = f" of about {expected:,}" if expected else ""
        self.console.print(
            escape(f"{item.path}: frame {number:,}{of}, {rate:.0f} frames/s"), soft_wrap=True, highlight=False
        )
        self.told = now

    def done(self) -> None:
        """An input is finished."""


class FrameBars:
    """A bar for the inputs and one for the video that is being read."""

    def __init__(self, console: Console, inputs: int) -> None:
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.completed:,} of {task.fields[of]} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            redirect_stdout=sys.stdout.isatty(),  # what goes into a file is not drawn above the bars
        )
        self.all = self.bars.add_task("all", total=inputs, of=f"{inputs:,}", unit="inputs", rate="")
        self.one = self.bars.add_task("", visible=False, of="", unit="frames", rate="")
        self.item: MediaInput | None = None
        self.first, self.began = 0, 0.0

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def see(self, item: MediaInput, number: int, expected: int | None) -> None:
        """Move the video's bar."""
        if not item.is_video:
            return
        now = time.monotonic()
        if item is not self.item:
            self.item, self.first, self.began = item, number, now
            name = escape(item.name if len(item.name) < 24 else f"{item.name[:22]}..")
            self.bars.reset(self.one, description=name, total=expected, visible=True, of="", unit="frames", rate="")
        rate = (number - self.first) / (now - self.began) if now > self.began else 0.0
        of = f"{max(expected, number):,}" if expected else "?"
        self.bars.update(self.one, completed=number, total=expected, of=of, rate=f"{rate:.0f}/s")

    def done(self) -> None:
        """An input is finished."""
        self.bars.advance(self.all)
        self.bars.update(self.one, visible=False)
