"""Single values out of NumPy files, against numpy.load."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit_datasets.npy_scalar import npy_scalar


def saved(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array("5"), "5"),
        (np.array(b"5"), "5"),
        (np.str_("10"), "10"),
        (np.int64(3), "3"),
        (np.array([7], np.uint8), "7"),
        (np.array([[2.0]], ">f4"), "2.0"),
        (np.asfortranarray([[4]]), "4"),
    ],
)
def test_the_value_is_what_numpy_loads(value, text):
    data = saved(value)
    assert npy_scalar(data) == text
    loaded = np.load(io.BytesIO(data)).reshape(-1)[0]
    assert npy_scalar(data) == (loaded.decode() if isinstance(loaded, bytes) else str(loaded))


def test_newer_versions_of_the_format_are_read():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array("6"), version=(2, 0))
    assert npy_scalar(file.getvalue()) == "6"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        saved(np.array([1, 2])),
        saved(np.array([], int)),
        saved(np.array(["a", None], object), allow_pickle=True),
        saved(np.array(5))[:-3],
    ],
    ids=["empty", "cut header", "two", "none", "pickle", "cut"],
)
def test_anything_else_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        npy_scalar(data)


@given(st.binary(max_size=100), st.integers(0, 140))
def test_whatever_the_bytes_are_no_other_error_comes_out(junk, kept):
    for data in (junk, saved(np.array("5"))[:kept] + junk):
        with contextlib.suppress(ValueError):
            npy_scalar(data)
