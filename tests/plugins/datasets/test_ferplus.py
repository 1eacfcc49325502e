"""FER+ beside fer2013.csv, and in the folders made of the two."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_stills import greys, image, labels, write

from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.ferplus import COLUMNS, UNKNOWN, FerPlus, majority

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
USAGES = ["Training", "Training", "Training", "Training", "PublicTest", "PrivateTest"]
NAMES = ["fer0000000.png", "fer0000001.png", "", "fer0000003.png", "fer0000004.png", "fer0000005.png"]
VOTES = [
    "0,9,0,0,0,0,0,0,1,0",  # happiness
    "4,0,0,0,1,0,0,4,1,0",  # nobody
    "0,9,0,0,0,0,0,0,1,0",  # no name
    "0,0,0,0,0,2,0,0,0,8",  # no face
    "0,0,0,6,0,0,3,0,1,0",  # sadness
    "1,0,0,1,0,2,0,6,0,0",  # contempt
]
KEPT = ["happiness", "sadness", "contempt"]


def faces(root: Path, usages: Sequence[str] = USAGES, name: str = "fer2013.csv") -> None:
    """fer2013.csv with the index of the row as its grey value."""
    rows = [f"0,{' '.join([str(index)] * 2304)},{usage}" for index, usage in enumerate(usages)]
    write(root / name, "\n".join(["emotion,pixels,Usage", *rows]) + "\n")


def beside(root: Path, *, end: str = "\n") -> str:
    faces(root)
    rows = [",".join(row) for row in zip(USAGES, NAMES, VOTES, strict=True)]
    write(root / "fer2013new.csv", end.join([HEADER, *rows]) + end)
    return str(root)


def folders(root: Path, box: str = "") -> str:
    """What the authors' script makes of the same rows: nameless ones are not written."""
    folders = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
    for usage, folder in folders.items():
        rows = [at for at, each in enumerate(USAGES) if each == usage and NAMES[at]]
        write(root / folder / "label.csv", "".join(f"{NAMES[at]},{box}{VOTES[at]}\r\n" for at in rows))
        for at in rows:
            image(root / folder / NAMES[at], at)
    return str(root)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_are_those_of_fer2013_with_the_label_of_the_majority(tmp_path, end):
    data = FerPlus(beside(tmp_path, end=end))
    assert data.classes == tuple(HEADER.split(",")[2:10])
    assert labels(data) == KEPT
    assert greys(data) == [0, 4, 5]
    assert data.frames.split.tolist() == ["train", "val", "test"]
    assert data.dropped == {"no name": 1, "unknown": 1, "NF": 1}
    assert data.where(1) == f"{tmp_path / 'fer2013.csv'}:6"


@pytest.mark.parametrize("box", ["", '"(0, 0, 48, 48)",'])
def test_the_folders_hold_the_same_rows_under_the_same_names(tmp_path, box):
    made, table = FerPlus(folders(tmp_path / "made", box)), FerPlus(beside(tmp_path / "table"))
    assert labels(made) == KEPT
    assert greys(made) == [0, 4, 5]
    assert made.dropped == {"unknown": 1, "NF": 1}
    for column in ("clip", "split", "label"):
        assert getattr(made.frames, column).tolist() == getattr(table.frames, column).tolist()


def test_fer2013_may_lie_one_folder_down(tmp_path):
    beside(tmp_path)
    (tmp_path / "fer2013.csv").unlink()
    faces(tmp_path, name="fer2013/fer2013.csv")
    assert greys(FerPlus(str(tmp_path))) == [0, 4, 5]


def test_votes_without_faces_are_refused(tmp_path):
    beside(tmp_path)
    (tmp_path / "fer2013.csv").unlink()
    with pytest.raises(DataError, match=r"needs fer2013.csv beside it"):
        FerPlus(str(tmp_path))


def test_files_of_different_length_are_refused(tmp_path):
    beside(tmp_path)
    faces(tmp_path, USAGES[:-1])
    with pytest.raises(DataError, match=r"has 6 rows and .* 5; they must be equal"):
        FerPlus(str(tmp_path))


