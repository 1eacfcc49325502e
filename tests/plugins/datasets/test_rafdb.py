"""RAF-DB: its list, its class folders, and the two ways in which those are numbered."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_stills import greys, image, labels, write
from toy_tasks import divided

from fusionkit.errors import ConfigError, DataError
from fusionkit.registry.spec import Spec
from fusionkit_datasets.rafdb import RafDb

# As in the data set's readme, written here once more.
NAMES = {1: "Surprise", 2: "Fear", 3: "Disgust", 4: "Happiness", 5: "Sadness", 6: "Anger", 7: "Neutral"}
LIST = "EmoLabel/list_patition_label.txt"


def listed(root: Path, lines: str | bytes, *, folder: str = "aligned", ending: str = "_aligned") -> str:
    """A list, and an image for each of its lines: its grey value is its line number."""
    write(root / LIST, lines)
    text = lines.decode("utf-8-sig") if isinstance(lines, bytes) else lines
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.rpartition(" ")[0]
        stem, dot, suffix = name.rpartition(".")
        image(root / "Image" / folder / f"{stem}{ending}{dot}{suffix}", number)
    return str(root)


def test_numbers_of_the_list_are_the_names_of_the_readme_and_prefixes_are_splits(tmp_path):
    lines = [f"train_{number:05d}.jpg {number}" for number in NAMES] + ["test_0001.jpg 4", "test_0002.jpg 1"]
    data = RafDb(listed(tmp_path, "\n".join(lines)))
    assert data.classes == tuple(NAMES.values())
    assert labels(data) == [NAMES[int(line.split()[1])] for line in lines]
    assert data.frames.split.tolist() == [line.split("_")[0] for line in lines]
    assert greys(data) == list(range(1, 10))
    assert data.frames.clip[0] == "train_00001.jpg"
    assert list(data.problems()) == []


def test_windows_line_ends_a_mark_spaces_and_unicode_in_names_are_read(tmp_path):
    data = RafDb(listed(tmp_path / "my faces ü", "\ufefftrain_a b.jpg 5\r\n\r\ntest_ü.jpg 7\r\n".encode()))
    assert labels(data) == ["Sadness", "Neutral"]
    assert greys(data) == [1, 3]


def test_original_images_have_their_own_folder_and_plain_names(tmp_path):
    root = listed(tmp_path, "train_1.jpg 1\ntrain_2.jpg 2\n", folder="original", ending="")
    assert greys(RafDb(root, images="original")) == [1, 2]
    with pytest.raises(DataError, match=r"all 2 images are missing, such as .*aligned"):
        RafDb(root).table()


@pytest.mark.parametrize("form", ["Image/aligned/{}_aligned.jpg", "Image/aligned/{}.jpg", "aligned/{}_aligned.jpg"])
def test_aligned_images_are_found_under_every_usual_name(tmp_path, form):
    write(tmp_path / LIST, "train_1.jpg 1\ntrain_2.jpg 2\n")
    for number in (1, 2):
        image(tmp_path / form.format(f"train_{number}"), number)
    data = RafDb(str(tmp_path))
    assert (greys(data), data.frames.clip.tolist()) == ([1, 2], ["train_1.jpg", "train_2.jpg"])


def test_images_under_other_names_are_named_beside_what_was_sought(tmp_path):
    write(tmp_path / LIST, "train_1.jpg 1\ntrain_2.jpg 2\n")
    image(tmp_path / "Image/cropped/1.jpg", 1)
    with pytest.raises(DataError, match=r"Image/aligned/train_1_aligned.jpg; .*Image has: cropped"):
        RafDb(str(tmp_path)).table()


def test_a_root_one_folder_too_high_is_named_with_the_spec_that_reads_it(tmp_path):
    listed(tmp_path / "basic", "train_1.jpg 1\ntest_2.jpg 2\n")
    with pytest.raises(DataError) as refused:
        RafDb(str(tmp_path))
    assert LIST in str(refused.value)
    assert "found: basic" in str(refused.value)
    assert f"use rafdb:root={tmp_path / 'basic'}" in str(refused.value)


def test_an_image_that_is_missing_stays_a_row_and_is_reported_with_its_line(tmp_path):
    root = listed(tmp_path, "train_1.jpg 1\ntrain_2.jpg 2\ntrain_3.jpg 3\n")
    (tmp_path / "Image/aligned/train_2_aligned.jpg").unlink()
    write(tmp_path / "Image/aligned/train_3_aligned.jpg", b"")
    data = RafDb(root)
    assert labels(data) == ["Surprise", "Fear", "Disgust"]
    assert greys(data) == [1, None, None]
    assert data.has_image().tolist() == [True, False, False]
    at = tmp_path / LIST
    assert list(data.problems()) == [
        f"{at}:2: {tmp_path / 'Image/aligned/train_2_aligned.jpg'} is missing",
        f"{at}:3: {tmp_path / 'Image/aligned/train_3_aligned.jpg'} is empty",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_9.jpg 8", "label '8' must be 1 to 7"),
        ("train_9.jpg 0", "label '0' must be 1 to 7"),
        ("train_9.jpg", "expected 2 fields, found 1: 'train_9.jpg'"),
        ("train_9.jpg happy", "label 'happy' must be 1 to 7"),
        ("valid_9.jpg 3", "'valid_9.jpg' must start with train or test"),
        ("train_1.jpg 2", "'train_1.jpg' is also annotated at"),
    ],
)
def test_a_line_that_means_nothing_is_named_and_no_table_is_made(tmp_path, line, message):
    root = listed(tmp_path, "train_1.jpg 1\ntrain_2.jpg 2\n")
    write(tmp_path / LIST, f"train_1.jpg 1\ntrain_2.jpg 2\n{line}\n")
    data = RafDb(root)
    with pytest.raises(DataError) as caught:
        data.table()
    assert f"{LIST}:3: {message}" in str(caught.value)
    assert len([problem for problem in data.problems() if message in problem]) == 1


def test_every_bad_line_is_a_problem_and_the_error_says_how_many(tmp_path):
    write(tmp_path / LIST, "train_1.jpg 9\ntrain_2.jpg x\ntrain_3.jpg 3\n")
    image(tmp_path / "Image/aligned/train_3_aligned.jpg", 3)
    data = RafDb(str(tmp_path))
    assert [problem.split(": ")[0].rpartition(":")[2] for problem in data.problems()] == ["1", "2"]
    with pytest.raises(DataError, match="and 1 more"):
        data.table()


def test_an_empty_list_is_refused(tmp_path):
    write(tmp_path / LIST, "")
    with pytest.raises(DataError, match="no annotated image"):
        RafDb(str(tmp_path)).table()


def test_a_root_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        RafDb(str(tmp_path / "nowhere"))


def numbered(root: Path, first: int) -> str:
    """Folders of seven numbers in train and test; the grey value is the folder's number."""
    for split in ("train", "test"):
        for number in range(first, first + 7):
            image(root / split / str(number) / f"{split}_{number}.jpg", number)
    return str(root)


