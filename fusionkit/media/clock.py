"""Where the time of a pass over recordings goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Adds up the seconds of each step.

    Attributes:
        seconds: by step.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """The context is a part of a step."""
        began = perf_counter()
        try:
            yield
        finally:
            self.seconds[step] += perf_counter() - began

    def each(self, step: str, items: Iterable[T]) -> Iterator[T]:
        """The items, the making of each a part of a step."""
        iterator = iter(items)
        while True:
            with self(step):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def add(self, step: str, seconds: float) -> None:
        """What somebody else has measured."""
        self.seconds[step] += seconds
