"""Written views are read back as the same data: labels, clips, numbers, splits, units, pixels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_components import Blobs, Halves, registered, toy_house  # noqa: F401
from toy_stills import image, write

from fusionkit._version import __version__
from fusionkit.config.views import View
from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.data import views as data_views
from fusionkit.data.layouts import _file_name
from fusionkit.data.views import ViewRequest, WrittenViews, write_views
from fusionkit.engine.embed import BATCH
from fusionkit.errors import ConfigError, DataError, StorageError
from fusionkit.grid.progress import Progress
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")

ABAW = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
EXPR = "6th ABAW Annotations/EXPR_Recognition_Challenge"


def views(
    spec: str | Spec, out: Path, view: str = "eye+mouth", extractor: str = "template", **more: object
) -> WrittenViews:
    dataset = Spec.parse(spec) if isinstance(spec, str) else spec
    request = ViewRequest(dataset, View.parse(view), Spec.parse(extractor), **more)  # type: ignore[arg-type]
    return write_views(request, out, Progress())


def noise(path: Path, seed: int, height: int = 40, width: int = 30) -> None:
    """An image file of grey noise that has some structure, so that JPEG keeps most of it."""
    rough = np.random.default_rng(seed).integers(0, 256, (height // 5, width // 5), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    smooth = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), np.repeat(smooth[..., None], 3, axis=2))


def eye_and_mouth(frame: np.ndarray) -> np.ndarray:
    """The authors' boxes, cut off to whole pixels, eye on top."""
    height, width = frame.shape[:2]
    left, right = int(0.2 * width), int(0.8 * width)
    rows = [(int(a * height), int(b * height)) for a, b in ((0.35, 0.55), (0.7, 0.9))]
    return np.concatenate([frame[top:bottom, left:right] for top, bottom in rows])


def described(faces: FaceDataset, *, units: bool = False) -> dict[tuple[str, int], tuple[object, ...]]:
    """By clip and number: class, split, subject or unit."""
    table = faces.table()
    names = [*faces.classes, None]
    persons = table.unit if units else table.subject
    columns = (table.clip.tolist(), table.number.tolist(), table.label.tolist(), table.split.tolist(), persons.tolist())
    return {
        (clip, number): (names[label], split, one) for clip, number, label, split, one in zip(*columns, strict=True)
    }


def images(faces: FaceDataset) -> dict[tuple[str, int], np.ndarray | None]:
    table = faces.table()
    found = faces.images(np.arange(len(table)))
    return dict(zip(zip(table.clip.tolist(), table.number.tolist(), strict=True), found, strict=True))


def assert_cut(before: FaceDataset, after: FaceDataset, tolerance: float) -> int:
    """Every view is the one that was cut, but for so many grey levels on the average; how many there are."""
    old, new = images(before), images(after)
    count = 0
    for key, view in new.items():
        frame = old[key]
        assert (view is None) == (frame is None), key
        if view is not None and frame is not None:
            right = eye_and_mouth(frame)
            assert view.shape == right.shape
            assert np.abs(view.astype(int) - right).mean() <= tolerance
            count += 1
    return count


