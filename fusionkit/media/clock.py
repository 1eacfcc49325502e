"""Measure the time of the steps of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Sum the seconds of each step.

    Attributes:
        seconds: by name of the step.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Add the time of a ``with`` block to a step."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[step] += perf_counter() - start

    def each(self, step: str, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; add the time of producing them to a step."""
        iterator = iter(items)
        while True:
            with self(step):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
