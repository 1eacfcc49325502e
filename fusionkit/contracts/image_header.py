"""How many pixels an image file claims to hold, read from its header, and whether the file is all there.

Decoders differ by version in what they make of a file that was cut short: some pad it with grey, some print to the
terminal. Asked beforehand, the answer is always the same, and a header that claims a monstrous image costs no memory.
"""

from __future__ import annotations

import struct

_JPEG_END = b"\xff\xd9"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_TIFF_TYPES = {1: "B", 3: "H", 4: "I"}
_STARTS = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")


def is_image(data: bytes) -> bool:
    """Whether the file begins like a JPEG, PNG, BMP, WebP or (classic) TIFF file."""
    return data.startswith(_STARTS) or (data.startswith(b"RIFF") and data[8:12] == b"WEBP")


def claimed_pixels(data: bytes) -> int | None:
    """Width times height as the header states it.

    Args:
        data: the whole file: JPEG, PNG, BMP, WebP or (classic) TIFF.

    Returns:
        The number of pixels; None if the file is of another kind, broken in its header, or ends too early.

    Reference: ITU T.81 annex B (JPEG), RFC 2083 (PNG), RFC 9649 (WebP), TIFF 6.0 section 2, the BITMAPINFOHEADER
    structure of Windows (BMP).
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith((b"II*\0", b"MM\0*")):
            return _tiff(data)
    except (IndexError, struct.error):  # the header itself is cut short
        return None
    return None


def _jpeg(data: bytes) -> int | None:
    pixels = None
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        marker = data[at + 1]
        if marker == 0xDA:  # the scan. Its bytes never form an end marker; those of a thumbnail, before it, do
            return pixels if data.find(_JPEG_END, at) >= 0 else None
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # stand alone, without a length
            at += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack_from(">HH", data, at + 5)
            pixels = height * width
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    return None


def _png(data: bytes) -> int | None:
    name, width, height = struct.unpack_from(">4sII", data, 12)
    return width * height if name == b"IHDR" and _PNG_END in data else None


def _bmp(data: bytes) -> int | None:
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:  # OS/2
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    packed = compression in (1, 2)  # run lengths: the size of the data is not that of the image
    needed = start if packed else start + (width * depth + 31) // 32 * 4 * abs(height)
    return width * abs(height) if width > 0 and height and len(data) >= needed else None


def _webp(data: bytes) -> int | None:
    if len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return (1 + int.from_bytes(data[24:27], "little")) * (1 + int.from_bytes(data[27:30], "little"))
    if kind == b"VP8L":
        bits: int = struct.unpack_from("<I", data, 21)[0]
        return (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        bits = struct.unpack_from("<I", data, 26)[0]
        return (bits & 0x3FFF) * (bits >> 16 & 0x3FFF)
    return None


def _tiff(data: bytes) -> int | None:
    order = "<" if data.startswith(b"II") else ">"
    at = struct.unpack_from(f"{order}I", data, 4)[0]
    fields: dict[int, tuple[int, ...]] = {}
    entries = struct.unpack_from(f"{order}H", data, at)[0]
    struct.unpack_from(f"{order}I", data, at + 2 + 12 * entries)  # where the directory of the next page is
    for entry in range(entries):
        place = at + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, place)
        if tag in (256, 257, 273, 279, 324, 325) and kind in _TIFF_TYPES:
            form = f"{order}{count}{_TIFF_TYPES[kind]}"
            inside = struct.calcsize(form) <= 4
            where = place + 8 if inside else struct.unpack_from(f"{order}I", data, place + 8)[0]
            fields[tag] = struct.unpack_from(form, data, where)
    ends = [
        offset + size
        for offsets, sizes in ((273, 279), (324, 325))  # strips, tiles
        for offset, size in zip(fields.get(offsets, ()), fields.get(sizes, ()), strict=False)
    ]
    whole = ends and max(ends) <= len(data)
    return fields[256][0] * fields[257][0] if whole and fields.get(256) and fields.get(257) else None
