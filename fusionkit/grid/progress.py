"""What a run tells while it works. The kernel speaks to this; the command line draws it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Told of stages and steps; does nothing by itself."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """A stage of ``total`` units (``frames``, ``heads``) begins; the context is its duration."""
        yield

    def advance(self, count: int = 1) -> None:
        """So many units of the current stage are done."""

    def reused(self, count: int, unit: str) -> None:
        """So many pieces of the current stage's work (``heads``, ``cells``) stood ready."""

    def failed(self, name: str, message: str) -> None:
        """A piece of work failed; the others go on."""
