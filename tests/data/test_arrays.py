"""Arrays in memory as a data set: face and sound are fused without an image."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusionkit
from fusionkit.errors import ConfigError, DataError, FusionKitWarning
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec


def made(people: int = 24, frames: int = 20) -> dict[str, Any]:
    """Face encodes the first bit of the class, sound the second; one person after another."""
    rng = np.random.default_rng(0)
    rows = people * frames
    label = rng.integers(0, 4, rows)
    bits = np.stack([label // 2, label % 2], 1)
    person = np.repeat(np.arange(people), frames)
    return {
        "views": {
            "face": rng.normal(size=(rows, 6)) + 4 * bits[:, :1],
            "sound": rng.normal(size=(rows, 3)) + 4 * bits[:, 1:],
        },
        "label": np.array(["calm", "glad", "mad", "sad"])[label],
        "subject": [f"p{number}" for number in person],
        "split": np.where(person < 12, "train", np.where(person < 18, "val", "test")),
    }


@pytest.mark.slow
def test_a_grid_runs_on_arrays_and_needs_both_modalities(tmp_path: Path) -> None:
    spec = fusionkit.from_arrays(tmp_path / "features.npz", **made())
    results = fusionkit.bench(
        datasets=[spec],
        main="face",
        regions=["sound"],
        fusions=["plain-concat"],
        smoothers=["none"],
        recipe={"lr": 0.05, "epochs": 60},
        seeds=1,
        out=tmp_path / "run",
    )
    scores = {row.axes.views: row.score.value for row in results.rows if row.score}
    assert scores["face"] < 0.6  # one bit of two
    assert scores["face,sound"] > 0.9
    assert {(row.axes.extractor, row.axes.backbone) for row in results.rows} == {("none", "none")}
    assert "extractor" not in str(results)
    assert "hog" not in str(results)


def test_the_data_set_holds_the_arrays(tmp_path: Path) -> None:
    given = made()
    spec = fusionkit.from_arrays(tmp_path / "features.npz", **given)
    data = DATASETS.build(Spec(spec["type"], {"path": spec["path"]}))
    rows = np.array([int(data.where(row).rpartition(" ")[2]) for row in range(len(data.table()))])
    for view, values in given["views"].items():
        np.testing.assert_array_equal(data.ready(view, np.arange(len(rows))), values[rows].astype(np.float32))
    assert [data.classes[code] for code in data.table().label] == given["label"][rows].tolist()


def test_ready_made_views_have_no_tokens(tmp_path: Path) -> None:
    spec = fusionkit.from_arrays(tmp_path / "features.npz", **made())
    with pytest.raises(ConfigError) as refused:
        fusionkit.bench(datasets=[spec], main="face", regions=["sound"], fusions=["perceiver"], out=tmp_path / "run")
    assert [problem.partition(" (")[0] for problem in refused.value.problems] == [
        "fusions: perceiver needs tokens, and the ready-made view face has none",
        "fusions: perceiver needs tokens, and the ready-made view sound has none",
    ]
    assert not (tmp_path / "run").exists()


def test_arrays_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    given = made()
    with pytest.raises(DataError, match="arrays differ in length"):
        fusionkit.from_arrays(tmp_path / "f.npz", **{**given, "split": ["train"]})
    with pytest.raises(DataError, match="a view cannot be called 'clip'"):
        fusionkit.from_arrays(tmp_path / "f.npz", {"clip": np.zeros((2, 2))}, ["a", "b"])
    with pytest.raises(DataError, match=r"must end in \.npz"):
        fusionkit.from_arrays(tmp_path / "f.csv", **given)


class OnlyToList:
    """A column of a library that NumPy does not know, such as polars or Arrow."""

    def __init__(self, values: list[Any], method: str = "to_list") -> None:
        setattr(self, method, lambda: values)


LABELS = ["sad", None, "happy", "sad"]
VIEW = np.arange(8.0).reshape(4, 2)


def labels_of(spec: dict[str, Any]) -> list[str | None]:
    data = DATASETS.build(Spec(spec["type"], {"path": spec["path"]}))
    found = [(int(data.where(row).rpartition(" ")[2]), data.table().label[row]) for row in range(len(data.table()))]
    return [None if code < 0 else data.classes[code] for _, code in sorted(found)]


@pytest.mark.parametrize("kind", ["list", "object", "pandas", "category", "string", "NaN", "polars", "arrow"])
def test_columns_of_every_library_are_taken(tmp_path: Path, kind: str) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    column = {
        "list": LABELS,
        "object": np.array(LABELS, dtype=object),
        "pandas": pandas.Series(LABELS),
        "category": pandas.Series(LABELS).astype("category"),
        "string": pandas.Series(LABELS, dtype="string"),
        "NaN": ["sad", float("nan"), "happy", "sad"],
        "polars": OnlyToList(LABELS),
        "arrow": OnlyToList(LABELS, "to_pylist"),
    }[kind]
    assert labels_of(fusionkit.from_arrays(tmp_path / "f.npz", {"v": VIEW}, column)) == LABELS


def test_codes_of_every_library_are_taken(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    torch = pytest.importorskip("torch")
    for codes in (
        [1, -1, 0, 1],
        [1, None, 0, 1],
        np.array([1, np.nan, 0, 1]),
        torch.tensor([1, -1, 0, 1]),
        pandas.Series([1, None, 0, 1], dtype="Int64"),
        OnlyToList([1, None, 0, 1]),
    ):
        spec = fusionkit.from_arrays(tmp_path / "f.npz", {"v": VIEW}, codes, classes=["happy", "sad"])
        assert labels_of(spec) == LABELS


def test_views_of_every_library_are_taken(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    torch = pytest.importorskip("torch")
    views = {
        "table": pandas.DataFrame(VIEW),
        "lists": pandas.Series([*VIEW[:3], None]),
        "nullable": pandas.DataFrame(VIEW).astype("Float64").mask(VIEW == 7.0),
        "trained": torch.tensor(VIEW, requires_grad=True),
        "half": torch.tensor(VIEW, dtype=torch.bfloat16),
        "polars": OnlyToList(VIEW, "to_numpy"),  # type: ignore[arg-type]
        "file": VIEW,
        "allow_pickle": VIEW,
    }
    spec = fusionkit.from_arrays(tmp_path / "f.npz", views, LABELS, clip=["c"] * 4)
    data = DATASETS.build(Spec(spec["type"], {"path": spec["path"]}))
    assert set(data.views) == set(views)
    for name in views:
        expected = VIEW.copy()
        expected[3] = {"lists": np.nan, "nullable": [6, np.nan]}.get(name, expected[3])
        np.testing.assert_array_equal(data.ready(name, np.arange(4)), expected, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"views": {"v": np.empty((4, 0))}}, "view 'v' of shape (4, 0)"),
        ({"views": {"v": [[1.0], [1.0, 2.0], [1.0], [1.0]]}}, "view 'v'"),
        ({"views": {"v": VIEW[0]}}, "view 'v' must be (N, D), not (2,)"),
        ({"subject": [1, 2, None, 3]}, "row 2: subject is missing"),
        ({"subject": ["a", "b", float("nan"), "c"]}, "row 2: subject is missing"),
        ({"clip": ["c"] * 4, "split": ["train", "train", "test", "test"]}, "clip 'c' has several values of 'split'"),
        ({"label": ["happy", "sad", "HAPPY", "sad"]}, "'HAPPY' and 'happy'"),
        ({"label": [[1], [2], [3], [4]]}, "label must be one value per row"),
        ({"label": np.eye(4)}, "label must be one value per row (N,), not (4, 4)"),
        ({"label": [0, 1, 0, 1]}, "(classes=[NAME_OF_0,NAME_OF_1,...])"),
        ({"views": [VIEW]}, "views must be arrays by name, not list (views={'face': array})"),
        ({"views": VIEW}, "views must be arrays by name, not ndarray"),
        ({"views": {"v": np.zeros((4, 8, 8, 3))}}, "not (4, 8, 8, 3) (images are read from files: data sets folder"),
        ({"ids": {"v": [1, 2, 3, 4], "label": [1, 3, 2, 4]}}, "v_ids is '2'"),
        ({"ids": {"w": [1, 2, 3, 4]}}, "ids of 'w', which is no view; views: v"),
    ],
)
def test_wrong_arrays_are_refused_in_one_line_and_the_file_stays(
    tmp_path: Path, changes: dict[str, Any], facts: str
) -> None:
    file = tmp_path / "f.npz"
    spec = fusionkit.from_arrays(file, {"v": VIEW}, LABELS)
    with pytest.raises(DataError) as refused:
        fusionkit.from_arrays(file, **{"views": {"v": VIEW}, "label": LABELS, **changes})
    assert facts in str(refused.value)
    assert "\n" not in str(refused.value)
    assert labels_of(spec) == LABELS
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]


def test_usual_names_of_splits_are_read(tmp_path: Path) -> None:
    split = ["Training", "train", "Validation", "TESTING"]
    spec = fusionkit.from_arrays(tmp_path / "f.npz", {"v": VIEW}, LABELS, split=split)
    data = DATASETS.build(Spec(spec["type"], {"path": spec["path"]}))
    assert data.frames.split.tolist() == ["train", "train", "val", "test"]


def test_equal_ids_are_accepted(tmp_path: Path) -> None:
    ids = ["a", "b", "c", "d"]
    spec = fusionkit.from_arrays(tmp_path / "f.npz", {"v": VIEW, "w": VIEW}, LABELS, ids=dict.fromkeys("vw", ids))
    assert labels_of(spec) == LABELS


def small(**changes: Any) -> dict[str, Any]:
    """Three classes, ten subjects of twelve frames."""
    rng = np.random.default_rng(0)
    label = np.tile([0, 1, 2], 40)
    person = np.repeat(np.arange(10), 12)
    given = {
        "views": {"face": rng.normal(size=(120, 3)) + np.eye(3)[label], "sound": rng.normal(size=(120, 2))},
        "label": np.array(["calm", "glad", "sad"])[label],
        "subject": [f"p{number}" for number in person],
        "split": np.where(person < 4, "train", np.where(person < 6, "val", "test")),
    }
    return {**given, **changes}


def benched(folder: Path, **keys: Any) -> fusionkit.Results:
    data = small(**keys.pop("columns", {}))
    spec = fusionkit.from_arrays(folder / "features.npz", **data)
    fixed = {"main": "face", "regions": ["sound"], "fusions": ["plain-concat"], "smoothers": ["none"], "seeds": 1}
    return fusionkit.bench(datasets=[spec], recipe={"epochs": 2}, out=folder / "run", **fixed, **keys)


@pytest.mark.slow
def test_python_emits_the_warnings_below_the_table(tmp_path: Path) -> None:
    leak = np.array(small()["split"])
    leak[:3] = "test"
    with pytest.warns(FusionKitWarning) as emitted:
        results = benched(tmp_path, columns={"split": leak})
    lines = [str(each.message) for each in emitted if each.category is FusionKitWarning]
    assert lines == results.warnings == list(fusionkit.api.summarize(results).warnings)
    assert all(each.filename == __file__ for each in emitted if each.category is FusionKitWarning)
    assert any("1 unit(s) are in both train and test, for example 'p0'" in line for line in lines)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "1 unit(s) are in both train and test" in page


@pytest.mark.slow
def test_a_class_without_test_frames_is_named_in_python_and_on_the_page(tmp_path: Path) -> None:
    given = small()
    label = np.where((given["split"] == "test") & (given["label"] == "sad"), "calm", given["label"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FusionKitWarning)
        results = benched(tmp_path, columns={"label": label})
    assert any("test has no frame of class 'sad'" in line for line in results.warnings)
    assert "test has no frame of class" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_fold_that_lacks_a_rare_class_fails_alone_with_a_hint(tmp_path: Path) -> None:
    given = small()
    rare = (np.array(given["subject"]) == "p3") & (given["label"] == "sad")
    label = np.where(given["label"] == "sad", np.where(rare, "sad", "calm"), given["label"])
    prepared = fusionkit.api.prepare(overrides=keys_of(tmp_path, label), out=tmp_path / "run")
    notes = [note for note in prepared.plan.notes if "no training frame of class 'sad'" in note]
    assert notes
    assert all("class_map={sad:null}" in note for note in notes)
    outcome, results = fusionkit.api.execute(prepared)
    states = {cell["fold"]: cell["state"] for cell in results.cells() if cell["axes"]["views"] == "face"}
    assert set(states.values()) == {"done", "failed"}
    assert sum(state == "failed" for state in states.values()) == len(notes)
    assert all("no training frame of class 'sad'" in message for message in outcome.failed.values())


def keys_of(folder: Path, label: np.ndarray) -> dict[str, Any]:
    spec = fusionkit.from_arrays(folder / "features.npz", **small(label=label))
    fixed = {"main": "face", "regions": ["sound"], "fusions": ["plain-concat"], "smoothers": ["none"], "seeds": 1}
    return {"datasets": [spec], "recipe": {"epochs": 2}, "split": "kfold:k=4", **fixed}


def test_labels_of_tasks_are_columns_of_the_file(tmp_path: Path) -> None:
    views = {"face": np.random.default_rng(0).normal(size=(4, 3))}
    tasks = {"valence-arousal": {"valence": [0.5, None, -1, 1], "arousal": np.float32([0, 0.25, np.nan, 1])}}
    spec = fusionkit.from_arrays(tmp_path / "f.npz", views, tasks=tasks)
    assert spec["tasks"] == {"valence-arousal": ["valence", "arousal"]}
    found = DATASETS.build(spec).task_labels("valence-arousal")
    assert found.names == ("valence", "arousal")
    np.testing.assert_array_equal(found.values, [(0.5, 0), (np.nan, 0.25), (-1, np.nan), (1, 1)])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tasks": {"votes": {"face": [1, 2]}}}, "a label cannot be called 'face'"),
        ({"tasks": {"votes": {"clip": [1, 2]}}}, "a label cannot be called 'clip'"),
        ({"tasks": {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}}}, "a label cannot be called 'x'"),
        ({"tasks": {"votes": {"x": [1]}}}, "arrays differ in length"),
        ({}, "has no column 'label'"),
    ],
)
def test_wrong_labels_of_tasks_are_refused(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError) as caught:
        fusionkit.from_arrays(tmp_path / "f.npz", {"face": np.ones((2, 3))}, **changes)
    assert line in str(caught.value)
    assert not list(tmp_path.iterdir())
