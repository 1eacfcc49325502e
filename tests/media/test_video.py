"""Videos: every frame, upright, with its time; a fault of a file is one line."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from toy_videos import announce, trim, turn, write_sound, write_video

from fusionkit.errors import DataError
from fusionkit.media import video
from fusionkit.media.video import FrameIndex, FrameReader, MediaFrame, Video, rotate, steady_rate

TIMES = [0, 0.04, 0.08, 0.5, 0.54, 1.2, 1.3, 1.4, 1.8, 2.0]


def greys(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frame n is of grey 20 n."""
    return [np.full((height, width, 3), min(20 * number, 255), np.uint8) for number in range(count)]


def read(path: Path) -> tuple[list[MediaFrame], list[str]]:
    one = Video(path)
    return list(one.frames()), one.faults


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mpeg4"), ("a.mov", "libx264"), ("a.mkv", "ffv1"), ("a.avi", "mpeg4"), ("a.webm", "libvpx")],
)
def test_frames_come_in_display_order(tmp_path: Path, name: str, codec: str):
    frames, faults = read(write_video(tmp_path / name, greys(12), codec=codec))
    assert faults == []
    assert [frame.number for frame in frames] == list(range(1, 13))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(12) / 25, atol=0.002)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 * np.arange(12), atol=6)
    assert all(frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])  # mkv rounds times to ms
def test_the_rate_is_known_after_the_last_frame_where_it_is_steady(tmp_path: Path, name: str):
    steady = Video(write_video(tmp_path / name, greys(12)))
    assert steady.rate is None
    list(steady.frames())
    assert steady.rate == pytest.approx(25, rel=1e-3)
    varying = Video(write_video(tmp_path / f"varying_{name}", greys(10), times=TIMES))
    list(varying.frames())
    assert varying.rate is None


def test_a_rate_is_that_of_the_usual_step_whatever_frames_are_lost():
    times = np.delete(np.arange(100) / 30, [40, 41, 60])
    assert steady_rate(np.round(times, 3)) == pytest.approx(30, rel=1e-3)
    assert steady_rate(np.full(50, np.nan)) is None
    assert steady_rate(np.zeros(50)) is None
    assert steady_rate(np.array([0.0, 0.04])) is None


