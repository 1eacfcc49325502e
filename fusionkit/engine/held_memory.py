"""Memory that a process frees and takes again at once stays with it, where glibc would give it back page by page."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# Of <malloc.h>: which option, and what it is by default.
_TRIM_THRESHOLD, _TRIM_DEFAULT = -1, 128 * 1024
_MMAP_MAX, _MMAP_DEFAULT = -4, 65536
_NEVER = 2**31 - 1


@contextmanager
def held_memory() -> Iterator[None]:
    """Keep what is freed inside, for the layers of a network that follow each other.

    Each layer frees and takes buffers of up to hundreds of MiB. glibc maps those anew every time and the kernel clears
    them page by page, which is a fifth of the time of a conv net. At the end memory is given back, and is from
    then on; other C libraries than glibc are left alone.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (OSError, TypeError, AttributeError):  # no such functions, or no such way to find it
        yield
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        mallopt(_MMAP_MAX, _MMAP_DEFAULT)
        mallopt(_TRIM_THRESHOLD, _TRIM_DEFAULT)
        trim(0)
