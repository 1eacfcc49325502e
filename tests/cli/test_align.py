"""``fusionkit align``: one clear line for each thing that is wrong, and the other inputs go on."""

from __future__ import annotations

import csv
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import call
from photos import YUNET, astronaut, friends, needs_yunet
from PIL import Image
from tiny_pack import Said, write_pack
from toy_faces import Dots, draw_face, frame_of, moved, place, register
from toy_videos import announce, turn, write_sound, write_video
from typer.testing import Result

from fusionkit.contracts import Face, image_file
from fusionkit.contracts.extractor import TEMPLATE
from fusionkit.registry import EXTRACTORS

FACE = frame_of(place(160, 120))


@pytest.fixture(autouse=True)
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    register()


def align(*words: str, detector: str = "dots") -> Result:
    return call("align", "in", "--detector", detector, "--out", "out", *words)


def faults(result: Result) -> list[str]:
    assert "Traceback" not in result.output
    return [line.removeprefix("fault: ") for line in result.stderr.splitlines() if line.startswith("fault:")]


def good(path: Path) -> None:
    write_video(path, [FACE] * 6)


def saved(**options: object) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(FACE).save(path, **options)


def turned_by_exif(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(FACE)).save(path, exif=exif, quality=95)


def cmyk(path: Path) -> None:
    Image.fromarray(FACE).convert("CMYK").save(path, quality=95)


def palette(path: Path) -> None:
    Image.fromarray(FACE).quantize(64).save(path)


def deep(path: Path) -> None:
    cv2.imwrite(str(path), FACE[..., ::-1].astype(np.uint16) * 257)


def transparent(path: Path) -> None:
    Image.fromarray(np.dstack([FACE, np.full(FACE.shape[:2], 40, np.uint8)])).save(path)


def video(**options: object) -> Callable[[Path], None]:
    return lambda path: (write_video(path, [FACE] * 6, **options), None)[1]


def phone(path: Path) -> None:
    turn(write_video(path, [np.ascontiguousarray(np.rot90(FACE))] * 6), 90)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("plain.jpg", saved(quality=95)),
        ("exif.jpg", turned_by_exif),
        ("cmyk.jpg", cmyk),
        ("palette.png", palette),
        ("16 bit.png", deep),
        ("alpha.png", transparent),
        ("ünï 表情 [0]{1}*.webp", saved(lossless=True)),
        ("variable.mkv", video(times=[0, 0.04, 0.5, 0.6, 2.0, 2.1])),
        ("sound.mp4", video(sound=0.3)),
        ("phone.mp4", phone),
        ("film.webm", video(codec="libvpx", options={"crf": "4", "b": "2M"})),
    ],
)
def test_readable_inputs_are_aligned(name: str, write: Callable[[Path], None]) -> None:
    write(Path("in", name))
    result = align()
    assert result.exit_code == 0, result.output
    assert faults(result) == []
    stem = Path(name).stem
    assert (
        f"in/{name}: {'1' if '.' + name.rpartition('.')[2] in image_file.ENDINGS else '6'} frame(s): {stem} 100.0%"
        in (result.stdout)
    )
    crop = cv2.imread(str(Path("out/cropped_aligned", stem, "00001.jpg")))[..., ::-1].astype(int)
    expected = frame_of(place(55.5, 60), height=112, width=112)
    assert np.abs(crop[8:-8, 8:-8] - expected[8:-8, 8:-8]).mean() < 10


class Window(Dots):
    """Looks at a part of a large frame only, which is quicker."""

    def faces(self, frame: np.ndarray) -> list[Face]:
        found = super().faces(frame[3000:3240, 6000:6320])
        return [
            Face(face.box + np.tile([6000, 3000], 2), face.score, face.points + np.array([6000, 3000]))
            for face in found
        ]


@pytest.mark.slow
def test_a_photo_of_100_megapixels_is_aligned() -> None:
    EXTRACTORS.register_module("window")(Window)
    frame = np.full((7700, 13000, 3), 128, np.uint8)
    frame[3000:3240, 6000:6320] = FACE
    cv2.imwrite("in/large.jpg", frame[..., ::-1])
    assert align(detector="window").exit_code == 0
    crop = cv2.imread("out/cropped_aligned/large/00001.jpg")[..., ::-1].astype(int)
    assert np.abs(crop - frame_of(place(55.5, 60), height=112, width=112)).mean() < 10


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("<html>404 not found</html>", encoding="utf-8")


