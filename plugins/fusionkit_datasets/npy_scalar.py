"""One value out of a small NumPy file, without pickle and fast enough for hundreds of thousands of files."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache
from tokenize import TokenError

import numpy as np

_MAGIC = b"\x93NUMPY\x01\x00"
_FIRST = 10  # magic, version, length of the header
# What NumPy lets through from the parsers beneath it; SystemError is what text beyond Unicode ends in.
_BROKEN = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    RecursionError,
    SyntaxError,
    SystemError,
    TokenError,
)


def npy_scalar(data: bytes) -> str:
    """The only value of a ``.npy`` file as text: a number, or a string that was saved as an array.

    Args:
        data: the bytes of the file.

    Raises:
        ValueError: if it is no ``.npy`` file, holds pickled objects, or not exactly one value.
    """
    try:
        value = _only(_array(data))
        return value.decode() if isinstance(value, bytes) else str(value)
    except _BROKEN as error:
        raise ValueError(" ".join(str(error).split())) from error


def _array(data: bytes) -> np.ndarray:
    if not data.startswith(_MAGIC):
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            raise TypeError("this is an archive of arrays")
        return loaded
    start = _FIRST + int.from_bytes(data[8:10], "little")
    shape, dtype = _header(data[:start])
    return np.frombuffer(data, dtype, count=int(np.prod(shape, dtype=object)), offset=start)


def _only(array: np.ndarray) -> object:
    if array.size != 1:
        raise ValueError(f"this holds {array.size} values, not one")
    value: object = array.reshape(-1)[0]
    return value


@lru_cache(maxsize=64)
def _header(head: bytes) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type, parsed once for all files that start the same."""
    file = io.BytesIO(head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a file of Python 2 is as good as any
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("this holds pickled objects")
    return shape, dtype
