"""DFEW, FERV39k and MAFW, on folders that are written by hand."""

from pathlib import Path

import pytest
from toy_stills import greys, image, labels, write

from fusionkit.contracts import FaceDataset
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit_datasets.labelled_clips import Dfew, Ferv39k, Mafw


def clip(folder: Path, *numbers: int, form: str = "{:05d}.jpg") -> None:
    """Images whose grey value is their number."""
    for number in numbers:
        image(folder / form.format(number), number)


def rows(data: FaceDataset) -> list[tuple[str, int, str | None, str, int | None]]:
    table = data.table()
    columns = table.clip.tolist(), table.number.tolist(), labels(data), table.split.tolist(), greys(data)
    return list(zip(*columns, strict=True))


def dfew(root: Path, fold: int = 1, train: str = "1,7\n3,1\n", test: str = "2,3\n") -> str:
    for split, text in (("train", train), ("test", test)):
        write(root / f"EmoLabel_DataSplit/{split}(single-labeled)/set_{fold}.csv", "video_name,label\n" + text)
    for number in (1, 2, 3):
        clip(root / f"Clip/clip_224x224/{number:05d}", 10 * number, 10 * number + 2)
    return str(root)


def test_dfew_numbers_its_classes_from_one_and_every_frame_has_the_label_of_its_clip(tmp_path):
    data = Dfew(dfew(tmp_path))
    assert data.classes == ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    assert rows(data) == [
        ("00001", 10, "Fear", "train", 10),
        ("00001", 12, "Fear", "train", 12),
        ("00003", 30, "Happy", "train", 30),
        ("00003", 32, "Happy", "train", 32),
        ("00002", 20, "Neutral", "test", 20),
        ("00002", 22, "Neutral", "test", 22),
    ]
    assert list(data.problems()) == []
    assert sorted(set(data.table().unit)) == ["00001", "00002", "00003"]


def test_a_fold_of_dfew_is_chosen_and_images_may_be_in_jpg_256(tmp_path):
    dfew(tmp_path)
    dfew(tmp_path, fold=4, train="2,4\n", test="1,5\n")
    (tmp_path / "Clip/clip_224x224").rename(tmp_path / "Clip/jpg_256")
    assert [row[:4] for row in rows(Dfew(str(tmp_path), fold=4))][::2] == [
        ("00002", 20, "Angry", "train"),
        ("00001", 10, "Surprise", "test"),
    ]
    with pytest.raises(ConfigError, match="fold = 6 must be at least 1 and at most 5"):
        DATASETS.build(f"dfew:root={tmp_path},fold=6")
    with pytest.raises(DataError, match=r"set_2\.csv"):
        Dfew(str(tmp_path), fold=2)


@pytest.mark.parametrize("line", ["1,8", "1,0", "x,1", "1", "1,2,3"])
def test_a_wrong_line_of_dfew_is_named(tmp_path, line):
    data = Dfew(dfew(tmp_path, train=f"3,1\n{line}\n"))
    with pytest.raises(DataError) as caught:
        data.table()
    assert f"set_1.csv:3: expected clip and class number in 1..7, found {line!r}" in str(caught.value)


def test_a_clip_without_images_is_a_problem_and_one_in_both_lists_is_refused(tmp_path):
    data = Dfew(dfew(tmp_path, train="1,1\n9,2\n"))
    assert {row[0] for row in rows(data)} == {"00001", "00002"}
    (problem,) = data.problems()
    assert "set_1.csv:3: clip '00009' has no images in" in problem
    with pytest.raises(DataError, match="'00002' is also annotated at"):
        Dfew(dfew(tmp_path, train="2,1\n")).table()


def test_ferv39k_reads_names_of_classes(tmp_path):
    write(tmp_path / "4_setups/All_scenes/train_All.csv", "Action/Happy/0015 Happy\nWar scene/Angry/0001 Angry\n")
    write(tmp_path / "4_setups/All_scenes/test_All.csv", "Action/Sad/0015 Sad\n")
    for name in ("Action/Happy/0015", "War scene/Angry/0001", "Action/Sad/0015"):
        clip(tmp_path / "2_ClipsforFaceCrop" / name, 2, 11, form="{}.jpg")
    data = Ferv39k(str(tmp_path))
    assert rows(data)[1:5:2] == [
        ("Action/Happy/0015", 11, "Happy", "train", 11),
        ("War scene/Angry/0001", 11, "Angry", "train", 11),
    ]
    assert rows(data)[4] == ("Action/Sad/0015", 2, "Sad", "test", 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Action/Happy/0015 happy", "class 'happy' must be one of Happy, Sad"),
        ("Action/Happy/0015", "expected 2 fields, found 1"),
        ("../Happy/0015 Happy", "must be a folder below the root"),
    ],
)
def test_a_wrong_line_of_ferv39k_is_named(tmp_path, line, message):
    write(tmp_path / "4_setups/All_scenes/train_All.csv", f"{line}\n")
    write(tmp_path / "4_setups/All_scenes/test_All.csv", "Action/Sad/0015 Sad\n")
    clip(tmp_path / "2_ClipsforFaceCrop/Action/Sad/0015", 1)
    with pytest.raises(DataError, match=message):
        Ferv39k(str(tmp_path)).table()


def mafw(root: Path) -> str:
    write(root / "split/single/no_caption/set_1/train.txt", "00025.mp4 anger\n00027.mp4 disappointment\n")
    write(root / "split/single/no_caption/set_1/test.txt", "00026.mp4 contempt\n")
    for name in ("00025", "00026", "00027"):
        clip(root / "data/faces" / name, 1, 2, form="{}.png")
    return str(root)


def test_mafw_has_eleven_names(tmp_path):
    data = Mafw(mafw(tmp_path))
    assert len(data.classes) == 11
    assert rows(data)[::2] == [
        ("00025", 1, "anger", "train", 1),
        ("00027", 1, "disappointment", "train", 1),
        ("00026", 1, "contempt", "test", 1),
    ]
    assert labels(Mafw(str(tmp_path), class_map="{contempt:null}"))[-1] is None


@pytest.mark.parametrize(
    ("name", "message"), [("one.png", "must have a frame number"), ("01.png", "are the same frame")]
)
def test_frames_of_a_clip_have_different_numbers(tmp_path, name, message):
    mafw(tmp_path)
    image(tmp_path / "data/faces/00025" / name, 3)
    with pytest.raises(DataError, match=message):
        Mafw(str(tmp_path))


@pytest.mark.parametrize(("cls", "sought"), [(Dfew, "set_1.csv"), (Ferv39k, "train_All.csv"), (Mafw, "train.txt")])
def test_a_folder_without_the_layout_is_refused(tmp_path, cls, sought):
    (tmp_path / "faces").mkdir()
    with pytest.raises(DataError, match=sought):
        cls(str(tmp_path))
