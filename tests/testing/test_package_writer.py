"""``fusionkit new``: new packages pass their own tests, and the example package is equal to the templates."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fusionkit.cli import app
from fusionkit.errors import ConfigError
from fusionkit.testing.package_writer import KINDS, rendered, write_package

ROOT = Path(__file__).parents[2]
INSTALLED = cache(packages_distributions)
EXAMPLE = ROOT / "plugins/example-third-party"
EXAMPLES = {
    "fusion": "example-gate",
    "clip-fusion": "example-memory",
    "smoother": "example-window",
    "extractor": "example-parts",
    "backbone": "example-moments",
    "dataset": "example-folder",
    "task": "example-intensity",
}


@pytest.fixture(autouse=True)
def installed_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the metadata of all that is installed once."""
    monkeypatch.setattr("fusionkit.testing.package_writer.packages_distributions", INSTALLED)


def run(*words: str, folder: Path, installed: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(installed), str(ROOT), str(ROOT / "plugins")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


# Commands, one a line, in one process that sees the new packages; pytest at last, since it changes how modules load.
COMMANDS = """
import json, sys
import pytest
from typer.testing import CliRunner
from fusionkit.cli import app
from fusionkit.report.page import write

write.write_report = lambda *_, **__: None  # it takes longer than the grid

def call(words):
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.output

done = [call(words) for words in json.loads(sys.argv[1])]
done.append((int(pytest.main(json.loads(sys.argv[2]))), ""))
json.dump(done, open("done.json", "w"))
"""


@pytest.mark.slow
def test_new_packages_and_the_example_are_installed_and_checked_and_the_example_makes_a_grid(
    tmp_path: Path,
) -> None:
    pytest.importorskip("hatchling", reason="the packages are built with hatchling")
    for kind in KINDS:
        assert CliRunner().invoke(app, ["new", kind, f"new-{kind}", "--out", str(tmp_path / "new")]).exit_code == 0
    packages = sorted((tmp_path / "new").iterdir())
    target = tmp_path / "installed"
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    sources = [*map(str, packages), str(EXAMPLE)]
    done = run(*pip, "--target", str(target), *sources, folder=tmp_path, installed=target)
    assert done.returncode == 0, done.stderr

    write_faces(tmp_path / "faces")
    bench = ["bench", "--dataset", f"example-folder:root={tmp_path / 'faces'}", "--extractor", "example-parts"]
    bench += ["--backbone", "example-moments", "--regions", "upper,lower", "--fusion", "example-gate"]
    bench += ["--smoother", "example-window:width=5", "--recipe", "lr=0.05", "--seeds", "1"]
    bench += ["--executor", "serial", "--out", "run"]
    commands = [["list", "--from", "example-third-party"], ["check", *EXAMPLES.values()], bench]
    tests = [str(package / "tests") for package in packages]  # those of the example are the same
    alone = ["-p", "no:cacheprovider", "--import-mode=importlib", "-q", "-c", os.devnull, "--rootdir", str(tmp_path)]
    words = ["-c", COMMANDS, json.dumps(commands), json.dumps([*alone, *tests])]
    process = run(*words, folder=tmp_path, installed=target)
    assert process.returncode == 0, process.stderr
    listed, checked, benched, tested = json.loads((tmp_path / "done.json").read_text(encoding="utf-8"))

    assert [line.split()[1] for line in listed[1].splitlines()[1:]] == [EXAMPLES[kind] for kind in _in_order()]
    assert checked[0] == 0, checked[1]
    assert " 0 failed, 0 expected failure" in checked[1]
    assert tested[0] == 0, process.stdout
    assert benched[0] == 0, benched[1]
    with (tmp_path / "run/results.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["views"]: row for row in csv.DictReader(file)}
    assert float(rows["face,lower,upper"]["macro_f1"]) == 1.0  # the label is the colour


def write_faces(root: Path) -> None:
    """Red faces and blue ones, six people, two frames each, in the layout of the example's data set."""
    rng = np.random.default_rng(0)
    for person in range(6):
        split = ("train", "train", "train", "train", "val", "test")[person]
        for name, colour in (("calm", (200, 20, 20)), ("glad", (20, 20, 200))):
            for frame in (1, 2):
                file = root / split / name / f"p{person}_{frame}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), (np.array(colour) + rng.integers(0, 20, (8, 8, 3))).astype(np.uint8))


def _in_order() -> list[str]:
    return ["dataset", "task", "extractor", "backbone", "fusion", "clip-fusion", "smoother"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_package_equals_the_templates(kind: str) -> None:
    name, package = EXAMPLES[kind], "example_third_party"
    module = kind.replace("-", "_")
    source = (EXAMPLE / "src" / package / f"{module}.py").read_text(encoding="utf-8")
    assert source == rendered(f"{module}.py", kind, name, package)
    tests = (EXAMPLE / "tests" / f"test_{module}.py").read_text(encoding="utf-8")
    assert tests == rendered(f"test_{module}.py", kind, name, package)
    points = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    class_name = "".join(part.capitalize() for part in name.split("-"))
    assert points[f"fusionkit.{kind.removeprefix('clip-')}s"][name] == f"{package}.{module}:{class_name}"


@pytest.mark.slow
def test_the_example_is_typed_strictly_with_its_tests(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", "src", "tests"]
    done = subprocess.run(command, cwd=EXAMPLE, env={**os.environ, "MYPYPATH": "src"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_example_is_not_in_the_wheel() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    assert not [package for package in wheel["packages"] if "example" in package]


def test_a_package_has_its_files_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = write_package("smoother", "slow-mean", tmp_path / "a/b")
    assert folder == tmp_path / "a/b/slow-mean"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == [
        "README.md",
        "pyproject.toml",
        "src/slow_mean/__init__.py",
        "src/slow_mean/py.typed",
        "src/slow_mean/smoother.py",
        "tests/test_slow_mean.py",
    ]
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["slow-mean"]
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["fusionkit.smoothers"] == {"slow-mean": "slow_mean.smoother:SlowMean"}
    assert not [path for path in folder.rglob("*") if path.is_file() and "$" in path.read_text(encoding="utf-8")]


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "slow-mean").mkdir()
    with pytest.raises(ConfigError, match="already exists"):
        write_package("smoother", "slow-mean", tmp_path)
    assert list((tmp_path / "slow-mean").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("fusio", "slow-mean", "unknown kind 'fusio'"),
        ("fusion", "SlowMean", "kebab-case, such as 'gated-sum'"),
        ("fusion", "slow_mean", "kebab-case"),
        ("fusion", "2fast", "kebab-case"),
        ("fusion", "slow--mean", "kebab-case"),
        ("fusion", "../slow", "kebab-case"),
        ("fusion", "class", "keyword .* of Python"),
        ("fusion", "json", "standard module of Python"),
        ("fusion", "concat", "fusion 'concat' already exists in fusionkit"),
        ("clip-fusion", "concat", "fusion 'concat' already exists in fusionkit"),
        ("smoother", "numpy", "package 'numpy' is already installed"),
    ],
)
def test_an_invalid_name_is_refused(kind: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        write_package(kind, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_another_kind_is_free(tmp_path: Path) -> None:
    assert write_package("smoother", "iaff", tmp_path).is_dir()
