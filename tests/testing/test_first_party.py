"""Every component of fusionkit passes the kit, and has a reference, a page and tests of its own."""

from __future__ import annotations

import tarfile
import tomllib
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fusionkit.contracts import Component
from fusionkit.testing import cases, check_dataset

ROOT = Path(__file__).parents[2]
KINDS = ("fusion", "smoother", "extractor", "backbone", "dataset", "task")
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
NAMES = [(kind, name) for kind in KINDS for name in DECLARED[f"fusionkit.{kind}s"]]


@cache
def component(kind: str, name: str) -> type[Component]:
    group = f"fusionkit.{kind}s"
    loaded: type[Component] = EntryPoint(name, DECLARED[group][name], group).load()
    return loaded


DAILY = (
    "gated",
    "gaussian",
    "template",
    "hog",
    "affectnet",
    "action-units",
)  # one of each kind; all together take long


def by_component() -> list[Any]:
    slow = [pytest.mark.slow]
    return [pytest.param(kind, name, id=f"{kind}-{name}", marks=[] if name in DAILY else slow) for kind, name in NAMES]


@pytest.mark.parametrize(("kind", "name"), by_component())
def test_it_passes_the_checks_of_its_kind(kind: str, name: str) -> None:
    cls = component(kind, name)
    results = [case.result() for case in cases(kind, cls)]
    assert {result.check: result.message for result in results if result.outcome == "failed"} == {}
    failed_as_declared = {result.check for result in results if result.outcome == "expected failure"}
    assert failed_as_declared == set(cls.expected_failures), "an expected failure that does not fail any more"
    passed = sum(result.outcome == "passed" for result in results)
    assert passed > (10 if cls.examples else 4)


def pixels(grey: int) -> str:
    return " ".join([str(grey)] * 2304)


