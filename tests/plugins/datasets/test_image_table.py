"""Images that a csv file lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fusionkit.errors import ConfigError, DataError
from fusionkit_datasets.image_table import Csv

NAMES = ("a b.png", "sub/c.png", "d.png", "e.png")


def written(root: Path, text: str, name: str = "labels.csv") -> str:
    """Write the images, each of its own grey, and a csv file; return the path of the file."""
    for index, image in enumerate(NAMES):
        (root / image).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / image), np.full((4, 5, 3), 40 * index, np.uint8))
    (root / name).write_bytes(text.encode())
    return str(root / name)


def greys(data: Csv) -> list[int | None]:
    images = data.images(np.arange(len(data.frames)))
    return [None if image is None else int(image[0, 0, 0]) for image in images]


def test_columns_with_the_usual_names_need_no_option(tmp_path: Path) -> None:
    data = Csv(written(tmp_path, "file,label,other\na b.png,sad,1\nsub/c.png,happy,2\nmissing.png,sad,3\nd.png,,4\n"))
    assert data.classes == ("happy", "sad")
    assert data.frames.clip.tolist() == ["a b.png", "sub/c.png", "missing.png", "d.png"]
    assert data.frames.label.tolist() == [1, 0, 1, -1]
    assert set(data.frames.split.tolist()) == {""}
    assert greys(data) == [0, 40, None, 80]
    assert data.has_image().tolist() == [True, True, False, True]
    assert list(data.problems()) == [f"{tmp_path}/labels.csv:4: {tmp_path}/missing.png is missing"]
    assert data.where(1) == f"{tmp_path}/sub/c.png"


def test_a_file_as_excel_writes_it_is_read(tmp_path: Path) -> None:
    text = "\ufeffPath;Emotion;Who;Fold;Video;t\r\n" + "".join(
        f"{name};{label};{who};{fold};{video};{t}\r\n"
        for name, label, who, fold, video, t in (
            ("sub\\c.png", "1.0", "p2", "Valid", "v2", "1"),
            (".\\e.png", "NaN", "p1", "Training", "v1", "12.0"),
            ("a b.png", "0.0", "p1", "train", "v1", "9.0"),
            (f"{tmp_path}/d.png", "-1", "p1", "train", "v1", "10.0"),
        )
    )
    columns: dict[str, Any] = {"image": "Path", "label": "Emotion", "subject": "Who", "split": "Fold"}
    path = written(tmp_path, text)
    data = Csv(path, **columns, clip="Video", number="t", classes=["calm", "glad"])
    table = data.frames
    assert list(zip(table.clip.tolist(), table.number.tolist(), table.label.tolist(), strict=True)) == [
        ("v2", 1, 1),
        ("v1", 9, 0),
        ("v1", 10, -1),
        ("v1", 12, -1),
    ]
    assert table.subject.tolist() == ["p2", "p1", "p1", "p1"]
    assert table.split.tolist() == ["val", "train", "train", "train"]
    assert greys(data) == [40, 0, 80, 120]
    assert Csv(path, **columns, class_map={"0": "calm", "1": "glad"}, classes=["0", "1"]).classes == ("calm", "glad")


def test_other_columns_are_labels_of_other_tasks(tmp_path: Path) -> None:
    path = written(tmp_path, "file\tclip\tAU1\tAU2\nd.png\tx\t1\t0\na b.png\tx\t\t1\ne.png\ty\t0\tNaN\n")
    data = Csv(path, clip="clip", tasks={"action-units": ["AU2", "AU1"]})
    labels = data.labels("action-units")
    assert labels is not None
    assert labels.names == ("AU2", "AU1")
    np.testing.assert_array_equal(labels.values, [[0, 1], [1, np.nan], [np.nan, 0]])
    assert data.labels("expression") is None
    assert data.labels("votes") is None
    assert data.labels_hint("votes") == "tasks={votes:[COLUMN,...]} names columns with them"
    bad = Csv(written(tmp_path, "file,label,AU1\na b.png,sad,yes\nd.png,glad,1\n"), tasks={"action-units": ["AU1"]})
    assert bad.labels("expression") is not None
    with pytest.raises(DataError, match=r"^csv: .*labels.csv:2: AU1 = 'yes' must be a number$"):
        bad.labels("action-units")


def test_paths_may_be_relative_to_another_folder(tmp_path: Path) -> None:
    path = written(tmp_path, "file,label\nimages/a.png,x\nimages/b.png,y\n")
    with pytest.raises(DataError, match=r"all 2 images are missing, such as .*images/a\.png"):
        _ = Csv(path).frames
    (tmp_path / "other").mkdir()
    written(tmp_path / "other", "")
    Path(path).write_text("file,label\nsub/c.png,x\nd.png,y\n", encoding="utf-8")
    assert greys(Csv(path, root=str(tmp_path / "other"))) == [40, 80]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("file,emotion,person\na b.png,x,1\n", {}, r"no single column for label=label; columns: file, emotion, person"),
        ("Image,label\na b.png,x\n", {"image": "image"}, r"image=image \(did you mean 'Image'\?\)"),
        ("file,label,file\na b.png,x,d.png\n", {}, r"file \(there twice\)"),
        ("file,label\na b.png,x\n", {"subject": "who", "tasks": {"votes": ["x"]}}, r"subject=who, tasks: votes=x;"),
        ("file,label\n", {}, "no row below its header"),
        ("", {}, "no row below its header"),
        ("file,label\na b.png,0\nd.png,1\n", {}, r"classes are numbers \(0, 1\).*classes=\[NAME_OF_0"),
        ("file,label\na b.png,0\nd.png,7\n", {"classes": ["x", "y"]}, r"labels.csv:3: class '7' is not one of: x, y"),
        ("file,label,who\na b.png,x,1\nd.png,y,\n", {"subject": "who"}, r"labels.csv:3: column 'who' is missing"),
        ("file,label,t\na b.png,x,1\nd.png,y,z\n", {"number": "t"}, r"labels.csv:3: column 't' = 'z' must be a whole"),
        ("file,label,s\na b.png,x,all\n", {"split": "s"}, r"labels.csv:2: column 's' = 'all' must be train, val or"),
        ("file,label\n,x\n", {}, r"labels.csv:2: column 'file' is missing"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(
    text: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        Csv(written(tmp_path, text), **options)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("file,label\na b.png,x\nd.png,y,z\n", "labels.csv:3: expected 2 fields, found 3"),
        ("file,label\na b.png,x\nd.png,y\na b.png,y\n", "labels.csv:4: 'a b.png' is also annotated at"),
    ],
)
def test_a_malformed_row_is_a_problem_and_stops_a_benchmark(text: str, fault: str, tmp_path: Path) -> None:
    data = Csv(written(tmp_path, text))
    assert any(fault in problem for problem in data.problems())
    with pytest.raises(DataError, match=fault):
        _ = data.frames
