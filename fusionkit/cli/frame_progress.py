"""How far the reading of photos and videos is: bars on a terminal, a line once in a while where nobody is looking."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from fusionkit.media.inputs import MediaInput


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
        self.bars = Progress(
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
        if not item.moving:
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
