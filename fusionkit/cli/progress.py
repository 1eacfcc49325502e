"""Progress on the terminal: bars with counts and remaining time, or plain lines if stderr is not a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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

from fusionkit.api import AlignProgress, Progress
from fusionkit.cli.console import err, is_interactive, print_note

if TYPE_CHECKING:
    from pathlib import Path

    from fusionkit.api import AlignOutcome, MediaInput


def stage_progress(*, brief: bool = False) -> Progress:
    """Return bars on a terminal, else lines. ``brief`` shows no finished bar and no line for a short stage."""
    return BarProgress(err, brief=brief) if is_interactive() else LineProgress(err, brief=brief)


def frame_progress(report: Callable[[AlignOutcome], None]) -> FrameBars | FrameLines:
    """Return bars on a terminal, else lines, that call ``report`` with the outcome of each input."""
    return FrameBars(err, report) if is_interactive() else FrameLines(err, report)


class _StageProgress(Progress):
    """Counts of a stage."""

    def __init__(self) -> None:
        self.done = self.total = 0
        self.started = 0.0
        self._counter: Counter[str] = Counter()

    def begin(self, total: int) -> None:
        """Start a stage."""
        self.done, self.total, self.started = 0, total, time.monotonic()
        self._counter.clear()

    def advance(self, count: int = 1) -> None:
        """Count steps. More steps than announced are added to the total."""
        self.done += count
        self.total = max(self.total, self.done)

    def reused(self, count: int, unit: str) -> None:
        """Count work that was stored."""
        self._counter[f"{unit} reused"] += count

    def failed(self, name: str, message: str) -> None:
        """Count a failure."""
        self._counter["failed"] += 1

    @property
    def counts(self) -> list[str]:
        """Reused work and failures, as ``12 heads reused``, ``1 failed``."""
        return [f"{count:,} {text}" for text, count in self._counter.items() if count]


def _rate(done: float, seconds: float) -> str:
    """Return steps per second, or per minute if they are slow."""
    pace = done / max(seconds, 1e-9)
    if pace >= 100:
        return f"{pace:,.0f}/s"
    return f"{pace:.3g}/s" if pace >= 1 else f"{60 * pace:.3g}/min"


def _left(done: float, total: float, seconds: float) -> float:
    """Return the remaining seconds at the present rate; none are negative."""
    return seconds / done * max(total - done, 0)


class _Pace(ProgressColumn):
    """Rate and remaining time; after the last step the duration."""

    def render(self, task: Task) -> Text:
        """Return the text of a bar."""
        spent, total = task.elapsed or 0.0, task.total or 0.0
        if task.finished or not task.completed:
            return Text(_clock(spent))
        left = _left(task.completed, total, spent)
        return Text(f"{_rate(task.completed, spent)}, {_clock(left)} left")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


class BarProgress(_StageProgress):
    """One bar per stage.

    Args:
        console: output.
        brief: remove a bar when its stage ends.
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
        """Draw a bar during a stage."""
        self.begin(total)
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
            self.bars.update(self.task, completed=self.done, total=self.total)

    def reused(self, count: int, unit: str) -> None:
        """Show the count beside the bar."""
        super().reused(count, unit)
        self._show_counts()

    def failed(self, name: str, message: str) -> None:
        """Print the failure above the bar and count it."""
        super().failed(name, message)
        self._show_counts()
        self.bars.console.print(f"[red]failed[/] {escape(name)}: {escape(message)}", soft_wrap=True)

    def _show_counts(self) -> None:
        if self.task is not None:
            self.bars.update(self.task, counts=", ".join(self.counts))