def test_lossless_pixels_are_rgb(tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    frames, _ = read(write_video(tmp_path / "a.mkv", [image], codec="ffv1"))
    np.testing.assert_array_equal(frames[0].image, image)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_frames_of_a_variable_rate_keep_their_own_times(tmp_path: Path, name: str):
    frames, faults = read(write_video(tmp_path / name, greys(10), times=TIMES))
    np.testing.assert_allclose([frame.seconds for frame in frames], TIMES, atol=0.002)
    assert faults == []


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_rotation_in_the_header_is_applied(tmp_path: Path, degrees: int):
    """FFmpeg's own reading of the same header, counter-clockwise, is the other opinion."""
    corner = np.zeros((48, 64, 3), np.uint8)
    corner[:16, :16] = 250
    path = turn(write_video(tmp_path / "a.mp4", [corner] * 2), degrees)
    with av.open(str(path)) as container:
        assert -next(container.decode(video=0)).rotation % 360 == degrees
    frames, _ = read(path)
    expected = np.rot90(corner, -degrees // 90)
    assert np.abs(frames[1].image.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_every_display_matrix_of_quarter_turns(rotation: int, mirrored: bool):
    """Each pixel goes where the matrix sends it, counted one by one."""
    cos, sin = round(np.cos(np.deg2rad(rotation))), round(np.sin(np.deg2rad(rotation)))
    matrix = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    matrix[:, 0] *= -1 if mirrored else 1
    image = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    shown = {}
    for y in range(2):
        for x in range(3):
            shown[tuple(np.array([x, y]) @ matrix[:2, :2])] = image[y, x]
    low = np.min(list(shown), axis=0)
    result = rotate(image, matrix)
    assert len(shown) == result.shape[0] * result.shape[1]
    for place, pixel in shown.items():
        x, y = np.array(place) - low
        np.testing.assert_array_equal(result[y, x], pixel)


def test_frames_get_square_pixels(tmp_path: Path):
    frames, _ = read(write_video(tmp_path / "a.mp4", greys(2), aspect=Fraction(4, 3)))
    assert frames[0].image.shape == (48, 85, 3)


def test_audio_is_no_fault(tmp_path: Path):
    frames, faults = read(write_video(tmp_path / "a.mp4", greys(5), sound=0.2))
    assert len(frames) == 5
    assert faults == []


def cut_short(path: Path, share: float = 0.6) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def noise(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3)).astype(np.uint8))


def test_a_truncated_video_is_read_as_far_as_possible_and_reported(tmp_path: Path):
    whole = {"movflags": "faststart"}
    frames, faults = read(cut_short(write_video(tmp_path / "a.mp4", noise(20), container_options=whole)))
    assert 5 < len(frames) < 20
    (fault,) = faults
    assert f"{len(frames)} " in fault
    frames, faults = read(cut_short(write_video(tmp_path / "a.mkv", noise(40))))
    assert 10 < len(frames) < 40
    (fault,) = faults
    for fact in (str(tmp_path / "a.mkv"), "1.6 s", f"{len(frames) / 25:.1f} s", f"{len(frames)} frames"):
        assert fact in fault


@pytest.mark.parametrize("count", [7, 12])
def test_a_wrong_number_of_frames_in_the_header_is_reported(tmp_path: Path, count: int):
    frames, faults = read(announce(write_video(tmp_path / "a.avi", greys(10)), count))
    assert len(frames) == 10
    lost = "; a missing frame lowers the numbers of later ones" if count > 10 else ""
    assert faults == [f"{tmp_path}/a.avi: the header declares {count} frames; 10 were read{lost}"]


def test_damage_in_the_middle_is_reported_and_the_rest_is_read(tmp_path: Path):
    path = write_video(tmp_path / "a.mp4", noise(20), codec="libx264", options={"g": "1"})
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    frames, faults = read(path)
    assert 8 < len(frames) <= 20
    assert len(faults) == 1


@pytest.mark.parametrize(("start", "count"), [(0, 7), (3, 7), (5, 5), (4, 6)])
@pytest.mark.parametrize("between", ["0", "2"])
def test_a_trimmed_video_shows_what_its_edit_list_shows(tmp_path: Path, start: int, count: int, between: str):
    """Thirty frames announced, of which a trim hides some, is no fault."""
    options = {"g": "4", "bf": between}
    path = trim(write_video(tmp_path / "a.mp4", greys(12), codec="libx264", options=options), start, count)
    one = Video(path)
    frames = list(one.frames())
    assert [round(frame.image.mean() / 20) for frame in frames] == list(range(start, start + count))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(count) / 25, atol=0.002)
    assert (one.faults, one.expected) == ([], count)


def test_a_trimmed_video_that_is_truncated_is_reported(tmp_path: Path):
    path = write_video(tmp_path / "a.mp4", noise(20), container_options={"movflags": "faststart"})
    frames, faults = read(cut_short(trim(path, 0, 18)))
    assert len(frames) < 18
    assert f"{len(frames)} " in faults[0]


MOVING = [np.roll(np.random.default_rng(0).integers(0, 200, (48, 64, 3)), n, 1).astype(np.uint8) + n for n in range(40)]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.ts", "mpeg2video"), ("a.webm", "libvpx")]
)
def test_a_damaged_middle_that_shifts_frame_numbers_is_told(tmp_path: Path, name: str, codec: str):
    path = write_video(tmp_path / name, MOVING, codec=codec, options={"g": "10"})
    assert read(path)[1] == []
    data = bytearray(path.read_bytes())
    start, end = len(data) * 2 // 5, len(data) * 3 // 5
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    frames, faults = read(path)
    times = np.sort([frame.seconds for frame in frames])
    steps = np.diff(times)
    (fault,) = faults
    gap = f"a gap of {steps.max():.2f} s at {times[steps.argmax()]:.2f} s lowers later frame numbers"
    assert fault.endswith(f" {len(frames)} frames were read; {gap}")


