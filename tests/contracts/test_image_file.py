"""Reading one image: right pixels, upright, or None without terminal output."""

import os
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fusionkit.contracts import image_file
from fusionkit.contracts.image_file import library_needed, load_image, read_image, unread_files
from fusionkit.errors import DataError

LOSSLESS = [".png", ".bmp", ".webp", ".tif", ".tiff"]
ALL = [".jpg", ".jpeg", *LOSSLESS]
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}


def picture(height: int = 40, width: int = 56) -> np.ndarray:
    """A smooth picture whose every flip and every order of channels differs."""
    y, x = np.mgrid[:height, :width]
    red, green, blue = 250 * x / width, 200 * y / height, 120 * (x + y) / (width + height)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def save(path: Path, image: np.ndarray, **options: object) -> Path:
    if path.suffix == ".webp":
        options = {"lossless": True, "exact": True, **options}
    Image.fromarray(image).save(path, **options)
    return path


@pytest.fixture(autouse=True)
def silent(capfd):
    """Nothing may be printed, whatever is read."""
    yield
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize("ending", [*LOSSLESS, ".PNG", ".BmP"])
def test_a_lossless_file_gives_its_rgb_pixels(tmp_path, ending):
    image = read_image(save(tmp_path / f"a{ending}", picture()))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, picture())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
def test_a_jpeg_gives_its_rgb_pixels_nearly(tmp_path, options):
    image = read_image(save(tmp_path / "a.jpg", picture(), quality=95, **options))
    np.testing.assert_allclose(image.astype(int), picture().astype(int), atol=8)


def test_the_content_decides_not_the_ending(tmp_path):
    save(tmp_path / "a.png", picture()).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), picture())


@pytest.mark.parametrize("ending", ALL)
def test_grey_becomes_rgb(tmp_path, ending):
    image = read_image(save(tmp_path / f"a{ending}", np.full((5, 7), 90, np.uint8)))
    np.testing.assert_array_equal(image, np.full((5, 7, 3), 90))


def test_a_palette_and_single_bits_become_rgb(tmp_path):
    flags = np.zeros((6, 9), bool)
    flags[2:, 3:] = True
    Image.fromarray(flags).save(tmp_path / "bits.png")
    Image.fromarray(flags).save(tmp_path / "bits.tif", compression="group4")
    Image.fromarray(picture()).quantize(16).save(tmp_path / "palette.png")
    expected = np.asarray(Image.open(tmp_path / "palette.png").convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), expected)
    for name in ("bits.png", "bits.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), np.repeat(flags[..., None] * 255, 3, axis=2))


@pytest.mark.parametrize("ending", [".png", ".webp", ".bmp", ".tif"])
def test_transparency_is_dropped_and_the_stored_colours_stay_but_in_tiff_it_is_composited_on_black(tmp_path, ending):
    alpha = np.zeros((40, 56, 1), np.uint8)
    alpha[:20] = 130
    image = read_image(save(tmp_path / f"a{ending}", np.concatenate([picture(), alpha], axis=2)))
    if ending == ".tif":
        np.testing.assert_allclose(image, picture() * (alpha / 255), atol=1)
    else:
        np.testing.assert_array_equal(image, picture())


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_so_that_65535_is_255(tmp_path, ending, channels):
    deep = np.random.default_rng(0).integers(0, 65536, size=(20, 30, channels)).astype(np.uint16)
    deep[0, :4, 0] = [0, 128, 129, 65535]
    assert cv2.imwrite(str(tmp_path / f"a{ending}"), deep[..., ::-1])
    expected = np.rint(deep / 257.0)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{ending}"), np.broadcast_to(expected, (20, 30, 3)))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.int32])
def test_pixels_that_are_not_unsigned_whole_numbers_are_refused(tmp_path, kind):
    assert cv2.imwrite(str(tmp_path / "a.tiff"), picture().astype(kind))
    assert read_image(tmp_path / "a.tiff") is None


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_the_exif_orientation_is_applied(tmp_path, ending, orientation):
    if ending == ".webp" and tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 13):
        pytest.skip("OpenCV before 4.13 does not know the orientation of WebP")
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = read_image(save(tmp_path / f"stored{ending}", picture()))
    turned = read_image(save(tmp_path / f"turned{ending}", picture(), exif=exif))
    np.testing.assert_array_equal(turned, UPRIGHT[orientation](stored))


@pytest.mark.parametrize("name", ["ünï ćode 表情.jpg", "with space.png", "[0]{1}*.bmp"])
def test_any_file_name_works(tmp_path, name):
    save(tmp_path / name, picture())
    assert read_image(tmp_path / name).shape == (40, 56, 3)
    assert read_image(str(tmp_path / name)).shape == (40, 56, 3)


@pytest.mark.parametrize("ending", ALL)
def test_one_pixel_is_an_image(tmp_path, ending):
    np.testing.assert_array_equal(
        read_image(save(tmp_path / f"a{ending}", np.full((1, 1, 3), 77, np.uint8))), [[[77] * 3]]
    )


@pytest.mark.slow
def test_a_24_megapixel_photo_is_an_image(tmp_path):
    save(tmp_path / "a.jpg", np.full((4000, 6000), 50, np.uint8))
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (4000, 6000, 3)
    assert (image == 50).all()


