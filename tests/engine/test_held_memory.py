"""Large blocks are kept between their uses inside, and given back outside, as the allocator's own marks tell."""

from __future__ import annotations

import ctypes
import platform

import pytest

from fusionkit.engine.held_memory import held_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")

MAPPED = 2  # of the size that stands before a block: it has a mapping of its own, which goes when it is freed
LARGE = 2**26


def mapped() -> bool:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    block = libc.malloc(LARGE)
    size = ctypes.c_size_t.from_address(block - ctypes.sizeof(ctypes.c_size_t)).value
    libc.free(block)
    return bool(size & MAPPED)


def test_large_blocks_are_kept_inside_only() -> None:
    assert mapped()
    with held_memory():
        assert not mapped()
    assert mapped()


def test_an_error_inside_leaves_nothing_changed() -> None:
    with pytest.raises(RuntimeError, match="inside"), held_memory():
        raise RuntimeError("inside")
    assert mapped()
