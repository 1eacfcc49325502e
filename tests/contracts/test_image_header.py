"""Sizes read from headers, against Pillow's reading of the same files."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fusionkit.contracts.image_file import claimed_pixels

VARIANTS = [
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "CMYK", {"comment": b"a comment with an end marker \xff\xd9 and a scan \xff\xda in it"}),
    ("PNG", "RGB", {}),
    ("PNG", "LA", {}),
    ("PNG", "P", {}),
    ("BMP", "RGB", {}),
    ("BMP", "P", {}),
    ("BMP", "1", {}),
    ("WEBP", "RGB", {"quality": 80}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"quality": 80}),
    ("TIFF", "RGB", {}),
    ("TIFF", "L", {"compression": "tiff_lzw"}),
    ("TIFF", "1", {"compression": "group4"}),
]


def encoded(kind: str, mode: str, width: int, height: int, options: dict) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, size=(height, width, 4)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(("kind", "mode", "options"), VARIANTS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 300), (640, 3)])
def test_the_size_in_the_header_equals_that_of_pillow(kind, mode, options, width, height):
    data = encoded(kind, mode, width, height, options)
    assert Image.open(io.BytesIO(data)).size == (width, height)
    assert claimed_pixels(data) == width * height


@pytest.mark.parametrize(("kind", "mode", "options"), VARIANTS)
def test_no_truncated_file_passes_for_the_whole(kind, mode, options):
    data = encoded(kind, mode, 9, 11, options)
    for length in range(len(data) - 2):  # PNG and WebP may do without a last padding byte
        assert claimed_pixels(data[:length]) is None, length


@given(
    st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x10\0\0\0WEBP", b"II*\0", b"MM\0*"]),
    st.binary(max_size=200),
)
def test_no_bytes_make_it_fail(start, rest):
    claim = claimed_pixels(start + rest)
    assert claim is None or claim >= 0


@pytest.mark.parametrize("order", ["little", "big"])
def test_tiffs_of_either_byte_order_are_understood(order):
    mark = {"little": b"II", "big": b"MM"}[order]

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)

    def short(tag: int, value: int) -> bytes:
        return number(tag, 2) + number(3, 2) + number(1, 4) + number(value, 2) + b"\0\0"

    entries = [short(256, 5), short(257, 2), short(273, 8), short(279, 10)]
    data = mark + number(42, 2) + number(18, 4) + bytes(10) + number(len(entries), 2) + b"".join(entries) + bytes(4)
    assert claimed_pixels(data) == 10


def test_a_bmp_may_store_its_rows_from_the_top():
    data = bytearray(encoded("BMP", "RGB", 4, 6, {}))
    data[22:26] = (-6).to_bytes(4, "little", signed=True)
    assert claimed_pixels(bytes(data)) == 24


def test_a_bmp_with_the_header_of_os2_is_understood():
    header = b"BM" + (26 + 12).to_bytes(4, "little") + bytes(4) + (26).to_bytes(4, "little")
    core = (12).to_bytes(4, "little") + b"\x03\0" + b"\x01\0" + b"\x01\0" + b"\x18\0"
    assert claimed_pixels(header + core + bytes(12)) == 3
    assert claimed_pixels(header + core + bytes(11)) is None