def test_a_folder_keeps_splits_classes_and_names(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/a/1.png", "train/b/s/2.png", "valid/a/x y.png", "train/a/3.png")):
        noise(tmp_path / "in" / name, seed)
    write(tmp_path / "in/train/b/broken.png", b"")
    written = views(f"folder:root={tmp_path / 'in'}", tmp_path / "out")
    assert written.own_layout
    assert written.counts == {
        "train": {"written": 3, "without image": 1, "region not found": 0},
        "val": {"written": 1, "without image": 0, "region not found": 0},
    }
    assert str(written.reader) == f"folder:root={tmp_path / 'out'}"
    before, after = DATASETS.build(f"folder:root={tmp_path / 'in'}"), DATASETS.build(written.reader)
    assert described(before) == described(after)
    assert assert_cut(before, after, 0) == 4
    files = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    assert files == [
        "preview.png", "train/a/1.png", "train/a/3.png", "train/b/broken.png", "train/b/s/2.png", "val/a/x y.png",
        "views.json",
    ]  # fmt: skip


def test_options_of_a_folder_stay(tmp_path: Path) -> None:
    for seed, name in enumerate(("a/p1_c1_05.jpg", "a/p1_c1_07.jpg", "b/p1_c2_01.jpg", "c/p2_c3_01.jpg")):
        noise(tmp_path / "in" / name, seed)
    patterns = {"subject": "^(p.)", "clip": "(c.)", "number": "_([0-9]+)[.]"}
    spec = Spec("folder", {"root": str(tmp_path / "in"), **patterns, "class_map": {"b": "a", "c": "d"}})
    written = views(spec, tmp_path / "out")
    before, after = DATASETS.build(spec), DATASETS.build(written.reader)
    assert described(after) == described(before)
    assert described(after)["c1", 7] == ("a", "", "p1")
    assert assert_cut(before, after, 2) == 4


@pytest.mark.parametrize("form", ["same", "png"])
def test_a_folder_keeps_its_table_of_labels(tmp_path: Path, form: str) -> None:
    for seed, name in enumerate(("training/a/1.jpg", "training/b/2.jpg", "valid/a/3.jpg", "valid/b/4.jpg")):
        noise(tmp_path / "in" / name, seed)
    rows = "training/a/1.jpg,1\ntraining/b/2.jpg,0\nvalid/b/4.jpg,1\n"
    write(tmp_path / "in/units.csv", "file,AU1\n" + rows)
    spec = Spec("folder", {"root": str(tmp_path / "in"), "table": "units.csv", "tasks": {"action-units": ["AU1"]}})
    written = views(spec, tmp_path / "out", form=form)
    found = [DATASETS.build(each).task_labels("action-units") for each in (spec, written.reader)]
    np.testing.assert_array_equal(found[0].values, found[1].values)
    assert found[1].values[:, 0].tolist()[:2] == [1, 0]


def test_two_files_that_differ_in_their_ending_stay_two(tmp_path: Path) -> None:
    for seed, name in enumerate(("a/1.png", "a/1.jpg", "a/2.bmp", "b/1.png")):
        noise(tmp_path / "in" / name, seed)
    views(f"folder:root={tmp_path / 'in'}", tmp_path / "out", form="jpg")
    assert sorted(path.name for path in (tmp_path / "out/a").iterdir()) == ["1.jpg.jpg", "1.png.jpg", "2.jpg"]
    views(f"folder:root={tmp_path / 'in'}", tmp_path / "same")
    assert sorted(path.name for path in (tmp_path / "same/a").iterdir()) == ["1.jpg", "1.png", "2.png"]


def abaw(root: Path) -> None:
    """Two train clips in two frame roots, one val clip without crops, one test clip."""
    for path, labels in (("Train_Set/v1", "0 1 -1 2"), ("Train_Set/v1_left", "3"), ("Validation_Set/v2", "5 6")):
        text = "\ufeff" + ABAW + "\r\n" + "".join(f"{label}\r\n" for label in labels.split())
        write(root / EXPR / f"{path}.txt", text)
    for seed, name in enumerate(("v1/00001.jpg", "v1/00003.jpg", "v1/00009.jpg", "v3/00002.png")):
        noise(root / "cropped_aligned" / name, seed)
    noise(root / "cropped_aligned_new_50_vids/v1_left/00001.jpg", 9)
    write(root / "names_of_videos_in_each_test_set/Expression_Recognition_Challenge_test_set_release.txt", "v3\n")


@pytest.mark.parametrize(("form", "tolerance"), [("same", 2), ("png", 0)])
def test_aff_wild2_keeps_its_annotation_byte_for_byte(tmp_path: Path, form: str, tolerance: float) -> None:
    abaw(tmp_path / "in")
    spec = Spec("affwild2", {"root": str(tmp_path / "in"), "test": True})
    written = views(spec, tmp_path / "out", form=form)
    before, after = DATASETS.build(spec), DATASETS.build(written.reader)
    assert written.reader.options == {"root": str(tmp_path / "out"), "test": True}
    assert described(after) == described(before)
    assert after.table().unit.tolist() == before.table().unit.tolist()
    assert assert_cut(before, after, tolerance) == 5
    for file in (tmp_path / "in" / EXPR).rglob("*.txt"):
        assert (tmp_path / "out" / file.relative_to(tmp_path / "in")).read_bytes() == file.read_bytes()
    assert written.counts["train"] == {"written": 4, "without image": 2, "region not found": 0}
    assert not (tmp_path / "out/cropped_aligned/v1/00002.jpg").exists()  # its line keeps it in the table


def test_aff_wild2_from_other_frame_roots_and_without_the_test_set(tmp_path: Path) -> None:
    abaw(tmp_path / "in")
    (tmp_path / "in/cropped_aligned").rename(tmp_path / "in/mine")
    spec = Spec("affwild2", {"root": str(tmp_path / "in"), "frames": "mine", "every": 2})
    written = views(spec, tmp_path / "out", splits=("train", "val"))
    assert written.reader.options == {"root": str(tmp_path / "out"), "frames": ["mine"], "every": 2}
    assert described(DATASETS.build(written.reader)) == described(DATASETS.build(spec))
    assert not (tmp_path / "out/names_of_videos_in_each_test_set").exists()
    only = views(spec, tmp_path / "train", splits=("train",))
    assert set(DATASETS.build(only.reader).table().split.tolist()) == {"train"}


def test_aff_wild2_keeps_the_annotation_of_every_named_challenge(tmp_path: Path) -> None:
    abaw(tmp_path / "in")
    folder = tmp_path / "in/6th ABAW Annotations/VA_Estimation_Challenge"
    write(folder / "Train_Set/v1.txt", "valence,arousal\n0.5,-5\n-1,0.25\n")
    write(folder / "Validation_Set/v2.txt", "valence,arousal\n0,0\n0,1\n0,0.5\n")
    spec = Spec("affwild2", {"root": str(tmp_path / "in"), "challenges": ["EXPR", "VA"]})
    written = views(spec, tmp_path / "out")
    before, after = DATASETS.build(spec), DATASETS.build(written.reader)
    assert described(after) == described(before)
    found = [data.task_labels("valence-arousal") for data in (before, after)]
    np.testing.assert_array_equal(found[0].values, found[1].values)
    assert np.isfinite(found[1].values).any(1).sum() == 5


def test_fer2013_folders_keep_their_names(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/angry/1.png", "train/fear/2.png", "test/angry/1.png")):
        noise(tmp_path / "in" / name, seed, 48, 48)
    spec = f"fer2013:root={tmp_path / 'in'}"
    written = views(spec, tmp_path / "out")
    assert written.reader.name == "fer2013"
    before, after = DATASETS.build(spec), DATASETS.build(written.reader)
    assert described(after) == described(before)
    assert assert_cut(before, after, 0) == 3


def test_the_table_of_fer2013_becomes_class_folders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    uses = ("Training", "Training", "PublicTest", "PrivateTest")
    lines = [f"{k},{' '.join(map(str, rng.integers(0, 256, 2304)))},{use}" for k, use in enumerate(uses)]
    write(tmp_path / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    spec = f"fer2013:root={tmp_path / 'fer2013.csv'}"
    written = views(spec, tmp_path / "out")
    before, after = DATASETS.build(spec), DATASETS.build(written.reader)
    named = {Path(clip).stem: value[:2] for (clip, _), value in described(after).items()}
    assert named == {clip: value[:2] for (clip, _), value in described(before).items()}
    views_read = {Path(clip).stem: view for (clip, _), view in images(after).items()}
    for (clip, _), frame in images(before).items():
        assert frame is not None
        assert np.array_equal(views_read[clip], eye_and_mouth(frame))


def test_a_data_set_without_a_layout_of_its_own_becomes_one_folder_a_class(tmp_path: Path) -> None:
    written = views("toy-blobs:clips=12", tmp_path / "out", "bottom", "toy-halves", form="png")
    assert not written.own_layout
    assert written.reader.name == "folder"
    before, after = Blobs(clips=12), DATASETS.build(written.reader)
    assert described(after) == described(before)
    new = images(after)
    table = before.table()
    extractor = Halves()
    known = {"written": 0, "without image": 0, "region not found": 0}
    for row, frame in enumerate(before.read(np.arange(len(table)))):
        view = new[str(table.clip[row]), int(table.number[row])]
        found = frame is not None and not np.isnan(extractor([frame]).boxes[0, extractor.regions.index("bottom"), 0])
        known["written" if found else "region not found" if frame is not None else "without image"] += 1
        assert (view is not None) == found
        if found:
            assert frame is not None
            assert np.array_equal(view, frame[frame.shape[0] // 2 :])
    totals = {what: sum(counts[what] for counts in written.counts.values()) for what in known}
    assert totals == known
    assert min(known.values()) > 0


class Named(Blobs):
    """Stills with names that files cannot have; a photo shows several people."""

    @property
    def frames(self) -> FrameTable:
        clip = ["a/b.jpg", ".hidden", "100%", "caf\u00e9 1", "x//y", "z"]
        return FrameTable.of(clip, [3, 0, 1, 1, 1, 1], [0, 1, 2, 0, 1, -1], video=["p", "p", "", "q/r", "", ""])

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        return [np.full((10, 10, 3), row, np.uint8) for row in rows.tolist()]


def test_invalid_file_names_are_encoded_and_units_kept(tmp_path: Path) -> None:
    with registered(DATASETS, "toy-named", Named):
        written = views("toy-named", tmp_path / "out", "face", form="png")
    after = DATASETS.build(written.reader)
    escaped = {"a/b.jpg": "a/b.jpg", ".hidden": "%2Ehidden", "100%": "100%25", "x//y": "x%2F%2Fy"}
    before = Named()
    expected = {
        (escaped.get(clip, clip), number): (*value[:2], _file_name(str(value[2])))
        for (clip, number), value in described(before, units=True).items()
    }
    assert described(after) == expected
    assert (expected["a/b.jpg", 3][2], expected["caf\u00e9 1", 1][2], expected["z", 1][:2]) == (
        "p",
        "q%2Fr",
        (None, ""),
    )


@pytest.mark.slow
def test_an_interrupted_run_resumes_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views("toy-blobs", tmp_path / "whole", "bottom", "toy-halves")
    encoded, calls = data_views._encoded, []

    def stops(view: np.ndarray, path: Path) -> bytes:
        calls.append(path)
        if len(calls) == 150:
            raise KeyboardInterrupt
        return encoded(view, path)

    monkeypatch.setattr(data_views, "_encoded", stops)
    with pytest.raises(KeyboardInterrupt):
        views("toy-blobs", tmp_path / "out", "bottom", "toy-halves")
    assert not (tmp_path / "out").exists()
    done = len((tmp_path / "out.part/.state").read_bytes())
    assert done in (2 * BATCH, 3 * BATCH)
    with pytest.raises(ConfigError, match="unfinished run of another request"):
        views("toy-blobs:seed=1", tmp_path / "out", "bottom", "toy-halves")
    Blobs.reads.clear()
    monkeypatch.setattr(data_views, "write_contact_sheet", lambda *_: None)
    written = views("toy-blobs", tmp_path / "out", "bottom", "toy-halves")
    assert min(Blobs.reads) == done
    assert sum(counts["written"] for counts in written.counts.values()) == len(
        [path for path in (tmp_path / "out").rglob("*.jpg") if path.stat().st_size]
    )
    for path in (tmp_path / "whole").rglob("*.jpg"):
        assert (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()
    assert not (tmp_path / "out.part").exists()
    assert not list((tmp_path / "out").glob(".*"))


def test_size_resizes_every_view_to_a_square(tmp_path: Path) -> None:
    noise(tmp_path / "in/a/1.png", 0)
    noise(tmp_path / "in/b/2.png", 1)
    written = views(f"folder:root={tmp_path / 'in'}", tmp_path / "out", size=20)
    before, after = images(DATASETS.build(f"folder:root={tmp_path / 'in'}")), images(DATASETS.build(written.reader))
    for key, frame in before.items():
        assert frame is not None
        assert np.array_equal(after[key], cv2.resize(eye_and_mouth(frame), (20, 20), interpolation=cv2.INTER_CUBIC))


def test_provenance_is_written(tmp_path: Path) -> None:
    image(tmp_path / "in/a/1.png", 10, 20, 20)
    image(tmp_path / "in/b/2.png", 20, 20, 20)
    views(f"folder:root={tmp_path / 'in'}", tmp_path / "out", "mouth")
    about = json.loads((tmp_path / "out/views.json").read_text(encoding="utf-8"))
    assert about["fusionkit"] == __version__
    assert (about["view"], about["extractor"], about["read_with"]) == ("mouth", "template", "folder:root=.")
    assert about["counts"] == {"": {"written": 2, "without image": 0, "region not found": 0}}
    sheet = cv2.imread(str(tmp_path / "out/preview.png"))
    assert {10, 20} <= set(np.unique(sheet).tolist())  # the greys of both faces


@pytest.mark.parametrize(
    ("spec", "more", "message"),
    [
        ("toy-blobs", {"view": "chin"}, "has no region 'chin'"),
        ("toy-blobs", {"splits": ("train", "vol")}, "did you mean 'val'"),
        ("toy-blobs", {"splits": ("val",)}, "must include train"),
        ("toy-blobs:official=false", {"splits": ("train",)}, "available official splits: none"),
    ],
)
def test_invalid_requests_are_refused_before_anything_is_written(
    tmp_path: Path, spec: str, more: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        views(spec, tmp_path / "out", **{"view": "bottom", "extractor": "toy-halves", **more})  # type: ignore[arg-type]
    assert not any(path.name.startswith("out") for path in tmp_path.iterdir())


class Ready(Blobs):
    """Has embeddings and no images."""

    read = FaceDataset.read


def test_ready_embeddings_are_refused(tmp_path: Path) -> None:
    with registered(DATASETS, "toy-bare", Ready), pytest.raises(ConfigError, match="ready embeddings and no images"):
        views("toy-bare", tmp_path / "out", "face")


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "out/mine.txt", "mine")
    with pytest.raises(ConfigError, match="already exists"):
        views("toy-blobs", tmp_path / "out", "bottom", "toy-halves")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_nothing_is_left_if_no_frame_has_the_view(tmp_path: Path) -> None:
    write(tmp_path / "in/a/1.png", b"")
    write(tmp_path / "in/b/2.png", b"")
    with pytest.raises(DataError, match="nothing is written"):
        views(f"folder:root={tmp_path / 'in'}", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == []


def test_an_unwritable_path_is_a_storage_error(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(StorageError, match="cannot be written"):
        views("toy-blobs", tmp_path / "file/out", "bottom", "toy-halves")
