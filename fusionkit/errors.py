"""Errors raised on purpose: a message with what was wrong and where, and a hint with what would be right.

Text of others in messages, tables and file names, such as the names of files and classes, is made printable here, and
a given path is expanded.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType


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


# Control characters, line and paragraph separators, marks that reverse the direction, halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
_NAME = 160  # bytes of a file name; file systems allow 255, and endings and temporary marks are added


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with its unprintable characters escaped, so that it is valid UTF-8 on one line.

    Control characters become ``\x1b`` or ``\n``, bytes of a file name that are not UTF-8 become ``\xff``.

    Args:
        text: any text, such as the name of a file or class.
        keep: characters that are not escaped, such as a line break.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # how Python stores a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode()


def file_name(text: str) -> str:
    """Return a file name that every file system and table accepts: printable, valid UTF-8, at most 160 bytes.

    A text that is such a name is unchanged. A long text is cut, and ends with a hash of the whole.
    """
    name = printable(text).replace("\\", "_") if _UNPRINTABLE.search(text) else text
    encoded = name.encode()
    if len(encoded) <= _NAME:
        return name
    return f"{encoded[: _NAME - 9].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:8]}"


_MESSAGE = 2_000  # characters of a message
_CAUSE = 1_000  # characters of an error of other code within a message
IN_TRACEBACK = "more characters in the traceback"


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` as the home folder; as it is for ``~name`` without such a user."""
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def shortened(text: str, shown: int = _MESSAGE) -> str:
    """Return the first characters of a text, and the number of the others."""
    more = len(text) - shown
    return f"{text[:shown]} ... ({more:,} {IN_TRACEBACK})" if more > 0 else text


def cause_of(error: BaseException) -> str:
    """Return an error of other code on one line: ``ValueError: its message``. A long message is shortened."""
    try:
        message = " ".join(str(error).split())
    except component_errors() as second:
        message = f"(its message cannot be read: {type(second).__name__})"
    return f"{type(error).__name__}: {shortened(message, _CAUSE)}" if message else type(error).__name__


@contextmanager
def extra(name: str, use: str) -> Iterator[None]:
    """Import packages of an optional extra inside; if one is missing, the error names the extra.

    Args:
        name: of the extra, as in ``pip install 'fusionkit[name]'``.
        use: what needs it, as the beginning of a sentence.

    Raises:
        ConfigError: if an import fails.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "a package").partition(".")[0]
        raise ConfigError(f"{use}: {missing} is not installed", hint=f"pip install 'fusionkit[{name}]'") from error
    except ImportError as error:
        raise ConfigError(f"{use}: {cause_of(error)}") from error


# -- interrupts --------------------------------------------------------------------------------------------------------


class _Interrupts:
    """Watched signals with their handlers, and whether the handler of one has raised an exception."""

    watched: Mapping[int, object] = {}
    received = False

    @classmethod
    def all_watched(cls) -> bool:
        """Return whether signals are watched, and no other code has replaced a handler since."""
        return bool(cls.watched) and all(signal.getsignal(number) is handler for number, handler in cls.watched.items())


@contextmanager
def watched_interrupts(number: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """Watch a signal, so that :func:`component_errors` can tell it from a KeyboardInterrupt that a component raises.

    No effect outside the main thread, which alone handles signals.
    """
    before = signal.getsignal(number)
    watched = _Interrupts.watched
    # A forked process inherits what is watched, but may have a handler of its own by now.
    is_watched = number in watched and watched[number] is before
    if threading.current_thread() is not threading.main_thread() or is_watched or before is None:
        yield
        return

    def handle(received: int, frame: FrameType | None) -> None:
        assert callable(before)
        try:
            before(received, frame)
        except BaseException:
            interrupted()
            raise

    if callable(before):  # else the system ignores the signal, or it ends the process
        signal.signal(number, handle)
    _Interrupts.watched = {**watched, number: signal.getsignal(number)}
    try:
        yield
    finally:
        _Interrupts.watched = watched
        _Interrupts.received = _Interrupts.received and bool(watched)
        if callable(before) and signal.getsignal(number) is handle:
            signal.signal(number, before)


def interrupted() -> None:
    """Record that the user ends the run: the exception that follows is not a component's."""
    _Interrupts.received = True


def is_interrupted() -> bool:
    """Return whether the user ends the run."""
    return _Interrupts.received


def component_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions that an ``except`` around code of a component catches.

    They are all exceptions while interrupts are watched and none was received: a component must not end a run.
    Otherwise a KeyboardInterrupt may be the user's.
    """
    if _Interrupts.received:
        return (Exception,)
    return (BaseException,) if _Interrupts.all_watched() else (Exception, SystemExit)


# -- memory ------------------------------------------------------------------------------------------------------------

_NO_MEMORY = ("can't allocate memory", "std::bad_alloc", "Insufficient memory")  # torch, C++, OpenCV


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means out of memory: of Python, of a GPU, or of a library on the CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    native = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return native and any(words in str(error) for words in _NO_MEMORY)