def test_files_that_are_out_of_step_are_refused_with_both_lines(tmp_path):
    beside(tmp_path)
    faces(tmp_path, [*USAGES[:4], "PrivateTest", "PublicTest"])
    data = FerPlus(str(tmp_path))
    new, old = tmp_path / "fer2013new.csv", tmp_path / "fer2013.csv"
    assert list(data.problems()) == [
        f"{new}:6: Usage 'PublicTest' differs from 'PrivateTest' at {old}:6",
        f"{new}:7: Usage 'PrivateTest' differs from 'PublicTest' at {old}:7",
    ]
    with pytest.raises(DataError, match="and 1 more"):
        data.table()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Training,a.png,1,2,3", "found 3"),
        ("Training,a.png,0,9,0,0,0,0,0,0,x,0", "'x' must be a number of votes"),
        ("Training,a.png,0,9,0,0,0,0,0,0,-1,0", "'-1' must be a number of votes"),
        ("Training,a.png,0,9,0,0,0,0,0,0,,0", "'' must be a number of votes"),
        ("Test,a.png,0,9,0,0,0,0,0,0,0,0", "Usage 'Test' must be one of Training, PublicTest, PrivateTest"),
        ("Training", "found 0"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    faces(tmp_path, ["Training"] * 2)
    write(tmp_path / "fer2013new.csv", f"{HEADER}\nTraining,b.png,0,9,0,0,0,0,0,0,0,0\n{line}\n")
    data = FerPlus(str(tmp_path))
    with pytest.raises(DataError) as caught:
        data.table()
    assert "fer2013new.csv:3: " in str(caught.value)
    assert message in str(caught.value)


def test_an_image_that_is_missing_stays_a_row(tmp_path):
    root = folders(tmp_path)
    (tmp_path / "FER2013Valid/fer0000004.png").unlink()
    data = FerPlus(root)
    assert labels(data) == KEPT
    assert greys(data) == [0, None, 5]
    [problem] = data.problems()
    assert problem.startswith(f"{tmp_path / 'FER2013Valid/label.csv'}:1: ")
    assert problem.endswith("fer0000004.png is missing")


def test_a_folder_with_neither_layout_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no fer2013new.csv or .* or FER2013Train/label.csv; found: nothing"):
        FerPlus(str(tmp_path))


def test_contempt_is_other_among_the_abaw_names_and_may_be_left_out(tmp_path):
    root = folders(tmp_path)
    assert labels(FerPlus(root, class_map="abaw")) == ["Happiness", "Sadness", "Other"]
    assert labels(FerPlus(root, class_map={"contempt": None})) == ["happiness", "sadness", None]
    with pytest.raises(ConfigError, match="did you mean 'contempt'"):
        FerPlus(root, class_map={"Contempt": None})


def test_the_fingerprint_is_of_both_files_and_not_of_their_place(tmp_path):
    one = FerPlus(beside(tmp_path / "a"))
    assert one.fingerprint() == FerPlus(beside(tmp_path / "b")).fingerprint()
    votes = tmp_path / "b/fer2013new.csv"
    votes.write_text(
        votes.read_text(encoding="utf-8").replace("0,9,0,0,0,0,0,0,1,0", "0,8,0,0,0,0,0,0,2,0"), encoding="utf-8"
    )
    assert one.fingerprint() != FerPlus(str(tmp_path / "b")).fingerprint()


@given(
    st.binary(max_size=80),
    st.lists(st.lists(st.sampled_from(["Training", "a.png", "0", "9", '"', "x", ""]), max_size=13), max_size=4),
)
def test_whatever_the_files_hold_only_a_data_error_comes_out(tmp_path_factory, junk, rows):
    root = tmp_path_factory.mktemp("plus")
    faces(root, ["Training"] * 3)
    for content in (junk, "\n".join([HEADER, *(",".join(row) for row in rows)]).encode()):
        for name in ("fer2013new.csv", "made/FER2013Train/label.csv"):
            write(root / name, content)
            try:
                data = FerPlus(str((root / name).parent if name.startswith("f") else root / "made"))
                list(data.problems())
                assert np.isin(data.table().label, range(8)).all()
            except DataError:
                continue


NEUTRAL, HAPPINESS, SURPRISE, SADNESS, ANGER, DISGUST, FEAR, CONTEMPT, UNKNOWN_COLUMN, NF = range(10)


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        # The first rows of the published votes of the validation part, worked by hand.
        ([4, 0, 0, 0, 1, 0, 0, 4, 1, 0], UNKNOWN),  # lone votes go: 4 of 8 is not more than half
        ([1, 0, 0, 1, 0, 2, 0, 6, 0, 0], CONTEMPT),  # 6 of 8
        ([7, 0, 0, 0, 2, 0, 0, 1, 0, 0], NEUTRAL),  # 7 of 9
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], UNKNOWN),  # a tie
        ([0, 10, 0, 0, 0, 0, 0, 0, 0, 0], HAPPINESS),
        ([4, 0, 1, 2, 0, 0, 0, 0, 3, 0], UNKNOWN),  # 4 of 9
        ([0, 1, 0, 6, 0, 0, 3, 0, 0, 0], SADNESS),  # 6 of 9
        ([5, 0, 2, 0, 1, 1, 1, 0, 0, 0], NEUTRAL),  # 5 of 7, though 5 of 10 would not do
        # Rules that those rows do not reach.
        ([0, 0, 0, 0, 0, 0, 0, 0, 7, 3], UNKNOWN),
        ([0, 0, 0, 0, 0, 2, 0, 0, 0, 8], NF),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], UNKNOWN),  # nothing remains
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], UNKNOWN),
        ([0, 0, 0, 0, 0, 0, 2, 0, 1, 1], FEAR),  # 2 of 2
        ([5, 0, 0, 0, 0, 0, 0, 0, 5, 0], UNKNOWN),  # votes for unknown count in the whole
    ],
)
def test_majority_of_examples_worked_by_hand(votes, winner):
    assert majority(np.array([votes])).tolist() == [winner]


