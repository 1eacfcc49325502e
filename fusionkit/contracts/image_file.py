"""Reading of image files as frames: RGB, upright, 8 bits.

Shared by data sets and the kernel, so decoding is identical.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections import defaultdict
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import PurePath

import numpy as np

from fusionkit.contracts.regular_file import open_file
from fusionkit.errors import DataError

MAX_PIXELS = 200_000_000  # a video frame has a few megapixels, a photo up to a hundred: more is broken or malicious
_HEIF_ENDINGS = (".heic", ".heif", ".hif")  # with pillow-heif
ENDINGS = frozenset(
    {
        *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jfif", ".jpe", ".mpo", ".dib"),  # OpenCV
        *(".gif", ".avif", ".jp2", ".j2k", ".pbm", ".pgm", ".ppm", ".pnm", *_HEIF_ENDINGS),  # Pillow
    }
)
_NOTES = frozenset(  # endings of files that lie beside images and are none
    {
        *("", ".txt", ".md", ".rst", ".html", ".pdf", ".csv", ".tsv", ".xls", ".xlsx", ".json", ".xml", ".yaml"),
        *(".yml", ".db", ".ini", ".log", ".pts", ".npy", ".npz", ".mat", ".pkl", ".lnk", ".url", ".py", ".wav"),
        *(".mp3", ".srt"),
    }
)
_HEIF_HINT = "pip install 'fusionkit[heif]'"

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_TIFF_TYPES = {1: "B", 3: "H", 4: "I"}
_STARTS = (_JPEG_START, b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")  # read by OpenCV
_PILLOW_STARTS = (b"GIF87a", b"GIF89a", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_PILLOW_FORMATS = ("GIF", "AVIF", "JPEG2000", "PPM")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})


def read_image(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Decode an image file as :func:`load_image` does; return None where that raises DataError."""
    try:
        return load_image(path)
    except DataError:
        return None


def load_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Decode a JPEG, PNG, BMP, WebP, TIFF, GIF, AVIF, JPEG 2000, PBM, PGM or PPM file, or HEIF with pillow-heif.

    The content decides the format, not the name. Grey and CMYK become RGB. Transparency is dropped and the stored
    colours stay, except in TIFF, which is composited on black. 16 bits become 8 by scaling (65535 becomes 255). The
    EXIF orientation is applied, so faces are upright (in WebP from OpenCV 4.13 on). Of several pages the first is read.

    Args:
        path: the file.

    Returns:
        RGB uint8 (H, W, 3).

    Raises:
        DataError: if the file is missing, is no image, ends too early, holds floating-point or signed pixels, or its
            header states more than ``MAX_PIXELS``; in that case nothing is decoded.
    """
    return decoded(_bytes(path), os.fspath(path))


def decode_image(data: bytes, where: str) -> np.ndarray:
    """Decode the bytes of an image file as :func:`load_image` does, after the same check of its header.

    Args:
        data: the bytes.
        where: name of the file in error messages.

    Raises:
        DataError: as :func:`load_image`.
    """
    return decoded(_checked(data, where), where)


def decoded(data: bytes, where: str) -> np.ndarray:
    """Decode the bytes of an image file as :func:`load_image` does.

    Args:
        data: the bytes.
        where: name of the file in error messages.

    Raises:
        DataError: if they cannot be decoded, or hold floating-point or signed pixels.
    """
    import cv2

    if _needs_pillow(data):
        return _read_by_pillow(data, where)
    # IMREAD_UNCHANGED would ignore the orientation; without ANYDEPTH, 16 bits are truncated or rounded, by format.
    # Only JPEG is decoded to RGB: OpenCV leaves TIFF of 16 bits as BGR.
    jpeg = data.startswith(_JPEG_START)
    channels = cv2.IMREAD_COLOR_RGB if jpeg else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), channels | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{where} cannot be decoded")
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{where} holds {image.dtype} pixels; a frame has 8 or 16 bits without a sign")
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=255 / 65535)
    rgb: np.ndarray = image if jpeg else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return rgb


def is_image(data: bytes) -> bool:
    """Return whether the bytes, at least 16 of them, begin like an image that :func:`load_image` knows."""
    return data.startswith(_STARTS) or (data.startswith(b"RIFF") and data[8:12] == b"WEBP") or _needs_pillow(data)


def is_animated(path: str | os.PathLike[str]) -> bool:
    """Return whether a GIF file has several frames; False for any other file."""
    from PIL import Image

    try:
        with Image.open(path, formats=["GIF"]) as image:
            return bool(image.is_animated)  # type: ignore[attr-defined]
    except (OSError, SyntaxError, ValueError, EOFError):
        return False


def library_needed(name: str) -> str:
    """Return how to install what reads a file with this ending; empty if it can be read."""
    heif = PurePath(name).suffix.lower() in _HEIF_ENDINGS
    return _HEIF_HINT if heif and find_spec("pillow_heif") is None else ""


def unread_files(names: Iterable[str]) -> str:
    """Return number, ending and first name of files that are neither images nor usual notes, for a message.

    Args:
        names: of files.

    Returns:
        Such as ``2 .cr2 (the first: a/b.cr2), 1 .xyz (the first: c.xyz)``; empty without such a file.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        ending = PurePath(name).suffix.lower()
        if ending not in ENDINGS and ending not in _NOTES:
            found[ending].append(name)
    return ", ".join(f"{len(files):,} {ending} (the first: {files[0]})" for ending, files in sorted(found.items()))


