"""Errors raised on purpose: a message with what was wrong and where, and a hint with what would be right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class FusionKitError(Exception):
    """Base of every error raised on purpose.

    Args:
        message: one line: what was wrong, and where.
        hint: one line: what would be right. Default: empty, for a message that includes it.
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
        problems: every problem, in the order of the config; a string is one problem.
        hint: one line: what would be right.
    """

    def __init__(self, problems: str | Iterable[str], *, hint: str = "") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems), hint=hint)


class PluginError(FusionKitError):
    """A component is missing, cannot be imported, conflicts with another or breaks its contract."""


class DataError(FusionKitError):
    """The content of a data set or a stored file is wrong."""


class StorageError(DataError):
    """A path cannot be written: the disk is full, or permission is missing. It ends a run, which can be resumed."""


class CellError(FusionKitError):
    """One task failed; the others continue."""


class FusionKitWarning(UserWarning):
    """A limit of a result, such as too few units, subjects in both train and test, or code that has changed."""


def first_of(names: Sequence[str], shown: int = 5) -> str:
    """Return the first names, separated by commas, and the number of the others."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def cause_of(error: BaseException) -> str:
    """Return an error of other code on one line: ``ValueError: its message``."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


_NO_MEMORY = ("can't allocate memory", "std::bad_alloc", "Insufficient memory")  # torch, C++, OpenCV


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means out of memory: of Python, of a GPU, or of a library on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    native = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return native and any(words in str(error) for words in _NO_MEMORY)