@given(st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), max_size=8))
def test_majority_equals_the_rules_written_as_loops(table):
    expected = []
    for row in table:
        counted = [votes if votes > 1 else 0 for votes in row]
        winners = [index for index, votes in enumerate(counted) if votes > sum(counted) / 2]
        assert len(winners) <= 1
        expected.append(winners[0] if winners else UNKNOWN)
    assert majority(np.array(table, dtype=np.int64).reshape(-1, 10)).tolist() == expected


def test_unknown_is_the_column_of_that_name():
    assert COLUMNS[UNKNOWN] == "unknown"
    assert COLUMNS[NF] == "NF"


def counted(line: str) -> list[int]:
    """The votes for the eight classes, without single votes."""
    return [votes if votes > 1 else 0 for votes in map(int, line.split(",")[:8])]


@pytest.mark.parametrize("make", [beside, folders])
def test_votes_are_those_for_classes_without_single_ones(tmp_path, make):
    data = FerPlus(make(tmp_path))
    found = data.task_labels("votes")
    assert found.names == data.classes
    assert found.values.tolist() == [counted(VOTES[at]) for at in (0, 4, 5)]
    assert found.values.argmax(1).tolist() == data.table().label.tolist()


@pytest.mark.parametrize("make", [beside, folders])
def test_ambiguous_images_are_unlabelled_and_have_votes(tmp_path, make):
    data = FerPlus(make(tmp_path), ambiguous=True)
    assert labels(data) == ["happiness", None, "sadness", "contempt"]
    assert greys(data) == [0, 1, 4, 5]
    assert data.task_labels("votes").values.tolist() == [counted(VOTES[at]) for at in (0, 1, 4, 5)]
    assert data.dropped == {"no name": 1, "NF": 1} if make is beside else {"NF": 1}


def test_images_with_most_votes_for_unknown_or_with_single_votes_only_are_left_out(tmp_path):
    faces(tmp_path, ["Training"] * 4)
    votes = ["2,0,0,0,0,0,0,0,4,2", "3,0,0,3,0,0,0,0,2,2", "1,1,1,1,1,1,1,1,1,1", "4,0,0,0,0,0,0,0,4,0"]
    rows = [f"Training,fer{at}.png,{line}" for at, line in enumerate(votes)]
    write(tmp_path / "fer2013new.csv", "\n".join([HEADER, *rows]))
    data = FerPlus(str(tmp_path), ambiguous=True)
    assert data.task_labels("votes").values.tolist() == [[3, 0, 0, 3, 0, 0, 0, 0]]
    assert data.dropped == {"unknown": 3}


def test_votes_of_merged_classes_are_added_and_those_of_removed_ones_left_out(tmp_path):
    root = beside(tmp_path)
    data = FerPlus(root, class_map={"sadness": "low", "fear": "low", "contempt": None, "happiness": "low"})
    found = data.task_labels("votes")
    assert found.names == data.classes == ("neutral", "low", "surprise", "anger", "disgust")
    assert found.values[:2].tolist() == [[0, 9, 0, 0, 0], [0, 9, 0, 0, 0]]
    assert found.values[2].tolist() == [0, 0, 0, 0, 2]
    only = FerPlus(root, class_map={"disgust": None, "contempt": None}).task_labels("votes")
    assert np.isnan(only.values[2]).all()