class LineProgress(_StageProgress):
    """One line at the end of a stage, and one every ten seconds before.

    Args:
        console: output.
        brief: print nothing for stages that end within ten seconds.
    """

    EVERY = 10.0  # s

    def __init__(self, console: Console, *, brief: bool = False) -> None:
        super().__init__()
        self.console, self.brief = console, brief
        self.name, self.unit = "", ""
        self._printed = 0.0  # time of the last line

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Print the duration at the end of a stage."""
        self.begin(total)
        self.name, self.unit, self._printed = name, unit, self.started
        yield
        if self.brief and self._printed == self.started:
            return
        self._print(f"{self._so_far()} in {time.monotonic() - self.started:.1f} s", *self.counts)

    def advance(self, count: int = 1) -> None:
        """Print a line if the last one is old."""
        super().advance(count)
        now = time.monotonic()
        if now - self._printed >= self.EVERY and self.done:
            spent = now - self.started
            left = _left(self.done, self.total, spent)
            self._print(self._so_far(), _rate(self.done, spent), f"{left:.0f} s left", *self.counts)
            self._printed = now

    def failed(self, name: str, message: str) -> None:
        """Print the failure at once."""
        super().failed(name, message)
        self._print(f"failed {name}: {message}")

    def _so_far(self) -> str:
        return f"{self.done}/{self.total} {self.unit}"

    def _print(self, *parts: str) -> None:
        self.console.print(f"{self.name}: {', '.join(parts)}", markup=False, highlight=False, soft_wrap=True)


class _FrameRate:
    """Frames per second of the video that is being read."""

    def __init__(self) -> None:
        self._item: MediaInput | None = None
        self._first, self._began = 0, 0.0

    def restarted(self, item: MediaInput, number: int) -> bool:
        """Return whether this frame is the first of its video."""
        if item is self._item:
            return False
        self._item, self._first, self._began = item, number, time.monotonic()
        return True

    def at(self, number: int) -> float:
        """Return the rate up to a frame."""
        spent = time.monotonic() - self._began
        return (number - self._first) / spent if spent > 0 else 0.0


class _FrameProgress(AlignProgress):
    """Progress of inputs and frames; use as a context.

    Args:
        console: output.
        report: called with the outcome of each input.
    """

    def __init__(self, console: Console, report: Callable[[AlignOutcome], None]) -> None:
        self.console, self._report = console, report
        self._rate = _FrameRate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Stop drawing."""

    def skipped(self, paths: Sequence[Path]) -> None:
        """Print what is not read."""
        names = ", ".join(map(str, paths))
        print_note(f"not read, since it was written by fusionkit align: {names}")

    def finished(self, outcome: AlignOutcome) -> None:
        """Report the outcome."""
        self._report(outcome)


class FrameLines(_FrameProgress):
    """One line every ten seconds of a video."""

    EVERY = 10.0  # s

    def __init__(self, console: Console, report: Callable[[AlignOutcome], None]) -> None:
        super().__init__(console, report)
        self._printed = time.monotonic()

    def frame_read(self, item: MediaInput, number: int, expected: int | None) -> None:
        """Print a line if the last one is old."""
        self._rate.restarted(item, number)
        now = time.monotonic()
        if now - self._printed < self.EVERY:
            return
        self._printed = now
        of = f" of about {max(expected, number):,}" if expected else ""
        text = f"{item.path}: frame {number:,}{of}, {self._rate.at(number):.0f} frames/s"
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class FrameBars(_FrameProgress):
    """One bar for the inputs, and one for the video that is being read."""

    def __init__(self, console: Console, report: Callable[[AlignOutcome], None]) -> None:
        super().__init__(console, report)
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.completed:,} of {task.fields[of]} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._inputs = self.bars.add_task("all", total=None, of="?", unit="inputs", rate="")
        self._video = self.bars.add_task("", visible=False, of="", unit="frames", rate="")

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def started(self, inputs: int) -> None:
        """Draw the bar of the inputs."""
        self.bars.update(self._inputs, total=inputs, of=f"{inputs:,}")
        self.bars.start()

    def frame_read(self, item: MediaInput, number: int, expected: int | None) -> None:
        """Move the bar of the video."""
        if item.is_photo:
            return
        if self._rate.restarted(item, number):
            name = escape(item.name if len(item.name) < 24 else f"{item.name[:22]}..")
            self.bars.reset(self._video, description=name, total=expected, visible=True, of="", unit="frames", rate="")
        of = f"{max(expected, number):,}" if expected else "?"
        rate = f"{self._rate.at(number):.0f}/s"
        self.bars.update(self._video, completed=number, total=expected, of=of, rate=rate)

    def finished(self, outcome: AlignOutcome) -> None:
        """Move the bar of the inputs."""
        self.bars.advance(self._inputs)
        self.bars.update(self._video, visible=False)
        super().finished(outcome)
