"""Progress on the terminal: bars with counts and time left, or plain lines where nobody is looking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from fusionkit.grid.progress import Progress


class BarProgress(Progress):
    """A bar a stage."""

    def __init__(self, console: Console) -> None:
        self.bars = Bars(
            TextColumn("{task.description:>6}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task: TaskID | None = None

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Draw a bar while the stage lasts; it stays when the stage is over."""
        self.task = self.bars.add_task(name, total=total, unit=unit)
        self.bars.start()
        try:
            yield
        finally:
            self.bars.stop()
            self.task = None

    def advance(self, count: int = 1) -> None:
        """Move the bar."""
        if self.task is not None:
            self.bars.advance(self.task, count)

    def failed(self, name: str, message: str) -> None:
        """A line above the bar."""
        self.bars.console.print(f"[red]failed[/] {escape(name)}: {escape(message)}", soft_wrap=True)


class LineProgress(Progress):
    """A line when a stage ends, and one every ten seconds before.

    Args:
        console: where to.
        brief: say nothing of stages that end sooner.
    """

    EVERY = 10.0

    def __init__(self, console: Console, *, brief: bool = False) -> None:
        self.console, self.brief = console, brief
        self.name, self.total, self.unit, self.done = "", 0, "", 0
        self.started = self.told = 0.0

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Say how long it took."""
        self.name, self.total, self.unit, self.done = name, total, unit, 0
        self.started = self.told = time.monotonic()
        yield
        if self.brief and self.told == self.started:
            return
        self._say(f"{self.done}/{self.total} {unit} in {time.monotonic() - self.started:.1f} s")

    def advance(self, count: int = 1) -> None:
        """Say how far it is, once in a while."""
        self.done += count
        now = time.monotonic()
        if now - self.told >= self.EVERY and self.done:
            left = (now - self.started) / self.done * (self.total - self.done)
            self._say(f"{self.done}/{self.total} {self.unit}, {left:.0f} s left")
            self.told = now

    def failed(self, name: str, message: str) -> None:
        """Say so at once."""
        self._say(f"failed {name}: {message}")

    def _say(self, text: str) -> None:
        self.console.print(f"{self.name}: {text}", markup=False, highlight=False, soft_wrap=True)
