"""CK+: which frames of which sequences bear which label."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_stills import greys, image, labels, write
from toy_tasks import divided

from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit_datasets.ckplus import CkPlus

# As in the data set's readme, written here once more.
NAMES = ["neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"]


def sequence(root: Path, name: str, frames: int, label: str | bytes | None, images: str = "cohn-kanade-images") -> None:
    """Frames 1, 2, ... of which the number is the grey value, and the label file of the last one."""
    stem = name.replace("/", "_")
    for number in range(1, frames + 1):
        image(root / images / name / f"{stem}_{number:08d}.png", number)
    write(root / images / name / ".DS_Store", "x")
    (root / "Emotion" / name).mkdir(parents=True, exist_ok=True)
    if label is not None:
        write(root / "Emotion" / name / f"{stem}_{frames:08d}_emotion.txt", label)


def written(root: Path) -> str:
    sequence(root, "S010/002", 6, "   7.0000000e+00\n")
    sequence(root, "S005/001", 5, "   3.0000000e+00\r\n")
    sequence(root, "S005/002", 4, None)
    (root / "cohn-kanade-images/S010/003").mkdir()
    return str(root)


def test_the_last_frames_bear_the_label_the_first_is_neutral_and_the_others_are_unlabelled(tmp_path):
    data = CkPlus(written(tmp_path))
    assert data.classes == tuple(NAMES)
    assert labels(data) == ["neutral", None, *["disgust"] * 3, "neutral", None, None, *["surprise"] * 3]
    assert data.frames.clip.tolist() == ["S005/001"] * 5 + ["S010/002"] * 6
    assert data.frames.number.tolist() == greys(data) == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6]
    assert data.frames.unit.tolist() == ["S005"] * 5 + ["S010"] * 6
    assert set(data.frames.split) == {""}
    assert data.dropped == {"sequence without a label": 2}
    assert list(data.problems()) == []


def test_peak_neutral_and_between_choose_the_frames(tmp_path):
    root = written(tmp_path)
    assert labels(CkPlus(root, peak=1)) == ["neutral", *[None] * 3, "disgust", "neutral", *[None] * 4, "surprise"]
    few = CkPlus(root, peak=2, between=False)
    assert labels(few) == ["neutral", "disgust", "disgust", "neutral", "surprise", "surprise"]
    assert few.frames.number.tolist() == [1, 4, 5, 1, 5, 6]
    plain = CkPlus(root, neutral=False, between=False)
    assert plain.classes == tuple(NAMES[1:])
    assert labels(plain) == ["disgust"] * 3 + ["surprise"] * 3
    with pytest.raises(ConfigError, match="peak = 0 must be at least 1"):
        DATASETS.build(Spec("ckplus", {"root": root, "peak": 0}))


@pytest.mark.parametrize(
    ("frames", "neutral", "expected"),
    [
        (1, True, ["happy"]),
        (2, True, ["neutral", "happy"]),
        (3, True, ["neutral", "happy", "happy"]),
        (1, False, ["happy"]),
        (3, False, [None, "happy", "happy"]),
    ],
)
def test_a_short_sequence_shows_its_emotion_in_all_frames_but_the_neutral_one(tmp_path, frames, neutral, expected):
    sequence(tmp_path, "S001/001", frames, "5")
    assert labels(CkPlus(str(tmp_path), neutral=neutral)) == expected


@pytest.mark.parametrize("number", range(8))
def test_each_number_is_the_name_of_the_readme(tmp_path, number):
    sequence(tmp_path, "S001/001", 4, f"   {number}.0000000e+00")
    assert labels(CkPlus(str(tmp_path)))[-1] == NAMES[number]


def test_the_folders_may_have_the_names_of_the_archives(tmp_path):
    sequence(tmp_path, "S001/001", 4, "5", images="extended-cohn-kanade-images/cohn-kanade-images")
    (tmp_path / "Emotion").rename(tmp_path / "Emotion_labels")
    assert labels(CkPlus(str(tmp_path))) == ["neutral", "happy", "happy", "happy"]


def test_the_peak_that_the_label_is_named_after_is_a_row_though_its_image_is_missing(tmp_path):
    root = written(tmp_path)
    gone = tmp_path / "cohn-kanade-images/S005/001/S005_001_00000005.png"
    gone.unlink()
    data = CkPlus(root)
    assert labels(data)[:5] == ["neutral", None, *["disgust"] * 3]
    assert greys(data)[:5] == [1, 2, 3, 4, None]
    label = tmp_path / "Emotion/S005/001/S005_001_00000005_emotion.txt"
    assert list(data.problems()) == [f"{label}: {gone} is missing"]


@pytest.mark.parametrize("content", ["", "happy", "8.0", "-1", "2.5", "nan", "inf", b"\xff\x00", "1 2"])
def test_a_label_that_is_no_number_from_0_to_7_is_named(tmp_path, content):
    root = written(tmp_path)
    path = tmp_path / "Emotion/S005/001/S005_001_00000005_emotion.txt"
    write(path, content)
    data = CkPlus(root)
    with pytest.raises(DataError) as caught:
        data.table()
    assert f"{path}:1: " in str(caught.value)
    assert "expected one number from 0 to 7" in str(caught.value)
    assert len(list(data.problems())) == 1


def test_two_labels_of_a_sequence_are_refused(tmp_path):
    root = written(tmp_path)
    write(tmp_path / "Emotion/S005/001/S005_001_00000004_emotion.txt", "3")
    with pytest.raises(DataError, match=r"expected one label file in .*, found 2"):
        CkPlus(root)


def test_an_image_without_a_number_and_a_number_twice_are_refused(tmp_path):
    root = written(tmp_path)
    extra = tmp_path / "cohn-kanade-images/S005/001/S005_001_3.png"
    image(extra, 1)
    with pytest.raises(DataError, match="are the same frame"):
        CkPlus(root)
    extra.rename(extra.with_name("poster.png"))
    with pytest.raises(DataError, match=r"poster.png must end in a frame number"):
        CkPlus(root)


@pytest.mark.parametrize("folder", ["Emotion", "cohn-kanade-images"])
def test_a_folder_that_is_missing_is_named(tmp_path, folder):
    root = written(tmp_path)
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=f"has no {folder} or .*found: .*elsewhere"):
        CkPlus(root)


def test_ck48_is_refused_with_the_spec_that_reads_it(tmp_path):
    for name, number in (("anger/S010_004_00000017", 1), ("anger/S010_004_00000018", 2), ("fear/S011_003_00000013", 3)):
        image(tmp_path / "CK+48" / f"{name}.png", number)
    with pytest.raises(DataError, match=r"no cohn-kanade-images .*found: anger, fear") as refused:
        CkPlus(str(tmp_path / "CK+48"))
    data = DATASETS.build(Spec.parse(refused.value.hint.removeprefix("use ")))
    assert data.table().subject.tolist() == ["S010", "S010", "S011"]
    assert data.table().clip.tolist() == ["S010_004", "S010_004", "S011_003"]
    assert data.table().number.tolist() == [17, 18, 13]


def test_a_root_one_folder_too_high_is_named_with_the_spec_that_reads_it(tmp_path):
    root = Path(written(tmp_path / "CK"))
    with pytest.raises(DataError) as refused:
        CkPlus(str(tmp_path))
    assert f"use ckplus:root={root}" in str(refused.value)


def test_no_person_is_trained_on_and_tested(tmp_path):
    for person in range(12):
        for index, emotion in enumerate((1, 5)):
            sequence(tmp_path, f"S{person:03d}/00{index}", 4, str(emotion))
    data = CkPlus(
        str(tmp_path), class_map={"contempt": None, "disgust": None, "fear": None, "sadness": None, "surprise": None}
    )
    folds, notes = divided(Spec("kfold", {"k": 3}), data.table(), data.classes)
    for fold in folds:
        people = [set(data.frames.subject[fold.rows(part)]) for part in ("train", "dev", "test")]
        assert sum(map(len, people)) == 12
        assert set.union(*people) == {f"S{person:03d}" for person in range(12)}
    assert notes == []


def test_contempt_is_other_among_the_abaw_names(tmp_path):
    sequence(tmp_path, "S001/001", 2, "2")
    sequence(tmp_path, "S002/001", 2, "5")
    assert labels(CkPlus(str(tmp_path), class_map="abaw")) == ["Neutral", "Other", "Neutral", "Happiness"]


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(tmp_path):
    one = CkPlus(written(tmp_path / "a"))
    assert one.fingerprint() == CkPlus(written(tmp_path / "b/c")).fingerprint()
    write(tmp_path / "a/Emotion/S005/001/S005_001_00000005_emotion.txt", "4")
    assert one.fingerprint() != CkPlus(str(tmp_path / "a")).fingerprint()


@given(st.integers(1, 12), st.integers(1, 14), st.booleans())
def test_frames_are_counted_from_both_ends(tmp_path_factory, frames, peak, neutral):
    root = tmp_path_factory.mktemp("ck")
    folder = root / "cohn-kanade-images/S001/001"
    folder.mkdir(parents=True)
    for number in range(frames):
        (folder / f"S001_001_{number + 1:08d}.png").write_bytes(b"x")
    write(root / "Emotion/S001/001/S001_001_emotion.txt", "6")
    found = labels(CkPlus(str(root), peak=peak, neutral=neutral))
    expected: list[str | None] = [None] * frames
    for back in range(1, peak + 1):
        if back <= frames:
            expected[frames - back] = "sadness"
    if frames > 1:
        expected[0] = "neutral" if neutral else (None if peak >= frames else expected[0])
    assert found == expected
    assert np.isfinite(CkPlus(str(root)).frames.number).all()
