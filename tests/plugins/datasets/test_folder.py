"""The table, the images and the identity of a folder data set."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.folder import Folder

FER2013 = Path(__file__).parents[4] / "shared/data/fer2013"


def fill(root: Path, *names: str) -> str:
    """Image files whose one grey value is their place in the arguments."""
    for value, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ok, data = cv2.imencode(".png", np.full((4, 6, 3), value, np.uint8))
        assert ok
        path.write_bytes(data.tobytes())
    return str(root)


def rows(data: Folder) -> list[tuple[str, int, str, str]]:
    """(clip, number, class, file) of each row of the checked table."""
    table = data.table()
    return [
        (clip, number, data.classes[label], Path(data.where(row)).name)
        for row, (clip, number, label) in enumerate(
            zip(table.clip.tolist(), table.number.tolist(), table.label.tolist(), strict=True)
        )
    ]


def test_without_a_clip_pattern_each_image_is_its_own_clip_in_natural_order(tmp_path):
    data = Folder(fill(tmp_path, "train/b/f10.png", "train/b/f2.png", "train/a/x.png", "val/a/s/y 1.png"))
    assert rows(data) == [
        ("train/a/x.png", 1, "a", "x.png"),
        ("train/b/f2.png", 1, "b", "f2.png"),
        ("train/b/f10.png", 1, "b", "f10.png"),
        ("val/a/s/y 1.png", 1, "a", "y 1.png"),
    ]
    assert data.frames.split.tolist() == ["train", "train", "train", "val"]
    assert set(data.frames.subject) == {""}
    assert data.frames.unit.tolist() == data.frames.clip.tolist()


def test_classes_are_the_sorted_union_over_splits_and_never_a_place_in_a_list(tmp_path):
    data = Folder(
        fill(tmp_path, "train/sad/1.png", "train/10/1.png", "val/Angry/1.png", "val/9/1.png", "val/sad/2.png")
    )
    assert data.classes == ("10", "9", "Angry", "sad")
    labels = [label for _, _, label, _ in rows(data)]
    assert labels == ["10", "sad", "9", "Angry", "sad"]
    assert labels == [Path(data.where(row)).parent.name for row in range(5)]


def test_images_are_read_in_the_order_asked_for_and_none_stands_for_an_unreadable_one(tmp_path):
    root = fill(tmp_path, "a/0.png", "a/1.png", "b/2.png")
    (tmp_path / "b/2.png").write_bytes(b"no image")
    (tmp_path / "b/3.png").symlink_to("gone.png")
    data = Folder(root)
    images = data.images(np.array([1, 3, 0, 2]))
    assert [None if image is None else image[0, 0].tolist() for image in images] == [[1] * 3, None, [0] * 3, None]
    assert len(data.table()) == 4


def test_a_split_column_is_empty_without_official_splits(tmp_path):
    assert set(Folder(fill(tmp_path, "a/0.png", "b/1.png")).frames.split) == {""}


def test_subjects_are_captured_and_become_the_unit(tmp_path):
    data = Folder(fill(tmp_path, "a/S07_1.png", "b/S07_2.png", "b/S12_1.png"), subject=r"(S\d+)_")
    assert data.frames.subject.tolist() == ["S07", "S07", "S12"]
    assert data.frames.unit.tolist() == ["S07", "S07", "S12"]


@pytest.mark.parametrize(
    ("pattern", "clips"),
    [
        (r"v\d+", ["v1", "v2"]),
        (r"v(\d+)", ["1", "2"]),
        (r"(s\d+)/(?P<clip>v\d+)", ["v1", "v2"]),
        (r"^(.*)/", ["s1/v1", "s2/v2"]),
    ],
)
def test_what_is_captured_is_the_named_group_else_the_first_else_the_match(tmp_path, pattern, clips):
    root = fill(tmp_path, "a/s1/v1/5.png", "b/s1/v1/6.png", "b/s2/v2/5.png")
    data = Folder(root, clip=pattern)
    assert [(clip, number) for clip, number, _, _ in rows(data)] == [(clips[0], 5), (clips[0], 6), (clips[1], 5)]


def test_frames_of_one_clip_in_several_class_folders_stand_together_in_time(tmp_path):
    root = fill(tmp_path, "sad/v1_0010.png", "happy/v1_0009.png", "happy/v1_0011.png", "sad/v2_3.png", "sad/v1_2.png")
    assert rows(Folder(root, clip=r"(v\d+)_")) == [
        ("v1", 2, "sad", "v1_2.png"),
        ("v1", 9, "happy", "v1_0009.png"),
        ("v1", 10, "sad", "v1_0010.png"),
        ("v1", 11, "happy", "v1_0011.png"),
        ("v2", 3, "sad", "v2_3.png"),
    ]


def test_the_frame_number_is_the_last_run_of_digits_of_the_name_without_folder_and_ending(tmp_path):
    root = fill(tmp_path, "a/v1/cam2_frame007_x.png", "a/v1/cam2_frame012.5.png", "b/v1/cam3.png")
    assert [number for _, number, _, _ in rows(Folder(root, clip="v1"))] == [3, 5, 7]


def test_a_number_pattern_goes_before_the_last_digits(tmp_path):
    root = fill(tmp_path, "a/v1/t30_cam1.png", "b/v1/t4_cam1.png")
    assert [number for _, number, _, _ in rows(Folder(root, clip="v1", number=r"t(\d+)"))] == [4, 30]


def test_a_clip_with_a_name_without_digits_is_in_natural_order_from_1(tmp_path):
    root = fill(tmp_path, "a/v1/start.png", "a/v1/f10.png", "b/v1/f9.png", "b/v2/f5.png")
    assert [(clip, number, name) for clip, number, _, name in rows(Folder(root, clip=r"v\d"))] == [
        ("v1", 1, "f9.png"),
        ("v1", 2, "f10.png"),
        ("v1", 3, "start.png"),
        ("v2", 5, "f5.png"),
    ]


@settings(deadline=None)  # writes files
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=20, unique=True), st.integers(1, 8))
def test_frame_numbers_order_a_clip_whatever_their_padding(tmp_path_factory, numbers, digits):
    root = tmp_path_factory.mktemp("clip")
    fill(root, *(f"{'ab'[i % 2]}/v_{number:0{digits}}.png" for i, number in enumerate(numbers)))
    data = Folder(str(root), clip="v")
    assert data.table().number.tolist() == sorted(numbers)
    images = data.images(np.arange(len(numbers)))
    assert [numbers[image[0, 0, 0]] for image in images] == sorted(numbers)
    shutil.rmtree(root)


def refused(root: str, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        Folder(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_frame_number_that_stands_twice_in_a_clip_names_both_files(tmp_path):
    message = refused(fill(tmp_path, "a/v1_7.png", "b/v1_007.png"), clip=r"v\d")
    assert "'v1' has frame 7 twice" in message
    assert "a/v1_7.png" in message
    assert "b/v1_007.png" in message


def test_a_clip_in_two_splits_is_named(tmp_path):
    message = refused(fill(tmp_path, "train/a/v1_1.png", "train/b/v2_1.png", "val/a/v1_2.png"), clip=r"v\d")
    assert "'v1' is in two splits" in message
    assert "train/a/v1_1.png" in message
    assert "val/a/v1_2.png" in message


def test_a_clip_of_two_subjects_is_named(tmp_path):
    message = refused(fill(tmp_path, "a/s1_v1_1.png", "b/s2_v1_2.png"), clip=r"v\d", subject=r"s\d")
    assert "two subjects: 's1'" in message
    assert "'s2'" in message


@pytest.mark.parametrize("option", ["subject", "clip", "number"])
@pytest.mark.parametrize("pattern", [r"s(\d+)_", r"s(\d*)", r"s(\d+)_|other"])
def test_a_file_in_which_a_pattern_finds_nothing_is_named(tmp_path, option, pattern):
    message = refused(fill(tmp_path, "a/s1_1.png", "b/sub/other.png", "b/s.png"), **{option: pattern})
    assert f"{option}={pattern!r}" in message
    assert "other.png" in message or "s.png" in message


@pytest.mark.parametrize("number", ["x", "99999999999999999999", "1.5"])
def test_a_frame_number_that_is_no_number_is_refused(tmp_path, number):
    message = refused(fill(tmp_path, f"a/v1_{number}.png", "b/v1_1.png"), clip="v1", number=r"_(.+)\.png")
    assert f"frame number {number!r}" in message


@pytest.mark.parametrize("option", ["subject", "clip", "number"])
def test_a_pattern_that_is_no_regular_expression_is_refused_before_looking_for_files(option):
    with pytest.raises(ConfigError, match=option):
        Folder("/nowhere", **{option: "(s"})


def test_the_fingerprint_is_the_same_elsewhere_and_under_other_names_of_splits(tmp_path):
    names = ["a/1.png", "b/2.png"]
    one = fill(tmp_path / "one", *(f"{s}/{n}" for s in ("train", "val") for n in names))
    two = fill(tmp_path / "two/deep", *(f"{s}/{n}" for s in ("Train", "validation") for n in names))
    assert Folder(one).fingerprint() == Folder(two).fingerprint()


@pytest.mark.parametrize("change", ["size", "exchange", "name", "class", "more"])
def test_the_fingerprint_changes_with_the_files(tmp_path, change):
    root = fill(tmp_path, "a/1.png", "a/2.png", "b/3.png")
    (tmp_path / "b/3.png").write_bytes((tmp_path / "a/1.png").read_bytes()[::-1])  # of the same size
    before = Folder(root).fingerprint()
    if change == "size":
        (tmp_path / "a/1.png").write_bytes(b"x")
    elif change == "exchange":
        (tmp_path / "a/1.png").rename(tmp_path / "x")
        (tmp_path / "b/3.png").rename(tmp_path / "a/1.png")
        (tmp_path / "x").rename(tmp_path / "b/3.png")
    elif change == "name":
        (tmp_path / "a/1.png").rename(tmp_path / "a/0.png")
    elif change == "class":
        (tmp_path / "a/1.png").rename(tmp_path / "b/1.png")
    else:
        fill(tmp_path, "b/4.png")
    assert Folder(root).fingerprint() != before


def test_a_file_name_that_is_not_utf8_is_a_name_too(tmp_path):
    root = fill(tmp_path, "a/1.png", "b/2.png")
    try:
        (tmp_path / "a/1.png").rename(tmp_path / "a" / b"\xe9.png".decode(errors="surrogateescape"))
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    data = Folder(root)
    assert data.frames.clip[0] == r"a/\xe9.png"
    assert len(data.fingerprint()) == 16
    assert data.images(np.array([0]))[0] is not None


def test_a_class_map_merges_leaves_out_and_takes_spellings_for_abaw_names(tmp_path):
    root = fill(tmp_path, "angry/0.png", "Happy/1.png", "contempt/2.png")
    mapped = Folder(root, class_map="{angry:bad,contempt:bad}")
    assert [label for _, _, label, _ in rows(mapped)] == ["Happy", "bad", "bad"]
    assert Folder(root, class_map={"contempt": None}).table().label.tolist() == [0, 1, -1]
    assert Folder(root, class_map="abaw").classes == ("Happiness", "Anger", "Other")
    with pytest.raises(ConfigError, match="did you mean 'Happy'"):
        Folder(root, class_map={"happy": None})
    with pytest.raises(ConfigError, match="'bored'"):
        Folder(fill(tmp_path, "bored/3.png"), class_map="abaw")


def test_an_empty_file_and_a_dead_link_are_problems(tmp_path):
    root = fill(tmp_path, "a/0.png", "a/1.png", "b/2.png")
    (tmp_path / "a/1.png").write_bytes(b"")
    (tmp_path / "b/3.png").symlink_to("gone.png")
    data = Folder(root)
    assert data.has_image().tolist() == [True, False, True, False]
    assert [problem.partition(":")[0] for problem in data.problems()] == [
        str(tmp_path / "a/1.png"),
        str(tmp_path / "b/3.png"),
    ]


def test_no_image_is_opened_when_the_data_set_is_built(tmp_path, monkeypatch):
    root = fill(tmp_path, "a/1.png", "b/2.png")
    monkeypatch.setattr("fusionkit_datasets.folder.read_image", lambda _: pytest.fail("was read"))
    Folder(root).fingerprint()


@pytest.mark.skipif(not FER2013.is_dir(), reason=f"{FER2013} is not there")
def test_fer2013_loads_with_its_classes_and_splits():
    data = Folder(str(FER2013))
    table = data.table()
    assert data.classes == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert {split: int((table.split == split).sum()) for split in np.unique(table.split)} == {
        "train": 6000,
        "val": 3520,
    }
    for row in range(0, len(table), 500):
        split, label, _ = Path(data.where(row)).relative_to(FER2013).parts
        assert (split, label) == (table.split[row], data.classes[table.label[row]])
    image = data.images(np.array([0]))[0]
    expected = cv2.imread(data.where(0), cv2.IMREAD_GRAYSCALE)
    assert image.shape == (48, 48, 3)
    np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, axis=2))


def test_files_that_are_not_read_are_a_problem_with_their_number(tmp_path):
    root = fill(tmp_path, "a/1.png", "a/2.JFIF", "b/1.gif", "b/2.heic")
    for name in ("a/3.cr2", "b/s/4.cr2", "b/notes.txt"):
        fill(tmp_path, name)
    data = Folder(root)
    assert [row[3] for row in rows(data)] == ["1.png", "2.JFIF", "1.gif", "2.heic"]
    problems = list(data.problems())
    assert problems[0] == f"{root}: files that are no images are not read: 2 .cr2 (the first: {root}/a/3.cr2)"
    if find_spec("pillow_heif") is None:
        assert problems[1:] == [f"{root}/b/2.heic is not read without pip install 'fusionkit[heif]'"]


def test_the_class_can_be_in_the_file_name(tmp_path):
    root = fill(tmp_path, "KA.AN1.39.tiff", "KA.HA2.4.tiff", "s/YM.AN1.61.tiff")
    data = Folder(root, subject=r"(\w\w)\.", label=r"\.([A-Z]{2})\d")
    assert data.classes == ("AN", "HA")
    assert rows(data) == [
        ("AN/KA.AN1.39.tiff", 1, "AN", "KA.AN1.39.tiff"),
        ("AN/s/YM.AN1.61.tiff", 1, "AN", "YM.AN1.61.tiff"),
        ("HA/KA.HA2.4.tiff", 1, "HA", "KA.HA2.4.tiff"),
    ]
    assert data.frames.subject.tolist() == ["KA", "YM", "KA"]
    export = data.export(np.arange(3))
    assert (list(export.paths)[1], export.options) == ("AN/s/YM.AN1.61.tiff", {"label": None})
    with pytest.raises(DataError, match=r"label='X' finds nothing in 'KA"):
        Folder(root, label="X")
    with pytest.raises(ConfigError, match=r"label='\(' must be a regular expression"):
        Folder(root, label="(")


def test_classes_in_file_names_keep_official_splits(tmp_path):
    data = Folder(fill(tmp_path, "train/1_sad.png", "train/2_glad.png", "val/3_sad.png"), label="_(?P<label>[a-z]+)")
    assert list(zip(data.frames.split.tolist(), data.frames.label.tolist(), strict=True)) == [
        ("train", 0), ("train", 1), ("val", 1),
    ]  # fmt: skip


def with_table(root: Path, rows: list[str], header: str = "file,AU1,AU2,note") -> Path:
    path = root / "units.csv"
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


UNITS = {"action-units": ["AU2", "AU1"]}


def test_a_table_gives_labels_of_tasks_by_path(tmp_path):
    fill(tmp_path, "train/a/1.png", "train/b/10.png", "train/b/2.png", "valid/a/3.png", "valid/b/4.png")
    rows = [
        "train/b/2.png,1,0,x",
        "./valid/a/3.jpg,,0.5,",
        "elsewhere/7.png,1,1,",
        "val\\b\\4.png,0,,",
        "train/a/1,0,1,",
        "train/a/1.png,0,1,again",
    ]
    with_table(tmp_path, rows)
    data = Folder(str(tmp_path), table="units.csv", tasks="{action-units:[AU2,AU1]}")
    names = [Path(data.where(row)).name for row in range(5)]
    found = data.task_labels("action-units")
    assert found.names == ("AU2", "AU1")
    nan = np.nan
    wanted = {"1.png": (1, 0), "2.png": (0, 1), "3.png": (0.5, nan), "4.png": (nan, 0), "10.png": (nan, nan)}
    np.testing.assert_array_equal(found.values, [wanted[name] for name in names])
    plain = Folder(str(tmp_path))
    assert data.fingerprint() == plain.fingerprint()
    assert plain.task_labels("action-units") is None
    assert data.task_labels("expression").names == ("a", "b")


def test_a_table_is_found_without_the_only_split_and_without_class_folders(tmp_path):
    fill(tmp_path / "one", "train/a/1.png", "train/b/2.png")
    with_table(tmp_path / "one", ["train/a/1.png,1,0,", "b/2.png,0,1,"])
    data = Folder(str(tmp_path / "one"), table="units.csv", tasks=UNITS)
    assert data.task_labels("action-units").values.tolist() == [[0, 1], [1, 0]]
    fill(tmp_path / "flat", "train/a-1.png", "test/b-2.png", "train/b-3.png")
    with_table(tmp_path / "flat", ["train/a-1.png,1,0,", "test/b-2.png,0,1,"])
    data = Folder(str(tmp_path / "flat"), label="[ab]", table=str(tmp_path / "flat/units.csv"), tasks=UNITS)
    names = [Path(data.where(row)).name for row in range(3)]
    values = dict(zip(names, data.task_labels("action-units").values.tolist(), strict=True))
    assert (values["a-1.png"], values["b-2.png"]) == ([0, 1], [1, 0])


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["train/a/1.png,1,x,"], "", r"units.csv:2: AU2 must be a number, not 'x'"),
        (["train/a/1.png,1,0,", "train/a/1.jpg,1,1,"], "", r"units.csv:3: 'train/a/1.png' has another AU2 at line 2"),
        (["train/a/1.png,1"], "", r"units.csv:2: expected 4 fields, found 2"),
        (["a/9.png,1,0,"], "", r"units.csv has no row for an image; the data have 'train/a/1.png'"),
        (["train/a/1.png,1,0,"], "file,AU1,AU3,note", r"units.csv:1: no column 'AU2' \(did you mean 'AU"),
        (["train/a/1.png,1,0,"], "path,AU1,AU2,note", r"units.csv:1: no column 'file'"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, rows, header, message):
    fill(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/3.png")
    with_table(tmp_path, rows, header or "file,AU1,AU2,note")
    with pytest.raises(DataError, match=message):
        Folder(str(tmp_path), table="units.csv", tasks=UNITS)


@pytest.mark.parametrize("given", [{"table": "units.csv"}, {"tasks": UNITS}])
def test_a_table_and_its_tasks_belong_together(tmp_path, given):
    fill(tmp_path, "a/1.png", "b/2.png")
    with pytest.raises(ConfigError, match="table and tasks belong together"):
        Folder(str(tmp_path), **given)