def picture(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((7, 5, 3), grey, np.uint8)
    image[:3, :2] = (9, 80, 200)
    cv2.imwrite(str(path.with_suffix(".png")), image)
    path.with_suffix(".png").rename(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def affectnet(root: Path) -> dict[str, Any]:
    for split, count in (("train", 6), ("val", 4)):
        for number in range(count):
            picture(root / split / str(number % 2) / f"{number}.jpg", 20 * number)
    return {"root": str(root)}


def affwild2(root: Path) -> dict[str, Any]:
    for split, clip in (("Train_Set", "a"), ("Train_Set", "b_left"), ("Validation_Set", "c")):
        header = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
        lines = [str((number + len(clip)) % 8) for number in range(6)]
        text(
            root / "6th ABAW Annotations/EXPR_Recognition_Challenge" / split / f"{clip}.txt",
            "\n".join([header, *lines]),
        )
        for number in range(1, 6):
            picture(root / "cropped_aligned" / clip / f"{number:05d}.jpg", 30 * number)
    return {"root": str(root)}


def ckplus(root: Path) -> dict[str, Any]:
    for name, label in (("S005/001", 3), ("S010/002", 7)):
        stem = name.replace("/", "_")
        for number in range(1, 6):
            picture(root / "cohn-kanade-images" / name / f"{stem}_{number:08d}.png", 30 * number)
        text(root / "Emotion" / name / f"{stem}_00000005_emotion.txt", f"   {label}.0000000e+00\n")
    return {"root": str(root)}


def dfew(root: Path) -> dict[str, Any]:
    for split, clips in (("train", (1, 2, 3)), ("test", (4, 5))):
        lines = [f"{clip},{clip}" for clip in clips]
        text(root / f"EmoLabel_DataSplit/{split}(single-labeled)/set_1.csv", "\n".join(["video_name,label", *lines]))
        for clip in clips:
            for number in (1, 2, 3):
                picture(root / f"Clip/clip_224x224/{clip:05d}/{number:05d}.jpg", 40 * clip + number)
    return {"root": str(root)}


def ferv39k(root: Path) -> dict[str, Any]:
    for split, clips in (("train", ("Action/Happy/0015", "Action/Sad/0003")), ("test", ("War/Fear/0001",))):
        lines = [f"{clip} {clip.split('/')[1]}" for clip in clips]
        text(root / f"4_setups/All_scenes/{split}_All.csv", "\n".join(lines))
        for clip in clips:
            for number in (1, 2, 3):
                picture(root / f"2_ClipsforFaceCrop/{clip}/{number}.jpg", 40 * number + len(clip))
    return {"root": str(root)}


def mafw(root: Path) -> dict[str, Any]:
    for split, clips in (("train", ("00025", "00026")), ("test", ("00031",))):
        lines = [f"{clip}.mp4 {'anger' if clip == '00026' else 'helplessness'}" for clip in clips]
        text(root / f"split/single/no_caption/set_1/{split}.txt", "\n".join(lines))
        for clip in clips:
            for number in (1, 2, 3):
                picture(root / f"data/faces/{clip}/{number}.png", 7 * int(clip) % 200 + number)
    return {"root": str(root)}


def embeddings(root: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    split = np.repeat(["train", "val", "test"], 4)
    face = rng.normal(size=(12, 5)).astype(np.float32)
    face[3] = np.nan
    label = np.array(["sad", "happy"] * 6)
    np.savez(root / "features.npz", face=face, sound=rng.normal(size=(12, 3)), label=label, split=split)
    return {"path": str(root / "features.npz")}


def expw(root: Path) -> dict[str, Any]:
    lines = [f"{number // 2}.jpg {number % 2} 0 0 {4 + number % 2} 6 60.5 {number % 7}" for number in range(8)]
    text(root / "label/label.lst", "\n".join(lines) + "\n")
    for number in range(4):
        picture(root / f"image/origin/{number}.jpg", 40 * number)
    return {"root": str(root)}


def fer2013(root: Path) -> dict[str, Any]:
    usages = ["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
    rows = [f"{number % 7},{pixels(20 * number)},{usage}" for number, usage in enumerate(usages)]
    text(root / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    return {"root": str(root)}


def ferplus(root: Path) -> dict[str, Any]:
    fer2013(root)
    usages = ["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 2
    head = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    votes = ["0,9,0,0,0,0,0,0,1,0", "8,0,0,0,1,0,0,0,1,0"]
    rows = [f"{usage},fer{number:07d}.png,{votes[number % 2]}" for number, usage in enumerate(usages)]
    text(root / "fer2013new.csv", "\n".join([head, *rows]) + "\n")
    return {"root": str(root)}


def folder(root: Path) -> dict[str, Any]:
    for split in ("train", "val", "test"):
        for number in range(4):
            picture(root / split / ("calm", "glad")[number % 2] / f"{number}.png", 50 * number)
    return {"root": str(root)}


def rafdb(root: Path) -> dict[str, Any]:
    names = [f"{split}_{number:05d}" for split in ("train", "test") for number in range(1, 6)]
    text(root / "EmoLabel/list_patition_label.txt", "\n".join(f"{n}.jpg {1 + i % 7}" for i, n in enumerate(names)))
    for number, name in enumerate(names):
        picture(root / f"Image/aligned/{name}_aligned.jpg", 20 * number)
    return {"root": str(root)}


def webdataset(root: Path) -> dict[str, Any]:
    for split in ("train", "val", "test"):
        for number in range(4):
            picture(root / "p" / f"{split}{number}.png", 50 * number)
            text(root / "p" / f"{split}{number}.cls", ("calm", "glad")[number % 2])
        with tarfile.open(root / f"{split}.tar", "w") as shard:
            for path in sorted((root / "p").glob(f"{split}*")):
                shard.add(path, path.name)
    return {"root": str(root)}


def csv(root: Path) -> dict[str, Any]:
    rows = ["file,label,part"]
    for split in ("train", "val", "test"):
        for number in range(4):
            picture(root / "images" / f"{split}{number}.png", 50 * number)
            rows.append(f"{split}{number}.png,{('calm', 'glad')[number % 2]},{split}")
    text(root / "labels.csv", "\n".join(rows))
    return {"path": str(root / "labels.csv"), "root": str(root / "images"), "split": "part"}


def hub(root: Path) -> dict[str, Any]:
    pytest.importorskip("datasets")
    return {"path": folder(root)["root"]}


WRITERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    writer.__name__: writer
    for writer in (
        *(
            affectnet,
            affwild2,
            ckplus,
            csv,
            dfew,
            embeddings,
            expw,
            fer2013,
            ferplus,
            ferv39k,
            folder,
            hub,
            mafw,
            rafdb,
        ),
        webdataset,
    )
}


def test_every_data_set_is_checked_on_data() -> None:
    drawn = {name for kind, name in NAMES if kind == "dataset" and component(kind, name).examples}
    assert drawn | WRITERS.keys() == {name for kind, name in NAMES if kind == "dataset"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_data_set_of_files_passes_the_checks_of_its_kind(name: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    results = check_dataset(component("dataset", name), examples=[WRITERS[name](root)])
    assert {result.check: result.message for result in results if result.outcome == "failed"} == {}
    passed = {result.check for result in results if result.outcome == "passed"}
    assert {"fingerprint_ignores_the_path", "rows_in_any_order", "labels_are_not_read"} <= passed


def test_every_component_has_tests_of_its_own() -> None:
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/plugins").rglob("*.py"))
    untested = [
        f"{kind} {name}"
        for kind, name in NAMES
        if f'"{name}' not in written and component(kind, name).__name__ not in written
    ]
    assert not untested


def test_the_tables_of_components_and_the_counts_of_the_readme_are_those_of_the_classes() -> None:
    from typer.testing import CliRunner

    from fusionkit.cli import app

    result = CliRunner().invoke(app, ["list", "--from", "fusionkit", "--format", "markdown"])
    assert result.exit_code == 0
    assert all(f"| `{name}` |" in result.stdout for _, name in NAMES)
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for kind, plural in (("fusion", "fusions"), ("smoother", "smoothers"), ("dataset", "data sets")):
        assert f"{sum(each == kind for each, _ in NAMES)} {plural}" in readme
