"""Progress of a command. The kernel calls these methods; the command line overrides them to draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Receives stages and steps, and ignores them."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Enter a stage of ``total`` units (``frames``, ``heads``); the context lasts as long as the stage."""
        yield

    def advance(self, count: int = 1) -> None:
        """Add finished units to the current stage."""

    def reused(self, count: int, unit: str) -> None:
        """Report the number of results (``heads``, ``cells``) of the current stage that were stored."""

    def failed(self, name: str, message: str) -> None:
        """Report a failed task; the others continue."""