@pytest.mark.parametrize("ending", ALL)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_ends_too_early_is_unreadable(tmp_path, ending, share):
    path = save(tmp_path / f"a{ending}", picture())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert read_image(path) is None


def test_a_tiff_whose_directory_comes_first_is_unreadable_without_its_last_strip(tmp_path):
    path = save(tmp_path / "a.tif", picture())
    data = path.read_bytes()
    assert struct.unpack_from("<I", data, 4)[0] < len(data) / 2
    path.write_bytes(data[:-1])
    assert read_image(path) is None


def test_a_jpeg_cut_short_is_unreadable_even_when_its_thumbnail_is_whole(tmp_path):
    save(tmp_path / "thumbnail.jpg", picture(8, 8))
    payload = b"Exif\0\0" + (tmp_path / "thumbnail.jpg").read_bytes()
    data = save(tmp_path / "a.jpg", picture(), quality=95).read_bytes()
    whole = data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + data[2:]
    for length, readable in [(len(whole), True), (len(whole) - 2, False), (len(whole) - 200, False)]:
        (tmp_path / "b.jpg").write_bytes(whole[:length])
        image = read_image(tmp_path / "b.jpg")
        assert (image is not None) == readable
    assert image is None


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\n", b"\xff" * 7, b"trailer of a phone's camera" * 50])
def test_bytes_after_the_end_of_a_jpeg_are_ignored(tmp_path, tail):
    path = save(tmp_path / "a.jpg", picture())
    expected = read_image(path)
    path.write_bytes(path.read_bytes() + tail)
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xe0\0\x10JFIF", b"BM", b"II*\0",
        b"BM" + bytes(60), b"MM\0*" + bytes(60), b"RIFF\x04\0\0\0WEBP", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(60),
        b"<html>404 not found</html>", bytes(4096), os.urandom(4096), "плохо".encode(),
    ],
)  # fmt: skip
def test_other_files_are_unreadable(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_image(tmp_path / "a.jpg") is None


def test_a_missing_file_and_a_folder_are_unreadable(tmp_path):
    assert read_image(tmp_path / "a.jpg") is None
    assert read_image(tmp_path) is None


def test_an_image_of_the_greatest_size_is_read_and_one_beyond_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 40 * 56)
    for ending in ALL:
        assert read_image(save(tmp_path / f"a{ending}", picture())) is not None
        assert read_image(save(tmp_path / f"b{ending}", picture(41, 56))) is None


def test_a_header_with_too_many_pixels_is_refused_before_decoding(tmp_path, monkeypatch):
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    assert read_image(tmp_path / "a.png") is None


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".gif", ".avif", ".jp2", ".ppm"])
def test_formats_that_pillow_knows_are_read(tmp_path, ending):
    kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".gif": "GIF", ".avif": "AVIF", ".jp2": "JPEG2000", ".ppm": "PPM"}
    path = tmp_path / f"face{ending}"
    options = {} if ending in (".ppm", ".gif", ".jp2") else {"quality": 95}
    Image.fromarray(picture()).save(path, format=kinds[ending], **options)
    found = read_image(path)
    assert found.shape == (40, 56, 3)
    assert np.abs(found.astype(int) - picture()).mean() < (0.01 if ending in (".ppm", ".jp2") else 8)
    found[0, 0] = 7  # an array of its own
    path.write_bytes(path.read_bytes()[:60])
    assert read_image(path) is None


def test_a_portable_map_of_16_bits_is_scaled(tmp_path):
    values = np.array([[0, 257, 65535], [32896, 514, 1]], ">u2")
    path = tmp_path / "deep.pgm"
    path.write_bytes(b"P5\n3 2\n65535\n" + values.tobytes())
    np.testing.assert_array_equal(read_image(path)[..., 0], [[0, 1, 255], [128, 2, 0]])


@pytest.mark.parametrize("side", [15_000, 60_000])
def test_a_large_image_is_refused_by_its_header(tmp_path, side):
    path = tmp_path / "vast.ppm"
    path.write_bytes(f"P6\n{side} {side}\n255\n".encode() + bytes(300))
    with pytest.raises(DataError, match=r"claims .*megapixels"):
        load_image(path)


def test_a_heif_file_is_read_or_names_its_library(tmp_path):
    path = tmp_path / "phone.heic"
    if find_spec("pillow_heif") is None:
        path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        with pytest.raises(DataError, match=r"is a HEIF image, which needs pillow-heif") as caught:
            load_image(path)
        assert caught.value.hint == "pip install 'fusionkit[heif]'"
        assert library_needed("a/B.HEIC") == "pip install 'fusionkit[heif]'"
        return
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.fromarray(picture(64, 64)).save(path, format="HEIF", quality=95)
    assert np.abs(load_image(path).astype(int) - picture(64, 64)).mean() < 8
    assert library_needed("a/B.HEIC") == ""


def test_unread_files_are_counted_by_their_ending():
    assert unread_files(["a/b.jpg", "notes.txt", "c.JFIF", "Thumbs.db", "README"]) == ""
    found = unread_files(["a/2.cr2", "a/1.CR2", "x.jxl", "y.gif"])
    assert found == "2 .cr2 (the first: a/2.cr2), 1 .jxl (the first: x.jxl)"