@pytest.mark.parametrize(
    ("first", "numbering", "names"),
    [
        (1, "standard", NAMES),
        (0, "standard", {number - 1: name for number, name in NAMES.items()}),
        (0, "manet", dict(enumerate(["Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger"]))),
    ],
)
def test_numbered_folders_mean_what_the_numbering_says(tmp_path, first, numbering, names):
    data = RafDb(numbered(tmp_path, first), numbering=numbering)
    assert labels(data) == [names[grey] for grey in greys(data)]
    assert sorted(set(data.frames.split.tolist())) == ["test", "train"]


@pytest.mark.parametrize("first", [0, 1])
def test_numbered_folders_are_never_guessed(tmp_path, first):
    with pytest.raises(ConfigError, match=r"are numbered .*; option numbering is required") as caught:
        RafDb(numbered(tmp_path, first))
    assert "numbering=standard" in str(caught.value)
    assert "numbering=manet" in str(caught.value)


def test_folders_from_1_do_not_fit_the_numbering_from_0(tmp_path):
    with pytest.raises(DataError, match="class folder '7'"):
        RafDb(numbered(tmp_path, 1), numbering="manet")


def test_a_few_folders_may_count_from_0_or_from_1(tmp_path):
    image(tmp_path / "train/2/a.jpg", 1)
    image(tmp_path / "train/3/b.jpg", 1)
    with pytest.raises(DataError, match="must be 0 to 6 or 1 to 7, not 2, 3"):
        RafDb(str(tmp_path), numbering="standard")