def test_a_start_between_key_frames_is_told(tmp_path: Path):
    path = write_video(tmp_path / "a.ts", MOVING, codec="libx264", options={"g": "10", "bf": "0"})
    with av.open(str(path)) as container:
        start = [packet.pos for packet in container.demux(video=0) if packet.size][6]
    data = path.read_bytes()
    path.write_bytes(data[: 188 * 3] + data[start:])  # the tables of the stream, and all from the seventh frame
    frames, faults = read(path)
    before = "4 packet(s) before the first key frame cannot be decoded, or only in part"
    whole = np.arange(40) / 25
    assert len(frames) == 30
    first = frames[0].seconds
    assert faults == [f"{path} starts between key frames: {before}; frame 1 is that at {first:.2f} s"]
    np.testing.assert_allclose([frame.seconds - first for frame in frames], whole[:30], atol=0.002)


def trimmed(path: Path) -> None:
    trim(write_video(path, MOVING, codec="libx264", options={"g": "10", "bf": "2"}), 5, 28)


def damaged(path: Path) -> None:
    write_video(path, MOVING, codec="libx264", options={"g": "4"})
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)


def variable(path: Path) -> None:
    write_video(path, MOVING[:10], times=TIMES, options={"g": "4"})


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("trimmed.mp4", trimmed),
        ("variable.mkv", variable),
        ("variable.mp4", variable),
        ("damaged.mp4", damaged),
        *[
            (f"between.{ending}", partial(write_video, frames=MOVING[:25], codec=codec, options=options))
            for ending, codec, options in [
                ("mp4", "libx264", {"g": "10", "bf": "3", "x264-params": "open-gop=1"}),
                ("mkv", "libx264", {"g": "2", "bf": "2"}),
                ("mov", "mpeg4", {"g": "7", "bf": "2"}),
                ("avi", "mpeg4", {"g": "7", "bf": "2"}),
                ("ts", "mpeg2video", {"g": "7", "bf": "2"}),
                ("ts", "libx264", {"g": "7", "bf": "2"}),
                ("mpg", "mpeg1video", {"g": "10"}),
                ("mkv", "ffv1", {}),
                ("webm", "libvpx", {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "8"}),
            ]
        ],
    ],
)
def test_a_frame_by_number_is_that_of_the_frames_in_order(tmp_path: Path, name: str, make):
    make(tmp_path / name)
    frames, _ = read(tmp_path / name)
    index = FrameIndex(tmp_path / name)
    reader = FrameReader(tmp_path / name, index)
    assert len(index) == len(frames)
    for at in np.random.default_rng(1).permutation(len(frames)).tolist():
        np.testing.assert_array_equal(reader.read(at + 1), frames[at].image, err_msg=f"frame {at + 1}")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("no video " * 30, encoding="utf-8")


def photo(path: Path) -> None:
    import cv2

    path.write_bytes(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())


def headless(path: Path) -> None:
    cut_short(write_video(path, noise(20)))


def hollow(path: Path) -> None:
    cut_short(write_video(path, greys(2)), 0.2)


def folder(path: Path) -> None:
    path.mkdir()


def none(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (empty, "is empty"),
        (text, "cannot be read as a video: Invalid data found when processing input"),
        (photo, "is an image, not a video"),
        (write_sound, "contains audio but no video"),
        (headless, "cannot be read as a video: Invalid data found when processing input"),
        (hollow, "contains no video stream"),
        (folder, "cannot be read: Is a directory"),
        (none, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_no_video_raises_one_line(tmp_path: Path, make, line: str, capfd):
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(DataError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path} {line}")
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_frames_that_are_too_large_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_video(tmp_path / "a.mp4", greys(2))
    monkeypatch.setattr(video, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(DataError, match="frames of 64 x 48 px exceed"):
        read(path)
