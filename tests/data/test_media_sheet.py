"""Sheet of photos and videos: frames with faces, zooms, and each view."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_faces import Dots, frame_of, place, register
from toy_videos import write_video
from typer.testing import CliRunner

from fusionkit.cli import app
from fusionkit.config.views import View, cut, parse_region_set
from fusionkit.data.drawing import COLOURS, GAP, LEGEND_HEIGHT, MARGIN
from fusionkit.data.media_sheet import TILE, evenly_spaced, write_media_sheet
from fusionkit.errors import ConfigError, DataError
from fusionkit.media.video import MediaFrame
from fusionkit.registry.spec import Spec

EYE = parse_region_set("eye")


@pytest.fixture(autouse=True)
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    register()
    cv2.imwrite("photo.png", frame_of(place(160, 120, 1.8))[..., ::-1])
    write_video(Path("clip.mkv"), [frame_of(place(100 + 2 * n, 120, 0.5)) for n in range(20)], codec="ffv1")


def read(path: str) -> np.ndarray:
    image = cv2.imread(path)
    assert image is not None
    return image[..., ::-1]


def test_photos_come_first_then_a_row_of_frames_a_video() -> None:
    assert write_media_sheet(["clip.mkv", "photo.png"], Spec("dots"), EYE, 4, Path("sheet.png")) == []
    sheet = read("sheet.png")
    assert sheet.shape[1] == MARGIN + 3 * (TILE + GAP)  # of 20 frames the first, the ninth and the seventeenth
    photo = cv2.resize(frame_of(place(160, 120, 1.8)), (TILE, 252), interpolation=cv2.INTER_CUBIC)
    shown = sheet[LEGEND_HEIGHT : LEGEND_HEIGHT + 252, MARGIN : MARGIN + TILE]
    drawn = (np.abs(shown.astype(int) - photo) > 8).any(-1)
    assert 0 < drawn.mean() < 0.06  # lines of boxes and points only
    assert (shown == COLOURS[0]).all(-1).any()
    assert (shown == 190).all(-1).any()  # the box of the face


def test_a_turned_photo_is_shown_upright() -> None:
    write_media_sheet(["photo.png"], Spec("dots"), EYE, 4, Path("sheet.png"))
    cv2.imwrite("lying.png", cv2.rotate(cv2.imread("photo.png"), cv2.ROTATE_90_COUNTERCLOCKWISE))
    notes = write_media_sheet(["lying.png"], Spec("dots"), EYE, 4, Path("turned.png"), rotate=90)
    assert notes == ["lying.png is turned by 90 degrees"]
    np.testing.assert_array_equal(read("turned.png"), read("sheet.png"))
    assert write_media_sheet(["photo.png"], Spec("template"), EYE, 4, Path("sheet.png")) == []


def test_each_view_is_shown_as_it_is_cut() -> None:
    write_media_sheet(["photo.png"], Spec("dots"), EYE, 4, Path("sheet.png"))
    frame = frame_of(place(160, 120, 1.8))
    view = cut(frame, dict(zip(Dots().regions, Dots()([frame]).boxes[0], strict=True)), View.parse("eye"))
    assert view is not None
    height = round(TILE * view.shape[0] / view.shape[1])
    expected = cv2.resize(view, (TILE, height), interpolation=cv2.INTER_CUBIC)
    sheet = read("sheet.png")[LEGEND_HEIGHT + 252 + GAP :][:height, MARGIN : MARGIN + TILE]
    np.testing.assert_array_equal(sheet, expected)


def test_a_small_face_is_shown_zoom() -> None:
    write_media_sheet(["clip.mkv"], Spec("dots"), EYE, 2, Path("sheet.png"))
    near = read("sheet.png")[LEGEND_HEIGHT + 252 + GAP :][:TILE, MARGIN : MARGIN + TILE]
    red = (np.abs(near.astype(int) - (220, 0, 0)) < 60).all(-1)
    assert red.sum() > 300  # the left eye, 5 px wide in the frame


def test_unreadable_inputs_are_reported_and_the_rest_is_shown() -> None:
    Path("bad.mp4").write_text("no video", encoding="utf-8")
    result = CliRunner().invoke(app, ["preview", "--input", "bad.mp4", "--input", "photo.png", "--extractor", "dots"])
    assert result.exit_code == 0, result.output
    assert "note: bad.mp4 cannot be read as a video" in result.stderr
    assert "wrote preview.png" in result.stdout
    assert read("preview.png").shape[0] > LEGEND_HEIGHT + 252


def test_nothing_to_show_and_invalid_requests_are_errors() -> None:
    Path("bad.mp4").touch()
    with pytest.raises(DataError, match=r"no input can be shown: bad\.mp4 is empty"):
        write_media_sheet(["bad.mp4"], Spec("dots"), EYE, 4, Path("sheet.png"))
    with pytest.raises(ConfigError, match=r"must end in \.png"):
        write_media_sheet(["photo.png"], Spec("dots"), EYE, 4, Path("sheet.jpg"))
    with pytest.raises(ConfigError, match="has no region 'eyes'"):
        write_media_sheet(["photo.png"], Spec("dots"), parse_region_set("eyes"), 4, Path("sheet.png"))
    assert not Path("sheet.png").exists()


def test_a_sample_of_many_inputs_is_shown_and_reported() -> None:
    small = frame_of(place(16, 16, 0.1), height=32, width=32)
    Path("many").mkdir()
    for number in range(50):
        cv2.imwrite(f"many/{number:02d}.png", np.full_like(small, number))
    notes = write_media_sheet(["many"], Spec("dots"), (), 5, Path("sheet.png"))
    assert notes == ["20 of 50 photos are shown"]
    sheet = read("sheet.png")
    row = TILE + GAP + GAP
    assert sheet.shape[0] == LEGEND_HEIGHT + 4 * row
    assert sheet[LEGEND_HEIGHT + 9, MARGIN + 9].tolist() == [0, 0, 0]
    assert sheet[LEGEND_HEIGHT + 3 * row + 9, MARGIN + 4 * (TILE + GAP) + 9].tolist() == [49, 49, 49]


@pytest.mark.parametrize("length", [1, 5, 8, 9, 100, 1000])
def test_frames_are_evenly_spaced_over_the_whole_video(length: int) -> None:
    frames = evenly_spaced((MediaFrame(n, 0.0, np.zeros((1, 1, 3), np.uint8)) for n in range(1, length + 1)), 8)
    numbers = [frame.number for frame in frames]
    assert min(length, 4) <= len(numbers) <= 8
    steps = set(np.diff(numbers).tolist())
    assert len(steps) <= 1
    assert numbers[0] == 1
    assert length - numbers[-1] < (steps or {1}).pop()
