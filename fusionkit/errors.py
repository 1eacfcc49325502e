"""The errors that fusionkit raises on purpose: one line of what was wrong and where, and a hint of what is right."""

from __future__ import annotations

from collections.abc import Iterable


class FusionKitError(Exception):
    """Base of every error raised on purpose.

    Args:
        message: one line: what was wrong, and where.
        hint: one line: what would be right. Empty where the message already says so.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message


class ConfigError(FusionKitError):
    """The request is wrong; nothing has run.

    Args:
        problems: every problem that was found, in the order of the config; a lone string counts as one problem.
        hint: one line: what would be right.
    """

    def __init__(self, problems: str | Iterable[str], *, hint: str = "") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems), hint=hint)


class PluginError(FusionKitError):
    """A component is missing, cannot be imported, clashes with another or breaks its contract."""


class DataError(FusionKitError):
    """A data set or a stored file does not hold what it should."""


class StorageError(DataError):
    """A place cannot be written: the disk is full, or permission is lacking. It ends a run, which can be resumed."""


class CellError(FusionKitError):
    """One piece of work failed; the others go on."""


def cause_of(error: BaseException) -> str:
    """Somebody else's error on one line: ``ValueError: what it said``."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


_NO_MEMORY = ("can't allocate memory", "std::bad_alloc", "Insufficient memory")  # torch, C++, OpenCV


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out: Python's own, a GPU's, or that of a library on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    native = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return native and any(words in str(error) for words in _NO_MEMORY)
