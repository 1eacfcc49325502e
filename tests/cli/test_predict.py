"""``fusionkit predict``, end to end: videos are aligned, a grid is run on the crops, its cells answer the videos."""

from __future__ import annotations

import csv
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from command_line import call, refusal_of
from photos import YUNET, astronaut, friends, needs_yunet, warped
from scipy.special import softmax
from toy_components import registered
from toy_faces import Dots, draw_face, frame_of, place
from toy_videos import announce, turn, write_sound, write_video

import fusionkit
from fusionkit.grid.folder import RunFolder
from fusionkit.registry import EXTRACTORS

DATASET = r'folder:root=faces,clip="^([^/]+)/"'
EMPTY = np.full((240, 320, 3), 128, np.uint8)
TIMES = [0.04 * n + 0.01 * (n % 3) for n in range(29)]


def walk(count: int, mood: float, seed: int) -> Iterator[np.ndarray]:
    """A face that moves a little."""
    rng = np.random.default_rng(seed)
    x, y, scale, roll = rng.uniform(120, 200), rng.uniform(100, 140), rng.uniform(0.7, 1.0), rng.uniform(-15, 15)
    for number in range(count):
        yield frame_of(place(x + number / 3, y, scale, roll + rng.normal()), mood=mood + 0.2 * rng.normal())


def story() -> Iterator[np.ndarray]:
    """Two people, nobody, and after a cut two again; the left one smiles."""
    for number in range(12):
        frame = frame_of(place(80 + number, 120, 0.8), mood=1.0)
        draw_face(frame, place(240 - number, 110, 0.7), -1.0)
        yield frame
    yield from [EMPTY] * 5
    for number in range(12):
        frame = frame_of(place(70, 150 - number, 0.9, 5), mood=1.0)
        draw_face(frame, place(250, 90 + number, 0.8, -5), -1.0)
        yield frame


def film(folder: Path) -> None:
    """Videos with all that is uneven: two people, cuts, empty stretches, varying rate, a rotation, a wrong count."""
    folder.mkdir()
    for number in range(4):
        write_video(Path(f"train{number}.mkv"), walk(8, number % 2 * 2 - 1, number), codec="ffv1")
    write_video(folder / "story.mkv", story(), codec="ffv1", times=TIMES)
    turn(write_video(folder / "turned.mp4", (np.rot90(frame).copy() for frame in walk(8, -1, 7))), 90)
    announce(write_video(folder / "count.avi", [*walk(8, 1, 8), EMPTY, *walk(6, 1, 9)]), 19)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("predict")
    with pytest.MonkeyPatch.context() as patch, registered(EXTRACTORS, "dots", Dots):
        patch.chdir(home)
        patch.setenv("FUSIONKIT_CACHE", str(home / "cache"))
        patch.setattr("fusionkit.report.page.write.write_report", lambda *_, **__: None)
        film(home / "videos")
        result = call("align", "videos", *map(str, Path().glob("train*")), "--detector", "dots", "--out", "aligned")
        assert "crops in aligned" in result.output
        for clip in sorted(Path("aligned/cropped_aligned").iterdir()):
            split = "train" if clip.name.startswith("train") else "val"
            mood = "glad" if clip.name in ("train1", "train3", "story_left", "count") else "sad"
            shutil.copytree(clip, Path("faces", split, mood, clip.name))
        words = "--regions mouth --fusion mlp --smoother window:width=5,exponential,none --seeds 2 --out run"
        more = "--reference none --executor serial --recipe epochs=2"
        result = call("bench", "--dataset", DATASET, *words.split(), *more.split())
        assert result.exit_code == 0, result.output
    return home