def cut_short(path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [np.where(FACE == 128, rng.integers(100, 150, FACE.shape), FACE).astype(np.uint8) for _ in range(20)]
    write_video(path, frames, container_options={"movflags": "faststart"} if path.suffix == ".mov" else None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def half_a_photo(path: Path) -> None:
    saved(quality=95)(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def announcing(path: Path) -> None:
    announce(write_video(path, [FACE] * 6), 9)


def no_face(path: Path) -> None:
    write_video(path, [np.full((48, 64, 3), 128, np.uint8)] * 6)


def one_pixel(path: Path) -> None:
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(path)


def photo_as_video(path: Path) -> None:
    path.write_bytes(cv2.imencode(".jpg", FACE)[1].tobytes())


def bomb(path: Path) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b""))


def floating(path: Path) -> None:
    cv2.imwrite(str(path), FACE.astype(np.float32))


def nowhere(path: Path) -> None:
    path.symlink_to("gone.mp4")


BAD = [
    ("empty.mp4", empty, "in/empty.mp4 is empty"),
    ("empty.jpg", empty, "in/empty.jpg is empty"),
    ("text.mp4", text, "in/text.mp4 cannot be read as a video: Invalid data found when processing input .*"),
    ("text.png", text, "in/text.png is no image of a known format, such as JPEG or PNG"),
    (
        "cut.mov",
        cut_short,
        r"in/cut.mov: (1 packet\(s\) cannot be decoded; \d+ frames were read|.* 20 frames; \d+ were read.*)",
    ),
    ("cut.mp4", cut_short, "in/cut.mp4 cannot be read as a video: Invalid data found when processing input .*"),
    ("cut.jpg", half_a_photo, "in/cut.jpg is cut short or broken"),
    (
        "count.avi",
        announcing,
        "in/count.avi: the header declares 9 frames; 6 were read; a missing frame lowers the numbers of later ones",
    ),
    ("nobody.mp4", no_face, r"in/nobody.mp4: no face found in 6 frame\(s\) \(frames are shrunk to side= .*\)"),
    ("pixel.png", one_pixel, r"in/pixel.png: no face found in 1 frame\(s\) \(frames are shrunk to side= .*\)"),
    ("song.mp4", write_sound, "in/song.mp4 contains audio but no video"),
    ("photo.mp4", photo_as_video, "in/photo.mp4 is an image, not a video .*"),
    ("bomb.png", bomb, "in/bomb.png claims 2,500 megapixels; more than 200 are refused"),
    ("float.tiff", floating, "in/float.tiff holds float32 pixels; a frame has 8 or 16 bits without a sign"),
    ("link.mp4", nowhere, "in/link.mp4 cannot be read: No such file or directory"),
]


@pytest.mark.slow
def test_each_bad_input_is_one_clear_line_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, write, _ in BAD:
        write(Path("in", name))
    good(Path("in/zz good.mp4"))
    result = align()
    assert result.exit_code == 1
    found = faults(result)
    for name, _, line in BAD:
        own = [fault for fault in found if f"in/{name}" in fault]
        assert len(own) == 1, (name, own)
        assert re.fullmatch(line, own[0]), own[0]
    assert len(found) == len(BAD)
    assert "in/zz good.mp4: 6 frame(s): zz good 100.0%" in result.stdout
    assert f"{len(BAD) + 1} input(s)" in result.stdout
    assert f"{len(BAD)} input(s) with a fault" in result.stdout
    assert len(list(Path("out/cropped_aligned/zz good").iterdir())) == 6
    assert not Path("out/.partial").exists()
    with Path("out/coverage.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["input"]: row for row in csv.DictReader(file)}
    assert len(rows) == len(BAD) + 1
    assert all(bool(row["faults"]) == (name != "in/zz good.mp4") for name, row in rows.items())


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["gone", "--detector", "dots"], ["gone"]),
        (["in", "--detector", "dots"], ["in "]),
        (["in", "--detector", "yuet:model=x"], ["'yuet'", "'yunet'"]),
        (["in", "--detector", "yunet:model=x.onnx"], ["yunet", "model='x.onnx'"]),
        (["in", "--detector", "yunet"], ["'model'"]),
        (["in/a.png", "--detector", "template"], ["Template"]),
        (["in/a.png", "--detector", "dots", "--out", "in/a.png"], ["in/a.png cannot be written: "]),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(words: list[str], facts: list[str]) -> None:
    if "in/a.png" in words:
        saved()(Path("in/a.png"))
    result = call("align", *words)
    assert result.exit_code in (1, 2)
    (line,) = [each for each in result.output.splitlines() if each.startswith("error:")]
    assert all(fact in line for fact in facts)
    assert not list(Path().rglob("*.jpg"))


@pytest.mark.slow
def test_finished_inputs_are_skipped_and_the_report_holds_earlier_inputs_too() -> None:
    good(Path("in/a.mp4"))
    assert align().exit_code == 0
    again = align()
    assert again.exit_code == 0
    assert "in/a.mp4: 6 frame(s): a 100.0% (done before)" in again.stdout
    Path("in/a.mp4").rename("a.mp4")
    good(Path("in/b.mp4"))
    assert align().exit_code == 0
    assert [line.split(",")[1] for line in Path("out/coverage.csv").read_text(encoding="utf-8").splitlines()] == [
        "clip",
        "b",
        "a",
    ]


def test_people_side_and_length_of_tracks_can_be_chosen() -> None:
    frame = frame_of(place(80, 120, 0.7), place(240, 120, 0.8))
    write_video(Path("in/a.mp4"), [frame] * 4)
    assert align("--people", "left", "--side", "56").exit_code == 0
    crops = sorted(Path("out/cropped_aligned").rglob("*.jpg"))
    assert [path.as_posix() for path in crops] == [f"out/cropped_aligned/a/{n:05d}.jpg" for n in range(1, 5)]
    assert cv2.imread(str(crops[0])).shape == (56, 56, 3)
    assert align("--people", "nobody").exit_code == 2


STOPPED = """
import os, signal
from fusionkit.registry import EXTRACTORS
from toy_faces import Dots

@EXTRACTORS.register_module("stopped")
class Stopped(Dots):
    '''Sends a signal to its own process in frame 20 of the second video, after 6 frames of the first.'''
    calls = 0

    def faces(self, frame):
        self.calls += 1
        if self.calls == 26 and "STOP" in os.environ:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
            signal.raise_signal(int(os.environ["STOP"]))
        return super().faces(frame)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_a_run_that_is_stopped_in_the_middle_of_a_video_goes_on(stop: signal.Signals) -> None:
    Path("stopped.py").write_text(STOPPED, encoding="utf-8")
    frames = [frame_of(place(100 + n, 120, 0.8, n)) for n in range(40)]
    write_video(Path("in/a.mp4"), frames[:6])
    write_video(Path("in/b.mp4"), frames)
    assert align("--plugin", "stopped.py", "--rotate", "0", detector="stopped").exit_code == 0
    whole = {path.relative_to("out"): path.read_bytes() for path in Path("out").rglob("*.jpg")}
    words = ["align", "in", "--detector", "stopped", "--plugin", "stopped.py", "--rotate", "0", "--out", "again"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "STOP": str(int(stop))}
    command = [sys.executable, "-m", "fusionkit", *words]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL), process.stderr
    if stop == signal.SIGINT:
        assert "interrupted" in process.stderr.lower()
    before = [path for path in whole if path.parent.name == "b" and int(path.stem) < 20]
    assert len(Path("again/.partial/b/faces.csv").read_bytes().splitlines()) == len(before) > 10
    assert not Path("again/cropped_aligned/b").exists()
    result = call(*words)
    assert result.exit_code == 0, result.output
    assert "in/a.mp4: 6 frame(s): a 100.0% (done before)" in result.stdout
    assert {path.relative_to("again"): path.read_bytes() for path in Path("again").rglob("*.jpg")} == whole


def test_a_pack_of_insightface_is_a_detector() -> None:
    points = moved(TEMPLATE, place(64, 64, 0.6, 15))
    write_pack(Path("pack"), [Said(np.array([30.0, 30, 98, 98]), points)])
    frame = np.full((128, 128, 3), 128, np.uint8)
    draw_face(frame, place(64, 64, 0.6, 15))
    write_video(Path("in/a.mkv"), [frame] * 5, codec="ffv1")
    result = align(detector="insightface:pack=pack,side=128")
    assert result.exit_code == 0, result.output
    crop = cv2.imread("out/cropped_aligned/a/00005.jpg")[..., ::-1].astype(int)
    assert np.abs(crop[8:-8, 8:-8] - frame_of(place(55.5, 60), height=112, width=112)[8:-8, 8:-8]).mean() < 7


@needs_yunet
def test_real_photos_and_a_video_of_them_with_yunet() -> None:
    cv2.imwrite("in/friends.png", friends()[..., ::-1])
    write_video(Path("in/astronaut.mp4"), [np.roll(astronaut(), 2 * n, axis=1) for n in range(6)])
    result = align(detector=f"yunet:model={YUNET}")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("out/cropped_aligned").iterdir()) == [
        "astronaut", *(f"friends_{n}" for n in range(1, 7)),
    ]  # fmt: skip
    first, last = (cv2.imread(f"out/cropped_aligned/astronaut/{n:05d}.jpg").astype(float) for n in (1, 6))
    assert np.corrcoef(first.ravel(), last.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(("given", "out"), [(".", "aligned"), ("in", "in"), ("in", "in/new")])
def test_what_an_earlier_call_has_written_is_not_read(given: str, out: str) -> None:
    good(Path("in/a.mp4"))
    words = ("align", given, "--detector", "dots", "--out", out)
    first, second = call(*words), call(*words)
    assert (first.exit_code, second.exit_code) == (0, 0), second.output
    assert "1 input(s), 6 frames, 6 crops" in first.stdout
    assert "1 input(s), 6 frames, 6 crops" in second.stdout
    assert "not read" not in first.stderr
    written = ", ".join(str(Path(out, name)) for name in ("cropped_aligned", "align", "coverage.png"))
    assert second.stderr.splitlines() == [f"not read, since it was written by fusionkit align: {written}"]
    crops = Path(out, "cropped_aligned").rglob("*.jpg")
    assert len(list(crops)) == 6