def test_folders_named_by_expressions_need_no_numbering(tmp_path):
    image(tmp_path / "train/happy/a.jpg", 1)
    image(tmp_path / "train/Anger/b.jpg", 2)
    image(tmp_path / "valid/SADNESS/c.jpg", 3)
    data = RafDb(str(tmp_path))
    assert sorted(zip(labels(data), greys(data), strict=True)) == [("Anger", 2), ("Happiness", 1), ("Sadness", 3)]
    assert data.classes == tuple(NAMES.values())


def test_a_folder_that_is_no_expression_is_refused(tmp_path):
    image(tmp_path / "train/Hapiness/a.jpg", 1)
    image(tmp_path / "train/Anger/b.jpg", 2)
    with pytest.raises(DataError, match=r"unknown class folder 'Hapiness' .* \(did you mean 'Happiness'"):
        RafDb(str(tmp_path))


def test_the_official_split_tests_on_test_and_carves_dev_from_train(tmp_path):
    lines = [f"train_{i:05d}.jpg {i % 7 + 1}" for i in range(70)] + [f"test_{i:04d}.jpg {i % 7 + 1}" for i in range(14)]
    data = RafDb(listed(tmp_path, "\n".join(lines)))
    folds, notes = divided(Spec("official"), data.table(), data.classes)
    clip = data.frames.clip
    assert [str(name) for name in clip[folds[0].rows("test")]] == [f"test_{i:04d}.jpg" for i in range(14)]
    assert {str(name)[:5] for name in clip[folds[0].rows("dev")]} == {"train"}
    assert len(folds[0].rows("dev")) == 14
    assert notes == []


def test_a_class_map_merges_and_leaves_out_by_name(tmp_path):
    root = listed(tmp_path, "train_1.jpg 1\ntrain_2.jpg 2\ntrain_3.jpg 4\n")
    assert labels(RafDb(root, class_map={"Fear": None, "Surprise": "Happiness"})) == ["Happiness", None, "Happiness"]
    with pytest.raises(ConfigError, match="did you mean 'Fear'"):
        RafDb(root, class_map="{fear:null}")


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(tmp_path):
    lines = "train_1.jpg 1\ntrain_2.jpg 2\n"
    one, two = RafDb(listed(tmp_path / "one", lines)), RafDb(listed(tmp_path / "deep/two", lines))
    assert one.fingerprint() == two.fingerprint()
    assert str(tmp_path) not in one.content()
    write(tmp_path / "one" / LIST, lines + "\n")
    assert RafDb(str(tmp_path / "one")).fingerprint() != two.fingerprint()
    image(tmp_path / "deep/two/Image/aligned/train_1_aligned.jpg", 1, height=40)
    assert RafDb(str(tmp_path / "deep/two")).fingerprint() != one.fingerprint()


@given(st.binary(max_size=120) | st.text(max_size=60).map(str.encode))
def test_whatever_the_list_holds_only_a_data_error_comes_out(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("raf")
    write(root / LIST, content)
    image(root / "Image/aligned/train_1_aligned.jpg", 1)
    try:
        table = RafDb(str(root)).table()
    except DataError:
        return
    assert np.isin(table.label, range(7)).all()