def _needs_pillow(data: bytes) -> bool:
    """Return whether the bytes begin like a format that OpenCV does not read in every build."""
    if data[4:8] == b"ftyp":
        return data[8:12] in {b"avif", b"avis"} | _HEIF_BRANDS
    plain = data[:1] == b"P" and data[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and data[2:3].isspace()
    return plain or data.startswith(_PILLOW_STARTS)


def _read_by_pillow(data: bytes, where: str) -> np.ndarray:
    """Decode as :func:`decoded` does.

    Raises:
        DataError: if the image cannot be decoded, is too large, or needs a library that is not installed.
    """
    from PIL import Image, ImageOps

    Image.init()
    formats = [each for each in _PILLOW_FORMATS if each in Image.OPEN]
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        try:
            heif = import_module("pillow_heif")
        except ImportError as error:
            raise DataError(f"{where} is a HEIF image, which needs pillow-heif", hint=_HEIF_HINT) from error
        heif.register_heif_opener()
        formats.append("HEIF")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=formats) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise _too_large(where, width * height)
                upright = ImageOps.exif_transpose(image)
                if upright.mode == "F":
                    raise DataError(f"{where} holds float32 pixels; a frame has 8 or 16 bits without a sign")
                if upright.mode.startswith("I"):  # 16 bits
                    grey = np.rint(np.asarray(upright, np.float64) * (255 / 65535)).clip(0, 255).astype(np.uint8)
                    return np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2))
                # A copy: a frame of a data set may be changed by its owner, an array of Pillow may not.
                return np.array(upright.convert("RGB"))
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{where} claims more than {MAX_PIXELS / 1e6:,.0f} megapixels, which are refused") from error
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, EOFError and others
        raise DataError(f"{where} is cut short or broken") from error


def _too_large(where: str, pixels: int) -> DataError:
    return DataError(f"{where} claims {pixels / 1e6:,.0f} megapixels; more than {MAX_PIXELS / 1e6:,.0f} are refused")


def claimed_pixels(data: bytes) -> int | None:
    """Return width times height as stated in the header.

    Args:
        data: the whole file: JPEG, PNG, BMP, WebP or (classic) TIFF.

    Returns:
        The number of pixels; None if the file has another format, a broken header, or ends too early.

    Reference: ITU T.81 annex B (JPEG), RFC 2083 (PNG), RFC 9649 (WebP), TIFF 6.0 section 2, the BITMAPINFOHEADER
    structure of Windows (BMP).
    """
    try:
        if data.startswith(_JPEG_START):
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


def _bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of an image file after checking its header.

    Raises:
        DataError: if it cannot be read, is no image, is cut short or too large.
    """
    where = os.fspath(path)
    try:
        with open_file(path, buffering=0) as file:
            data: bytes = file.read()
    except (OSError, ValueError) as error:  # a name with a NUL byte is no file's
        raise DataError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return _checked(data, where)


def _checked(data: bytes, where: str) -> bytes:
    """Return the bytes of an image file after checking its header.

    Raises:
        DataError: if they are no image, are cut short, or state too many pixels.
    """
    if not data:
        raise DataError(f"{where} is empty")
    if not is_image(data):
        raise DataError(f"{where} is no image of a known format, such as JPEG or PNG")
    if _needs_pillow(data):
        return data  # Pillow checks the header before it decodes
    pixels = claimed_pixels(data)
    if not pixels:
        raise DataError(f"{where} is cut short or broken")
    if pixels > MAX_PIXELS:
        raise _too_large(where, pixels)
    return data


def _jpeg(data: bytes) -> int | None:
    pixels = None
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        marker = data[at + 1]
        if marker == 0xDA:  # the scan. It never contains an end marker; a thumbnail before it does
            return pixels if data.rfind(_JPEG_END, at) >= 0 else None
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # markers without a length
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
    packed = compression in (1, 2)  # run-length encoding: the size of the data does not follow from the image's
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
    struct.unpack_from(f"{order}I", data, at + 2 + 12 * entries)  # offset of the next page's directory
    for entry in range(entries):
        start = at + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, start)
        if tag in (256, 257, 273, 279, 324, 325) and kind in _TIFF_TYPES:
            form = f"{order}{count}{_TIFF_TYPES[kind]}"
            inside = struct.calcsize(form) <= 4
            offset = start + 8 if inside else struct.unpack_from(f"{order}I", data, start + 8)[0]
            fields[tag] = struct.unpack_from(form, data, offset)
    ends = [
        offset + size
        for offsets, sizes in ((273, 279), (324, 325))  # strips, tiles
        for offset, size in zip(fields.get(offsets, ()), fields.get(sizes, ()), strict=False)
    ]
    whole = ends and max(ends) <= len(data)
    return fields[256][0] * fields[257][0] if whole and fields.get(256) and fields.get(257) else None
