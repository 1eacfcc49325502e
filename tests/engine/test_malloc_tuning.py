"""Freed blocks are kept inside the context and returned outside it, as the allocator's own marks show."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is tuned"),
]

# In a process of its own: what a heap has been through decides what it can do.
LOOK = """
import ctypes
from fusionkit.engine.malloc import tuned_malloc

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]

def mapped():
    block = libc.malloc(2**26)
    size = ctypes.c_size_t.from_address(block - ctypes.sizeof(ctypes.c_size_t)).value
    libc.free(block)
    return bool(size & 2)  # it has a mapping of its own, which goes when it is freed

"""


def seen(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", LOOK + code], check=True, capture_output=True, text=True)
    return done.stdout.split()


def test_large_blocks_are_kept_inside_only() -> None:
    assert seen("print(mapped())\nwith tuned_malloc(): print(mapped())\nprint(mapped())") == ["True", "False", "True"]


def test_an_error_inside_leaves_nothing_changed() -> None:
    code = "try:\n    with tuned_malloc(): 1 / 0\nexcept ZeroDivisionError: print(mapped())"
    assert seen(code) == ["True"]