@pytest.fixture
def made(made_once: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The videos and the run, seen from a folder of the test's own."""
    for name in ("run", "videos", "faces", "aligned"):
        (tmp_path / name).symlink_to(made_once / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSIONKIT_CACHE", str(made_once / "cache"))
    with registered(EXTRACTORS, "dots", Dots):
        yield tmp_path


def rows(path: str) -> dict[tuple[str, int], dict[str, str]]:
    """The table by clip and frame."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    found = {(row["clip"], int(row["frame"])): row for row in listed}
    assert len(found) == len(listed)
    return found


def probs(row: dict[str, str]) -> np.ndarray:
    return np.array([float(row["glad"]), float(row["sad"])])


def frames_of(path: Path | str) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.slow
def test_raw_videos_get_the_predictions_of_aligned_crops(made: Path) -> None:
    result = call("predict", "run", "--cell", "mlp/window", "videos", "--detector", "dots", "--out", "out")
    assert result.exit_code == 1, result.output
    assert "fault: videos/count.avi: the header declares 19 frames; 15 were read" in result.output
    assert result.output.count("fault:") == 1
    found = rows("out/predictions.csv")
    lengths = {"story_left": 29, "story_right": 29, "turned": 8, "count": 15}
    assert sorted(found) == sorted((clip, n) for clip, length in lengths.items() for n in range(1, length + 1))
    crops = {(path.parent.name, int(path.stem)) for path in Path("aligned/cropped_aligned").rglob("*.jpg")}
    crops = {key for key in crops if not key[0].startswith("train")}
    assert {key for key, row in found.items() if row["face"] == "1"} == crops
    predictor = fusionkit.load("run", "mlp/window")
    expected = predictor.predict_dataset(DATASET)
    crops |= {(f"train{n}", frame) for n in range(4) for frame in range(1, 9)}
    assert len(expected.table) == len(crops)
    for clip, number, label, values in zip(
        expected.table.clip, expected.table.number, expected.labels, expected.probs, strict=True
    ):
        if str(clip).startswith("train"):
            continue
        row = found[str(clip), int(number)]
        np.testing.assert_allclose(probs(row), values, atol=1e-6)
        assert row["label"] == label
    for number, time in enumerate(TIMES, 1):
        assert float(found["story_left", number]["seconds"]) == pytest.approx(time, abs=1e-3)
    for number in range(13, 18):  # nobody was there: as the nearest frame, of two the earlier
        near = found["story_left", 12 if number <= 15 else 18]
        assert (found["story_left", number]["face"], found["story_left", number]["glad"]) == ("0", near["glad"])
    assert {path.name for path in Path("out/timelines").iterdir()} == {f"{clip}.png" for clip in lengths}
    drawn = frames_of("out/annotated/story.mp4")
    assert [time for time, _ in drawn] == pytest.approx(TIMES, abs=1e-3)
    assert len(frames_of("out/annotated/count.mp4")) == 15
    height, width = frames_of("out/annotated/turned.mp4")[0][1].shape[:2]
    assert height == 360
    assert width > 480  # upright: 240 x 320, and the bars beside it


@pytest.mark.slow
def test_the_numbers_are_those_that_the_cell_was_scored_on(made: Path) -> None:
    result = call("predict", "run", "--cell", "mlp/none", "videos", "--detector", "dots", "--out", "out", "--no-video")
    assert result.exit_code == 1, result.output
    assert not Path("out/annotated").exists()
    found = rows("out/predictions.csv")
    predictor = fusionkit.load("run", "mlp/none")
    table = predictor.predict_dataset(DATASET).table
    tested = np.flatnonzero(table.split == "val")
    folder = RunFolder(Path("run"))
    grid = folder.load_grid()
    assert grid is not None
    record = next(each for each in grid["rows"] if each["axes"]["smoother"] == "none")
    stored = [folder.read_logits(folder.read_cell(cell["id"]).info["head"]).test for cell in record["cells"]]
    mean = np.mean([softmax(logits.astype(float), axis=1) for logits in stored], axis=0)
    assert len(mean) == len(tested)
    for row, values in zip(tested, mean, strict=True):
        np.testing.assert_allclose(probs(found[str(table.clip[row]), int(table.number[row])]), values, atol=1e-6)


@pytest.mark.slow
def test_a_stream_gives_the_same_to_a_ten_thousandth(made: Path) -> None:
    words = ["predict", "run", "--cell", "mlp/exponential", "videos", "--detector", "dots", "--no-video"]
    whole = call(*words, "--out", "whole")
    streamed = call(*words, "--out", "streamed", "--stream")
    assert (whole.exit_code, streamed.exit_code) == (1, 1)
    one, two = rows("whole/predictions.csv"), rows("streamed/predictions.csv")
    sides = {"story_left": "story_1", "story_right": "story_2"}
    assert len(one) == len(two)
    for (clip, number), row in one.items():
        other = two[sides.get(clip, clip), number]
        assert other["face"] == row["face"]
        if row["face"] == "1" and (number <= 12 or clip not in sides):  # after the cut a stream sees new people
            np.testing.assert_allclose(probs(other), probs(row), atol=1e-4)
        if row["face"] == "0":
            assert (other["label"], other["glad"]) == ("", "")
    assert streamed.output.count(" frames/s; latency ") == 3
    assert "95th percentile" in streamed.output


def test_a_smoother_that_looks_ahead_is_not_streamed(made: Path) -> None:
    result = call("predict", "run", "--cell", "mlp/window", "videos", "--stream", "--out", "out")
    assert result.exit_code == 2
    assert "error: face,mouth/mlp/window:width=5 cannot be streamed: its smoother" in result.output
    assert "causal smoother: exponential, hmm-filter, kalman-filter, none" in result.output
    assert result.output.count("\n") == 1
    assert not Path("out").exists()


@pytest.mark.slow
def test_aligned_clips_need_no_detector(made: Path) -> None:
    result = call("predict", "run", "--cell", "mlp/window", "aligned/cropped_aligned", "--out", "out", "--batch", "7")
    assert result.exit_code == 0, result.output
    found = rows("out/predictions.csv")
    expected = fusionkit.load("run", "mlp/window").predict_dataset(DATASET)
    assert len(found) == len(expected.table)
    for clip, number, values in zip(expected.table.clip, expected.table.number, expected.probs, strict=True):
        np.testing.assert_allclose(probs(found[str(clip), int(number)]), values, atol=1e-4)
    assert len(frames_of("out/annotated/turned.mp4")) == 8


@pytest.mark.slow
def test_annotated_videos_are_no_input_of_the_next_run(made: Path) -> None:
    shutil.copytree("videos", "films")
    for _ in range(2):
        result = call("predict", "run", "--cell", "mlp/window", "films", "--detector", "dots", "--out", "films/out")
        assert "3 input(s), " in result.output
    assert len(list(Path("films/out/annotated").iterdir())) == 3


def test_photos_are_answered_one_by_one(made: Path) -> None:
    Path("photos/more").mkdir(parents=True)
    two = frame_of(place(80, 120, 0.8), place(240, 110, 0.7), mood=1.0)
    pictures = {"two.png": two, "one.jpg": frame_of(place(160, 120, 1.0), mood=-1.0), "more/nobody.png": EMPTY}
    for name, image in pictures.items():
        cv2.imwrite(f"photos/{name}", image[..., ::-1])
    result = call("predict", "run", "--cell", "mlp/window", "photos", "--detector", "dots", "--out", "out")
    assert result.exit_code == 1, result.output
    assert "fault: photos/more/nobody.png: no face found in 1 frame(s)" in result.output
    found = rows("out/predictions.csv")
    assert sorted(found) == [("more/nobody", 1), ("one", 1), ("two_left", 1), ("two_right", 1)]
    assert (found["more/nobody", 1]["face"], found["more/nobody", 1]["label"]) == ("0", "")
    assert (found["one", 1]["label"], found["two_left", 1]["label"]) == ("sad", "glad")
    annotated = {path.relative_to("out/annotated").as_posix() for path in Path("out/annotated").rglob("*.jpg")}
    assert annotated == {"two.jpg", "one.jpg", "more/nobody.jpg"}
    assert not Path("out/timelines").exists()


def test_two_inputs_do_not_make_one_clip(made: Path) -> None:
    Path("photos").mkdir()
    cv2.imwrite("photos/a.png", frame_of(place(80, 120, 0.8), place(240, 110, 0.7))[..., ::-1])
    cv2.imwrite("photos/a_left.png", frame_of(place(160, 120, 1.0))[..., ::-1])
    result = call("predict", "run", "--cell", "mlp/none", "photos", "--detector", "dots", "--out", "out", "--no-video")
    assert result.exit_code == 1
    assert "fault: photos/a_left.png: input photos/a.png already has a clip 'a_left'" in result.output
    assert set(rows("out/predictions.csv")) == {("a_left", 1), ("a_right", 1)}


FAULTS = {
    "empty.mp4": (b"", "empty.mp4 is empty"),
    "text.mp4": (b"hello" * 99, "text.mp4 cannot be read as a video: Invalid data found when processing input"),
    "text.jpg": (b"hello" * 99, "text.jpg is no image of a known format"),
    "cut.png": (cv2.imencode(".png", EMPTY)[1].tobytes()[:60], "cut.png is cut short or broken"),
    "photo.mp4": (cv2.imencode(".png", EMPTY)[1].tobytes(), "photo.mp4 is an image, not a video"),
}


def test_bad_inputs_have_a_line_each_and_the_others_go_on(made: Path) -> None:
    Path("in put").mkdir()
    for name, (data, _) in FAULTS.items():
        Path("in put", name).write_bytes(data)
    write_sound(Path("in put/song.mp4"))
    shutil.copy("videos/turned.mp4", "in put/größe.mp4")
    result = call("predict", "run", "--cell", "mlp/window", "in put", "--detector", "dots", "--out", "out")
    assert result.exit_code == 1, result.output
    for _, line in [*FAULTS.values(), (b"", "song.mp4 contains audio but no video")]:
        assert result.output.count(f"fault: in put/{line}") == 1, line
    assert result.output.count("fault: ") == len(FAULTS) + 1
    assert {clip for clip, _ in rows("out/predictions.csv")} == {"größe"}
    left = {path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file()}
    assert left == {"predictions.csv", "timelines/größe.png", "annotated/größe.mp4"}


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ("run --cell mlp/none gone.mp4", "gone.mp4"),
        ("run --cell nope videos", "'nope'"),
        ("gone --cell mlp/none videos", "gone"),
        ("run --cell mlp/none videos --detector template", "Template"),
        ("run --cell mlp/none videos --detector yunet:model=gone.onnx", "model='gone.onnx'"),
        ("run --cell mlp/none videos --detector yunett", "'yunet'"),
        ("run --cell mlp/none videos --impute mean", "'mean' .*nearest"),
        ("run --cell mlp/none videos --device cuda:9", "'cuda:9'"),
    ],
)
def test_a_wrong_request_is_one_line(made: Path, words: str, fact: str) -> None:
    assert re.search(fact, refusal_of("predict", *words.split(), "--out", "out"))
    assert not Path("out").exists()


@pytest.mark.slow
def test_frames_that_look_like_no_face_are_warned_of_once(made: Path) -> None:
    result = call("predict", "run", "--cell", "mlp/none", "videos", "--out", "out", "--no-video")
    assert result.output.count("frames of 320 x 240 px are used as aligned faces; use --detector") == 1


def test_finished_inputs_stay_when_it_is_interrupted(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def faces(self: Dots, frame: np.ndarray) -> list[object]:
        seen.append(1)
        if len(seen) > 20:
            signal.raise_signal(signal.SIGINT)
        return []

    monkeypatch.setattr(Dots, "faces", faces)
    result = call(
        "predict", "run", "--cell", "mlp/none", "videos", "--detector", "dots", "--rotate", "0", "--out", "out"
    )
    assert result.exit_code == 130
    assert "The table holds the finished inputs" in result.output
    assert {clip for clip, _ in rows("out/predictions.csv")} == {"count"}
    assert not list(Path("out").rglob(".*"))


def test_an_output_that_cannot_be_written_is_one_line(made: Path) -> None:
    Path("file").write_text("", encoding="utf-8")
    result = call("predict", "run", "--cell", "mlp/none", "videos", "--detector", "dots", "--out", "file")
    assert result.exit_code == 1
    assert "error: file/predictions.csv cannot be written: " in result.output


@pytest.mark.slow
@needs_yunet
def test_real_photos_are_answered(made: Path) -> None:
    cv2.imwrite("friends.jpg", friends()[..., ::-1])
    turns = (cv2.resize(warped(astronaut(), 3 * n - 12, 0.9), (480, 480)) for n in range(6))
    write_video(Path("astronaut.mkv"), turns, codec="ffv1")
    detector = f"yunet:model={YUNET}"
    inputs = ["friends.jpg", "astronaut.mkv"]
    assert call("align", *inputs, "--detector", detector, "--out", "crops").exit_code == 0
    result = call("predict", "run", "--cell", "mlp/window", *inputs, "--detector", detector, "--out", "out")
    assert result.exit_code == 0, result.output
    found = rows("out/predictions.csv")
    crops = sorted(Path("crops/cropped_aligned").rglob("*.jpg"))
    assert {(path.parent.name, int(path.stem)) for path in crops} == set(found)
    assert len(crops) == 6 + 6
    predictor = fusionkit.load("run", "mlp/window")
    images = [cv2.imread(str(path))[..., ::-1].copy() for path in crops]
    expected = predictor.predict_proba(images, [path.parent.name for path in crops], [int(p.stem) for p in crops])
    for path, values in zip(crops, expected, strict=True):
        np.testing.assert_allclose(probs(found[path.parent.name, int(path.stem)]), values, atol=1e-6)


DOC = (Path(__file__).parents[2] / "docs/predict.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", re.findall(r"^fusionkit predict .*$", DOC, re.MULTILINE))
def test_the_commands_of_the_docs_are_understood(made: Path, command: str) -> None:
    result = call(*command.split()[1:])
    assert (result.exit_code, result.output) == (2, "error: scene.mp4 does not exist\n")


def test_the_python_of_the_docs_runs(made: Path) -> None:
    (source,) = re.findall(r"^```python\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    Path("runs").mkdir()
    Path("runs/drawn").symlink_to(Path("run").resolve())
    crops = sorted(Path("aligned/cropped_aligned/story_left").iterdir())[:5]
    frames = [cv2.imread(str(path))[..., ::-1].copy() for path in crops]
    names: dict[str, Any] = {"frames": frames}
    exec(compile(source, "docs/predict.md", "exec"), names)
    np.testing.assert_allclose(names["answer"], names["probs"][-1], atol=1e-4)
    assert names["logits"].shape == (2, 5, 2)
