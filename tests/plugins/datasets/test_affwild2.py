"""The table, the crops and the identity of Aff-Wild2, on folders that are written by hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_affwild2 import EXPR, HEADER, annotate, crop, image

from fusionkit.engine.fold import open_folds
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit_datasets.affwild2 import AffWild2
from fusionkit_datasets.affwild2_labels import CLASSES

NEW = "cropped_aligned_new_50_vids"


def rows(data: AffWild2, clip: str) -> list[tuple[int, int, int | None]]:
    """(number, label, value of the image or None) of each row of a clip."""
    table = data.table()
    chosen = np.flatnonzero(table.clip == clip)
    values = [None if image is None else int(image[0, 0, 0]) for image in data.images(chosen)]
    return list(zip(table.number[chosen].tolist(), table.label[chosen].tolist(), values, strict=True))


def test_line_k_is_frame_k_and_both_lines_and_crops_are_rows(tmp_path):
    annotate(tmp_path, "more_lines", [0, -1, 7, 3])
    crop(tmp_path, "more_lines", [1, 3])
    annotate(tmp_path, "more_crops", [5])
    crop(tmp_path, "more_crops", [1, 2, 4])
    data = AffWild2(str(tmp_path))
    assert rows(data, "more_lines") == [(1, 0, 1), (2, -1, None), (3, 7, 3), (4, 3, None)]
    assert rows(data, "more_crops") == [(1, 5, 1), (2, -1, 2), (4, -1, 4)]
    assert data.has_image().tolist() == [True, True, True, True, False, True, False]
    assert list(data.problems()) == []


@given(
    clips=st.dictionaries(
        st.sampled_from(["a", "a_left", "b", "c_right"]),
        st.tuples(
            st.lists(st.integers(-1, 7), max_size=12),
            st.sets(st.integers(1, 14), max_size=10),
            st.sampled_from(["cropped_aligned", NEW]),
            st.sampled_from(["Train_Set", "Validation_Set"]),
        ),
        min_size=1,
    ).filter(lambda clips: any(labels or numbers for labels, numbers, _, _ in clips.values()))
)
def test_the_table_is_that_of_a_dictionary_of_frames(tmp_path_factory, clips):
    root = tmp_path_factory.mktemp("aff")
    expected = []
    for clip, (labels, numbers, frames, split) in sorted(clips.items()):
        annotate(root, clip, labels, split)
        crop(root, clip, sorted(numbers), frames)
        known = dict.fromkeys(numbers, -1) | dict(enumerate(labels, start=1))
        expected += [
            (clip, number, known[number], {"T": "train", "V": "val"}[split[0]], clip.split("_")[0], number in numbers)
            for number in sorted(known)
        ]
    data = AffWild2(str(root))
    t = data.table()
    columns = (t.clip, t.number, t.label, t.split, t.unit, data.has_image())
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    for row, (clip, number, _, _, _, there) in enumerate(expected):
        frames, split = clips[clip][2:]
        crop_file, line = f"{root}/{frames}/{clip}/{number:05d}.jpg", f"{root}/{EXPR}/{split}/{clip}.txt:{number + 1}"
        assert data.where(row) == (crop_file if there else line)
    shutil.rmtree(root)


def test_people_of_one_video_are_one_unit(tmp_path):
    for clip in ("v", "v_left", "v_right", "left"):
        annotate(tmp_path, clip, [1])
        crop(tmp_path, clip, [1])
    assert AffWild2(str(tmp_path)).table().unit.tolist() == ["left", "v", "v", "v"]


def test_names_grow_from_five_digits_to_six(tmp_path):
    annotate(tmp_path, "v", [-1] * 99_998 + [4, 5, 6])
    crop(tmp_path, "v", [99_999, 100_000, 100_001])
    data = AffWild2(str(tmp_path))
    assert rows(data, "v")[-3:] == [(n, label, n % 251) for n, label in ((99_999, 4), (100_000, 5), (100_001, 6))]
    assert Path(data.where(len(data.frames) - 1)).name == "100001.jpg"


def test_other_endings_and_paddings_are_read_too(tmp_path):
    annotate(tmp_path, "v", [0, 1, 2])
    folder = crop(tmp_path, "v", [2])
    image(folder / "1.png", 1)
    image(folder / "000003.JPG", 3)
    (folder / ".DS_Store").touch()
    (folder / "Thumbs.db").touch()
    assert rows(AffWild2(str(tmp_path)), "v") == [(1, 0, 1), (2, 1, 2), (3, 2, 3)]


def test_a_crop_that_is_no_image_is_read_as_none(tmp_path):
    annotate(tmp_path, "v", [0, 1])
    (crop(tmp_path, "v", [1]) / "00002.jpg").write_bytes(b"\xff\xd8 no image")
    assert rows(AffWild2(str(tmp_path)), "v") == [(1, 0, 1), (2, 1, None)]


def test_rows_are_read_in_any_order(tmp_path):
    for clip in ("a", "b"):
        annotate(tmp_path, clip, [0] * 5)
        crop(tmp_path, clip, [1, 2, 4])
    data = AffWild2(str(tmp_path))
    order = np.array([9, 0, 8, 3, 2, 6])
    values = [None if each is None else int(each[0, 0, 0]) for each in data.images(order)]
    assert values == [None, 1, 4, 4, None, 2]


def test_problems_of_crops_are_listed_with_the_file_and_stop_nothing(tmp_path):
    v = crop(tmp_path, "v", [0, 1, 2])
    annotate(tmp_path, "v", [0, 1])
    image(v / "2.jpg", 9)
    image(v / "face.jpg", 9)
    crop(tmp_path, "v", [1], NEW)
    lone = annotate(tmp_path, "lone", [3])
    image(tmp_path / "cropped_aligned/00001.jpg", 9)
    data = AffWild2(str(tmp_path))
    assert rows(data, "v") == [(0, -1, 0), (1, 0, 1), (2, 1, 2)]
    assert rows(data, "lone") == [(1, 3, None)]
    assert sorted(data.problems()) == sorted(
        [
            f"{v}: found frame 0, but annotated frames start at 1; are the crops shifted by one?",
            f"{v}/2.jpg: frame 2 has two files; 00002.jpg is used",
            f"{v}/face.jpg: the name of an image must be a frame number",
            f"{tmp_path}/{NEW}/v: ignored; clip 'v' has crops in {v} too",
            f"{tmp_path}/cropped_aligned: 1 images beside the folders of clips",
            f"{lone}:1: clip 'lone' has no crops",
        ]
    )


def test_wrong_lines_end_in_one_error_that_names_the_first_and_counts_all(tmp_path):
    good, bad, worse = (annotate(tmp_path, clip, [0, 1]) for clip in ("a", "b", "c"))
    bad.write_text(f"{HEADER}\n1\n9\n2\nhappy\n", encoding="utf-8")
    worse.write_text(f"{HEADER}\n8\n8\n", encoding="utf-8")
    crop(tmp_path, "a", [1])
    crop(tmp_path, "b", [1])
    crop(tmp_path, "c", [1])
    data = AffWild2(str(tmp_path))
    with pytest.raises(DataError) as caught:
        data.table()
    message = str(caught.value)
    assert "\n" not in message
    assert "4 problem(s)" in message
    for part in (f"{bad}:3: '9'", f"{bad}:5: 'happy'", f"{worse}:2: '8'", "and 1 more"):
        assert part in message
    assert str(good) not in message
    assert len(list(data.problems())) == 4
    assert f"{worse}:3: '8' must be a class number in -1..7" in list(data.problems())


@pytest.fixture
def with_test_set(tmp_path):
    annotate(tmp_path, "a", [0, 1])
    annotate(tmp_path, "b", [1, 0], "Validation_Set")
    for clip in ("a", "b", "t1", "t2_left", "u"):
        crop(tmp_path, clip, [1, 3])
    return tmp_path


def test_test_clips_are_left_out_unless_asked_for(with_test_set):
    assert sorted(set(AffWild2(str(with_test_set)).table().clip)) == ["a", "b"]


def test_test_clips_are_those_without_annotation(with_test_set):
    data = AffWild2(str(with_test_set), test=True)
    table = data.table()
    assert dict(zip(table.clip.tolist(), table.split.tolist(), strict=True)) == {
        "a": "train",
        "b": "val",
        "t1": "test",
        "t2_left": "test",
        "u": "test",
    }
    assert rows(data, "t2_left") == [(1, -1, 1), (3, -1, 3)]
    assert table.unit[table.clip == "t2_left"].tolist() == ["t2", "t2"]


def test_a_list_of_the_test_set_selects_the_test_clips(with_test_set):
    folder = with_test_set / "names_of_videos_in_each_test_set"
    folder.mkdir()
    names = folder / "Expression_Recognition_Challenge_test_set_release.txt"
    names.write_text("t1\nt2_left\nb\ngone\n", encoding="utf-8")
    data = AffWild2(str(with_test_set), test=True)
    table = data.table()
    assert sorted(set(table.clip[table.split == "test"])) == ["t1", "t2_left"]
    assert sorted(set(table.clip[table.split == "val"])) == ["b"]
    assert sorted(data.problems()) == sorted(
        [
            f"{with_test_set}/{EXPR}/Validation_Set/b.txt:1: clip 'b' is also in the list of the test set",
            "clip 'gone' of the test set has no crops",
        ]
    )


def test_every_nth_labelled_frame_of_each_train_clip_is_used(tmp_path):
    labels = [0, 1, -1, 2, 3, -1, 4, 5]
    for clip, split in (("a", "Train_Set"), ("b", "Train_Set"), ("c", "Validation_Set")):
        annotate(tmp_path, clip, labels, split)
        crop(tmp_path, clip, [1, 4, 7, 9])
    data = AffWild2(str(tmp_path), every=3)
    assert rows(data, "a") == rows(data, "b") == [(1, 0, 1), (5, 3, None)]
    assert rows(data, "c") == rows(AffWild2(str(tmp_path)), "c")
    assert data.has_image().tolist()[:4] == [True, False, True, False]
    assert data.fingerprint() != AffWild2(str(tmp_path)).fingerprint()


@pytest.mark.parametrize("every", [0, -1])
def test_every_nth_is_one_or_more(tmp_path, every):
    with pytest.raises(ConfigError, match=f"option every = {every} must be at least 1"):
        DATASETS.build(Spec("affwild2", {"root": str(tmp_path), "every": every}))


def test_classes_are_merged_and_left_out_by_name(tmp_path):
    annotate(tmp_path, "v", [0, 1, 2, 4, 7, -1])
    crop(tmp_path, "v", [1])
    mapping = {"Anger": "negative", "Disgust": "negative", "Fear": "negative", "Sadness": "negative", "Other": None}
    data = AffWild2(str(tmp_path), class_map=mapping)
    assert data.classes == ("Neutral", "negative", "Happiness", "Surprise")
    assert data.table().label.tolist() == [0, 1, 1, 2, -1, -1]
    assert AffWild2(str(tmp_path)).classes == CLASSES


def test_other_frame_roots_are_named_and_may_hold_clips_further_down(tmp_path):
    annotate(tmp_path, "v", [0, 1])
    annotate(tmp_path, "w", [2])
    crop(tmp_path, "v", [1, 2], "cropped/batch1")
    crop(tmp_path, "w", [1], "cropped/cropped_new_50_vids")
    elsewhere = crop(tmp_path, "v", [2], "elsewhere")
    data = AffWild2(str(tmp_path), frames="cropped")
    assert rows(data, "v") == [(1, 0, 1), (2, 1, 2)]
    assert rows(data, "w") == [(1, 2, 1)]
    assert rows(AffWild2(str(tmp_path), frames=[str(elsewhere.parent)]), "v") == [(1, 0, None), (2, 1, 2)]


@pytest.mark.parametrize("frames", ["crops", ["cropped_aligned", "crops"]])
def test_a_frame_root_that_is_named_must_be_there(tmp_path, frames):
    annotate(tmp_path, "v", [0])
    with pytest.raises(DataError, match="no folder cropped_aligned or cropped_aligned_new_50_vids"):
        AffWild2(str(tmp_path))
    crop(tmp_path, "v", [1])
    with pytest.raises(DataError, match="no folder crops in"):
        AffWild2(str(tmp_path), frames=frames)


def sample(root: Path) -> AffWild2:
    for clip, split in (("a", "Train_Set"), ("b", "Validation_Set")):
        annotate(root, clip, [0, 1, 2], split)
        crop(root, clip, [1, 2])
    crop(root, "unused", [1])
    return AffWild2(str(root))


def test_the_same_data_elsewhere_are_the_same_data(tmp_path):
    one, two = sample(tmp_path / "one"), sample(tmp_path / "two/deep")
    assert one.fingerprint() == two.fingerprint()
    assert str(tmp_path) not in one.content()


@pytest.mark.parametrize("change", ["label", "comment", "size", "more", "fewer", "root", "split", "ending"])
def test_the_fingerprint_changes_with_annotation_and_crops(tmp_path, change):
    before = sample(tmp_path).fingerprint()
    a, folder = tmp_path / EXPR / "Train_Set/a.txt", tmp_path / "cropped_aligned/a"
    if change == "label":
        annotate(tmp_path, "a", [0, 1, 3])
    elif change == "comment":
        a.write_bytes(a.read_bytes() + b"\n")
    elif change == "size":
        (folder / "00001.jpg").write_bytes(b"x")
    elif change == "more":
        crop(tmp_path, "a", [3])
    elif change == "fewer":
        (folder / "00002.jpg").unlink()
    elif change == "root":
        (tmp_path / NEW).mkdir()
        folder.rename(tmp_path / NEW / "a")
    elif change == "split":
        a.rename(a.parents[1] / "Validation_Set/a.txt")
    else:
        (folder / "00001.jpg").rename(folder / "1.jpg")
    assert AffWild2(str(tmp_path)).fingerprint() != before


def test_what_takes_no_part_does_not_change_the_fingerprint(tmp_path):
    before = sample(tmp_path).fingerprint()
    crop(tmp_path, "unused", [2])
    annotate(tmp_path / "x", "c", [1])
    assert AffWild2(str(tmp_path)).fingerprint() == before


def test_crops_of_two_clips_that_are_exchanged_are_other_data(tmp_path):
    sample(tmp_path)
    prints = []
    for contents in ((b"one", b"two"), (b"two", b"one")):
        for clip, content in zip("ab", contents, strict=True):
            (tmp_path / f"cropped_aligned/{clip}/00002.jpg").write_bytes(content)
        prints.append(AffWild2(str(tmp_path)).fingerprint())
    assert prints[0] != prints[1]


def test_files_are_those_that_are_read_row_by_row(tmp_path, monkeypatch):
    data = sample(tmp_path)
    rows = np.arange(len(data.frames))
    read = []
    monkeypatch.setattr("fusionkit_datasets.affwild2.read_image", read.append)
    for row in rows:
        before = len(read)
        data.read(np.array([row]))
        read += [""] * (len(read) == before)
    assert list(data.image_files(rows)) == read
    assert "" in read
    assert list(data.image_files(rows[::-2])) == read[::-2]


def test_no_crop_is_decoded_for_the_fingerprint(tmp_path, monkeypatch):
    monkeypatch.setattr("fusionkit_datasets.affwild2.read_image", lambda _: pytest.fail("was read"))
    sample(tmp_path).fingerprint()


def with_people(root: Path, subjects: str) -> Path:
    for clip in ("1", "1_left", "2", "3"):
        annotate(root, clip, [0, 1])
        crop(root, clip, [1, 2])
    (root / "people.csv").write_text(subjects, encoding="utf-8")
    return root


def test_the_videos_of_one_subject_are_one_unit(tmp_path):
    data = AffWild2(str(with_people(tmp_path, "subject,video\nann,1\nben,2\nann,3\n")), subjects="people.csv")
    units = dict(zip(data.table().clip.tolist(), data.table().unit.tolist(), strict=True))
    assert units == {"1": "ann", "1_left": "ann", "2": "ben", "3": "ann"}
    assert list(data.problems()) == []
    elsewhere = AffWild2(str(tmp_path), subjects=str(tmp_path / "people.csv"))
    assert elsewhere.fingerprint() == data.fingerprint() != AffWild2(str(tmp_path)).fingerprint()
    exported = data.export(np.arange(len(data.table())))
    assert exported.files[exported.options["subjects"]] == tmp_path / "people.csv"


def test_a_clip_may_have_a_subject_of_its_own_and_clips_without_one_are_counted(tmp_path):
    data = AffWild2(str(with_people(tmp_path, "video,subject\n1,ann\n1_left,ben\n2,ben\n")), subjects="people.csv")
    units = dict(zip(data.table().clip.tolist(), data.table().unit.tolist(), strict=True))
    assert units == {"1": "ann", "1_left": "ben", "2": "ben", "3": "3"}
    assert list(data.problems()) == [f"{tmp_path / 'people.csv'}: no subject for 1 clip(s), such as '3'"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,person\n1,ann\n", "people.csv:1: no column subject; found: video, person"),
        ("", "people.csv:1: no column video, subject; found: nothing"),
        ("video,subject\n1,ann\n1,ben\n", "people.csv:3: video '1' has two subjects: 'ann' and 'ben'"),
        ("video,subject\n1,\n", "people.csv:2: expected a video and a subject"),
        ("video,subject\n1.mp4,ann\n", "names no video of the data; it has '1.mp4', the data '1'"),
    ],
)
def test_a_wrong_file_of_subjects_is_refused(tmp_path, text, message):
    root = with_people(tmp_path, text)
    with pytest.raises(DataError, match=message):
        AffWild2(str(root), subjects="people.csv")


def test_an_annotation_one_folder_too_high_is_named_with_the_spec_that_reads_it(tmp_path):
    with_people(tmp_path / "Aff-Wild2", "")
    with pytest.raises(DataError, match=f"found: Aff-Wild2 .*use affwild2:root={tmp_path / 'Aff-Wild2'}"):
        AffWild2(str(tmp_path))


def test_a_bench_names_what_data_check_lists(tmp_path):
    for index in range(12):
        annotate(tmp_path, f"v{index}", [0, 1, 2, 3, 4, 5, 6, 7])
        crop(tmp_path, f"v{index}", list(range(8)) if index < 4 else list(range(1, 9)))
    spec = Spec("affwild2", {"root": str(tmp_path)})
    warned = open_folds(spec, Spec("holdout"), None)[1]
    (line,) = [line for line in warned if "problem(s) in the data" in line]
    problems = list(DATASETS.build(spec).problems())
    assert line.startswith("4 problem(s)")
    assert problems[0] in line
    assert problems[0].startswith(f"{tmp_path / 'cropped_aligned' / 'v0'}: found frame 0")
    assert "and 2 more" in line
    assert f"fusionkit data check affwild2:root={tmp_path}" in line


def rates(data: AffWild2) -> dict[str, float]:
    table = data.table()
    return dict(zip(table.clip.tolist(), table.rate.tolist(), strict=True))


def test_frames_per_second_are_a_number_or_those_of_a_file_by_clip_or_video(tmp_path):
    root = with_people(tmp_path, "")
    (root / "coverage.csv").write_text("input,clip,rate\na.mp4,1,25\na.mp4,1_left,\nb.mp4,2,29.97\nc.mp4,,9\n")
    data = AffWild2(str(root), rate="coverage.csv")
    assert rates(data) == pytest.approx({"1": 25, "1_left": 25, "2": 29.97, "3": np.nan}, nan_ok=True)
    assert rates(AffWild2(str(root), rate=30)) == {"1": 30, "1_left": 30, "2": 30, "3": 30}
    assert data.fingerprint() == AffWild2(str(root)).fingerprint()
    exported = data.export(np.arange(len(data.table())))
    assert exported.files[exported.options["rate"]] == root / "coverage.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,fps\n1,25\n", "rates.csv:1: no column rate; found: clip, fps"),
        ("clip,rate\n1,fast\n", "rates.csv:2: rate 'fast' must be a number above 0"),
        ("clip,rate\n1,0\n", "rates.csv:2: rate '0' must be a number above 0"),
        ("clip,rate\n1,inf\n", "rates.csv:2: rate 'inf' must be a number above 0"),
        ("clip,rate\n1\n", "rates.csv:2: expected 2 fields"),
    ],
)
def test_a_wrong_file_of_rates_is_refused(tmp_path, text, message):
    root = with_people(tmp_path, "")
    (root / "rates.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        AffWild2(str(root), rate="rates.csv")
