"""Ready features from npz, npy and parquet files: order, names, gaps, and everything that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusionkit.errors import ConfigError, DataError, FusionKitError
from fusionkit_datasets.embeddings import Embeddings

Arrays = dict[str, np.ndarray]


def arrays(rows: int = 12) -> Arrays:
    """Rows in no order: two clips of six frames, two views, one view missing once."""
    rng = np.random.default_rng(0)
    face, sound = rng.normal(size=(rows, 5)).astype(np.float32), rng.normal(size=(rows, 3))
    sound[4] = np.nan
    order = rng.permutation(rows)
    return {
        "face": face,
        "sound": sound,
        "label": np.array(["sad", "happy", ""])[np.arange(rows) % 3],
        "clip": np.array(["b", "a"])[order % 2],
        "frame": 10 + 2 * (order // 2),
        "subject": np.array(["s2", "s1"])[order % 2],
        "split": np.array(["val", "train"])[order % 2],
    }


def saved(folder: Path, kind: str, given: Arrays) -> str:
    if kind == "npz":
        np.savez(folder / "features.npz", **given)
        return str(folder / "features.npz")
    (folder / "features").mkdir()
    for name, value in given.items():
        np.save(folder / "features" / f"{name}.npy", value)
    return str(folder / "features")


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_rows_are_ordered_by_clip_and_frame_and_keep_what_belongs_to_them(tmp_path: Path, kind: str) -> None:
    given = arrays()
    dataset = Embeddings(saved(tmp_path, kind, given))
    table = dataset.table()
    assert dataset.classes == ("happy", "sad")
    assert sorted(dataset.views) == ["face", "sound"]
    expected = sorted(range(12), key=lambda row: (given["clip"][row], given["frame"][row]))
    for index, row in enumerate(expected):
        assert (table.clip[index], table.number[index]) == (given["clip"][row], given["frame"][row])
        assert table.subject[index] == given["subject"][row]
        assert table.split[index] == given["split"][row]
        assert table.label[index] == {"sad": 1, "happy": 0, "": -1}[str(given["label"][row])]
        for view in ("face", "sound"):
            found = dataset.ready(view, np.array([index]))
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found[0], given[view][row].astype(np.float32))
    assert np.isnan(dataset.ready("sound", np.arange(12))).all(1).sum() == 1
    assert dataset.where(0).endswith(f"row {expected[0]}")


def test_the_same_features_elsewhere_are_the_same_data_and_other_bytes_are_not(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    given = arrays()
    here, there = Embeddings(saved(tmp_path, "npz", given)), Embeddings(saved(tmp_path / "x", "npz", given))
    assert here.fingerprint() == there.fingerprint()
    given["face"][3, 2] += 1
    assert Embeddings(saved(tmp_path / "x", "npz", given)).fingerprint() != here.fingerprint()


def test_numbers_are_named_by_classes_and_rows_without_clip_stand_alone(tmp_path: Path) -> None:
    given = {"v": np.eye(4), "label": np.array([2, 0, -1, 1]), "classes": np.array(["c", "a", "b"])}
    dataset = Embeddings(saved(tmp_path, "npz", given))
    assert dataset.classes == ("c", "a", "b")
    assert dataset.table().label.tolist() == [2, 0, -1, 1]
    assert len(set(dataset.table().clip)) == 4
    merged = Embeddings(saved(tmp_path, "npz", given), class_map={"a": "c"})
    assert merged.classes == ("c", "b")
    assert merged.table().label.tolist() == [1, 0, -1, 0]


def test_without_frame_numbers_the_order_of_the_rows_counts(tmp_path: Path) -> None:
    clip = np.array(["b", "a", "b", "a", "b"])
    given = {"v": np.arange(10.0).reshape(5, 2), "label": np.array(["x", "y", "x", "y", "x"]), "clip": clip}
    dataset = Embeddings(saved(tmp_path, "npz", given))
    assert dataset.table().number.tolist() == [1, 2, 1, 2, 3]
    assert dataset.ready("v", np.arange(5))[:, 0].tolist() == [2.0, 6.0, 0.0, 4.0, 8.0]


def test_parquet_files_hold_views_as_lists(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    given = arrays()
    columns: dict[str, Any] = {name: value.tolist() for name, value in given.items()}
    columns["sound"][4] = None
    parquet.write_table(pyarrow.table(columns), tmp_path / "features.parquet")
    dataset = Embeddings(str(tmp_path / "features.parquet"))
    other = Embeddings(saved(tmp_path, "npz", given))
    assert dataset.table().digest() == other.table().digest()
    for view in ("face", "sound"):
        np.testing.assert_array_equal(dataset.ready(view, np.arange(12)), other.ready(view, np.arange(12)))


NAMES = ["happy", "sad"]


@pytest.mark.parametrize(
    ("label", "classes", "expected"),
    [
        (np.array(["happy", "sad", np.nan, ""]), None, [0, 1, -1, -1]),  # NumPy makes text of NaN
        (np.array(["happy", "sad", -1, "-1.0"]), None, [0, 1, -1, -1]),
        (np.array(["happy", "sad", "<NA>", "NaT"]), None, [0, 1, -1, -1]),
        (np.array([b"happy", b"sad", b"happy", b""]), None, [0, 1, 0, -1]),
        (np.array([0.0, 1.0, np.nan, -1.0]), NAMES, [0, 1, -1, -1]),
        (np.array([0, 1, 1, -1], dtype=np.int8), NAMES, [0, 1, 1, -1]),
        (np.array(["sad", "nan", "happy", "None"]), ["happy", "nan", "None", "sad"], [3, 1, 0, 2]),
    ],
)
def test_missing_labels_are_unlabelled_and_no_class(
    tmp_path: Path, label: np.ndarray, classes: list[str] | None, expected: list[int]
) -> None:
    given = {"v": np.eye(4), "label": label, "clip": np.full(4, "c")}
    given |= {} if classes is None else {"classes": np.array(classes)}
    dataset = Embeddings(saved(tmp_path, "npz", given))
    assert dataset.classes == tuple(classes or NAMES)
    assert dataset.table().label.tolist() == expected


def test_whole_floats_are_frame_numbers_and_subjects(tmp_path: Path) -> None:
    given = {**arrays(), "frame": arrays()["frame"].astype(float), "clip": np.arange(12.0), "subject": np.ones(12)}
    table = Embeddings(saved(tmp_path, "npz", given)).table()
    assert set(table.subject) == {"1"}
    assert "11" in table.clip
    assert sorted(table.number) == sorted(arrays()["frame"])


def test_a_shuffled_view_is_found_by_its_ids(tmp_path: Path) -> None:
    ids = np.array([f"id{row}" for row in range(12)])
    Embeddings(saved(tmp_path, "npz", {**arrays(), "face_ids": ids, "sound_ids": ids, "label_ids": ids}))
    shuffled = {**arrays(), "face_ids": ids, "label_ids": ids, "sound_ids": ids[::-1]}
    with pytest.raises(DataError, match=r"12 row.*not in one order"):
        Embeddings(saved(tmp_path, "npz", shuffled))


def test_parquet_of_a_filtered_pandas_frame_is_read_without_its_index(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(
        {
            "face": list(np.eye(6, dtype=np.float32)),
            "label": ["a", None, "b", np.nan, "a", "b"],
            "clip": pandas.Series(list("xxxyyy")).astype("category"),
            "frame": [1.0, 2, 3, 1, 2, np.nan],
        }
    )
    frame[frame.index != 5].to_parquet(tmp_path / "f.parquet")
    dataset = Embeddings(str(tmp_path / "f.parquet"))
    assert (dataset.views, dataset.classes) == (("face",), ("a", "b"))
    assert dataset.table().label.tolist() == [0, -1, 1, -1, 0]
    assert dataset.table().number.tolist() == [1, 2, 3, 1, 2]
    frame.rename_axis("row").to_parquet(tmp_path / "g.parquet")
    with pytest.raises(DataError, match="row 5: frame nan"):
        Embeddings(str(tmp_path / "g.parquet"))


def broken(**changes: Any) -> Arrays:
    given: dict[str, Any] = {**arrays(), **changes}
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (broken(face=None, sound=None), "has no view: no array of two dimensions, frames by features"),
        (broken(label=None), "has no column 'label'"),
        (broken(labels=np.zeros(12)), r"array 'labels' of shape \(12,\) is neither a view"),
        (broken(video=np.array(["v"] * 11)), "arrays differ in length: face 12, sound 12, .*video 11"),
        (broken(face=np.ones((12, 5), int)), "view 'face' must be floating point, not int64"),
        (broken(frame=np.ones(12) / 2), "row 0: frame 0.5 is not an integer"),
        (broken(frame=np.full(12, np.nan)), "row 0: frame nan is not an integer"),
        (broken(frame=np.array(["1"] * 12)), "'frame' must be integers, not <U1"),
        (broken(face=np.ones((12, 0))), r"view 'face' of shape \(12, 0\) has no features"),
        (broken(subject=np.r_[np.arange(11), np.nan]), "row 11: subject is missing"),
        (broken(subject=np.array(["a", np.nan] * 6)), "row 1: subject is missing"),
        (broken(clip=np.array(["c", ""] * 6)), "row 1: clip is missing"),
        (
            broken(split=np.array(["train", "val"] * 6), clip=np.full(12, "c"), subject=None),
            "clip 'c' has several values of 'split'",
        ),
        (broken(subject=np.arange(12)), "clip 'a' has several values of 'subject'"),
        (broken(label=np.array(["happy", "HAPPY"] * 6)), "'HAPPY' and 'happy' differ in case or blanks"),
        (broken(label=np.array(["happy", "happy "] * 6)), "'happy' and 'happy ' differ in case or blanks"),
        (broken(label=np.zeros(12), classes=np.array(["sad", "sad"])), "class 'sad' is in 'classes' twice"),
        (broken(label=np.full(12, 0.5), classes=np.array(["a", "b"])), "row 0: label 0.5 is not an integer"),
        (broken(label=np.array(["happy", "None"] * 6)), "row 1: label 'None' is a class or a missing label"),
        (broken(label=np.array([b"\xff", b"a"] * 6)), "column 'label' has bytes that are not UTF-8"),
        (broken(face_ids=np.arange(12)), "'face_ids' has no other ids"),
        (
            broken(face_ids=np.arange(12), sound_ids=np.r_[1, 0, 2:12]),
            "row 0: face_ids is '0', sound_ids is '1'; 2",
        ),
        (broken(label=np.zeros(12, int)), "labels are numbers, so an array 'classes'"),
        (broken(label=np.full(12, 2), classes=np.array(["a", "b"])), r"row 0: label 2 must be in -1\.\.1"),
        (broken(classes=np.array(["sad", "angry"])), "unknown label 'happy'; classes: sad, angry"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(tmp_path: Path, given: Arrays, line: str) -> None:
    with pytest.raises(DataError, match=line) as refused:
        Embeddings(saved(tmp_path, "npz", given))
    assert "\n" not in str(refused.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "half.npz").write_bytes(b"PK\x03\x04 half")
    (tmp_path / "features.csv").write_text("a,b", encoding="utf-8")
    for name, error, line in (
        ("nothing.npz", DataError, "does not exist"),
        ("empty", DataError, "has no .npy file"),
        ("half.npz", DataError, "half.npz cannot be read"),
        ("features.csv", ConfigError, "must be a .npz or .parquet file, or a folder of .npy files"),
    ):
        with pytest.raises(FusionKitError, match=line) as refused:
            Embeddings(str(tmp_path / name))
        assert isinstance(refused.value, error)


def test_an_object_array_is_never_unpickled(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f" / "label.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"label.npy cannot be read: .*Python objects in dtype"):
        Embeddings(str(tmp_path / "f"))


def with_tasks() -> Arrays:
    """The rows, with two action units (one an integer, one with a gap) and valence."""
    given = arrays()
    gap = np.arange(12) % 2 * 1.0
    gap[3] = np.nan
    return {**given, "AU1": np.arange(12) % 2, "AU4": gap, "valence": np.linspace(-1, 1, 12)}


TASKS = {"action-units": ["AU4", "AU1"], "valence-arousal": ["valence"]}


@pytest.mark.parametrize("kind", ["npz", "npy"])
@pytest.mark.parametrize("option", [TASKS, "{action-units:[AU4,AU1],valence-arousal:[valence]}"])
def test_columns_are_labels_of_the_tasks_that_name_them(tmp_path: Path, kind: str, option: Any) -> None:
    given = with_tasks()
    data = Embeddings(saved(tmp_path, kind, given), tasks=option)
    (tmp_path / "plain").mkdir()
    plain = Embeddings(saved(tmp_path / "plain", kind, arrays()))
    expected = sorted(range(12), key=lambda row: (given["clip"][row], given["frame"][row]))
    found = {task: data.task_labels(task) for task in ("action-units", "valence-arousal", "votes", "expression")}
    assert found["action-units"].names == ("AU4", "AU1")
    wanted = [(given["AU4"][row], given["AU1"][row]) for row in expected]
    np.testing.assert_array_equal(found["action-units"].values, np.float32(wanted))
    np.testing.assert_array_equal(found["valence-arousal"].values[:, 0], np.float32(given["valence"][expected]))
    assert found["votes"] is None
    assert found["expression"].names == plain.classes == ("happy", "sad")
    assert data.table().digest() == plain.table().digest()


def test_without_classes_there_are_labels_of_other_tasks_only(tmp_path: Path) -> None:
    given = with_tasks()
    del given["label"], given["AU1"], given["AU4"]
    data = Embeddings(saved(tmp_path, "npz", given), tasks={"valence-arousal": ["valence"]})
    assert (data.table().label == -1).all()
    assert data.task_labels("expression") is None
    assert np.isfinite(data.task_labels("valence-arousal").values).all()


def test_nulls_of_a_parquet_column_are_unlabelled(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "face": [[0.0, 1.0]] * 3,
        "label": ["a", "b", "a"],
        "AU1": [1, None, 0],
        "AU2": [True, False, None],
        "AU4": [0.0, 1.0, float("nan")],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "f.parquet")
    data = Embeddings(str(tmp_path / "f.parquet"), tasks={"action-units": ["AU1", "AU2", "AU4"]})
    nan = np.nan  # without clips, rows are sorted by their number
    np.testing.assert_array_equal(data.task_labels("action-units").values, [(1, 1, 0), (nan, 0, 1), (0, nan, nan)])


@pytest.mark.parametrize(
    ("tasks", "line"),
    [
        ({"votes": ["AU5"]}, "has no column 'AU5' of numbers (N,), which tasks names"),
        ({"votes": ["face"]}, "has no column 'face' of numbers (N,), which tasks names"),
        ({"votes": ["AU1", "split"]}, "row 0: split must be a number, not"),
        ({"votes": []}, "'votes' must have different names of columns, not []"),
        ({"votes": ["AU1", "AU1"]}, "'votes' must have different names of columns"),
        ({"expression": ["AU1"]}, "labels of expression are those of the class"),
        ("votes", "tasks='votes' must be {task:[column,...],...}"),
        ("{votes:[AU1],votes:[AU4]}", "'votes' is given twice"),
    ],
)
def test_wrong_tasks_are_refused_in_one_line(tmp_path: Path, tasks: Any, line: str) -> None:
    given = {name: array for name, array in with_tasks().items() if name not in ("AU4", "valence")}
    with pytest.raises(FusionKitError) as caught:
        Embeddings(saved(tmp_path, "npz", given), tasks=tasks)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_of_numbers_that_no_task_names_is_refused_with_the_option(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="array 'AU1'") as caught:
        Embeddings(saved(tmp_path, "npz", with_tasks()), tasks={"valence-arousal": ["valence"]})
    assert "tasks={TASK:[COLUMN,...]}" in caught.value.hint


def test_rates_are_those_of_the_clips_of_the_rows(tmp_path: Path) -> None:
    given = arrays()
    given["rate"] = np.where(given["clip"] == "a", 25.0, np.nan)
    table = Embeddings(saved(tmp_path, "npz", given)).table()
    np.testing.assert_array_equal(table.rate, np.where(table.clip == "a", 25.0, np.nan))
    given["rate"][0] = 9
    with pytest.raises(DataError, match="the frames of a clip must have one rate"):
        Embeddings(saved(tmp_path, "npz", given)).table()
