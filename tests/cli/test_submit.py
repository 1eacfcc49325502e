"""``fusionkit submit``, end to end on synthetic clips in the Aff-Wild2 layout with its irregularities."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import call, output_of, refusal_of
from scipy.special import softmax

import fusionkit
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec

CELL = "face,mouth/mlp/window"
TEMPLATE = "drawn/test_set_examples/CVPR_6th_ABAW_Expr_test_set_example.txt"
HEADER = "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
BENCH = (
    "bench --dataset affwild2:root=drawn --regions mouth --fusion mlp --smoother window:width=5 --seeds 2 --out run "
    "--reference none --executor serial --recipe epochs=2"
)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("submit")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("FUSIONKIT_CACHE", str(place / "cache"))
        patch.setattr("fusionkit.report.page.write.write_report", lambda *_, **__: None)
        for words in ("data synth --out drawn --clips 40 --frames 9", BENCH):
            output_of(*words.split())
    return place


@pytest.fixture
def made(made_once: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The run and the synthetic clips, linked into a working directory of the test's own."""
    for name in ("drawn", "run"):
        (tmp_path / name).symlink_to(made_once / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSIONKIT_CACHE", str(made_once / "cache"))
    return tmp_path


def submit(*words: str | Path) -> str:
    """Submit the row CELL, and return the output."""
    return output_of("submit", "run", "--cell", CELL, *words)


def template_rows() -> list[tuple[str, int]]:
    rows = [
        line.partition(",")[0].partition("/") for line in Path(TEMPLATE).read_text(encoding="utf-8").splitlines()[1:]
    ]
    return [(clip, int(image.removesuffix(".jpg"))) for clip, _, image in rows]


def expected(how: str) -> list[int]:
    """Window over frame numbers, imputation, mean over seeds: row by row from the heads' logits on the crops."""
    data = DATASETS.build(Spec("affwild2", {"root": "drawn", "test": True}))
    table = data.frames
    rows = np.flatnonzero(table.split == "test")
    predictor = fusionkit.load("run", CELL)
    logits = predictor.logits(predictor.embed(data.images(rows))).astype(float)
    found = []
    for clip, number in template_rows():
        of_clip = [n for n, row in enumerate(rows) if table.clip[row] == clip and not np.isnan(logits[0, n, 0])]
        numbers = {int(table.number[rows[n]]): n for n in of_clip}

        def smoothed(at: int, numbers: dict[int, int] = numbers) -> np.ndarray:
            near = [n for k, n in numbers.items() if abs(k - at) <= 2]
            return softmax(logits[:, near], axis=2).mean(1).mean(0)

        if number in numbers:
            probs = smoothed(number)
        elif how == "prior" or not numbers:
            probs = predictor.prior
        elif how == "nearest":
            probs = smoothed(min(numbers, key=lambda k: (abs(k - number), k)))
        else:
            have = sorted(numbers)
            values = np.array([smoothed(k) for k in have])
            probs = np.array([np.interp(number, have, values[:, c]) for c in range(8)])
        found.append(int(probs.argmax()))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", ["nearest", "linear", "prior"])
def test_every_row_of_the_template_is_predicted_as_by_a_plain_loop(made: Path, made_once: Path, how: str) -> None:
    Path("drawn").unlink()
    shutil.copytree(made_once / "drawn", "drawn")
    shutil.rmtree(next(path for path in Path("drawn").glob("cropped*/video027*") if path.is_dir()))
    for image in sorted(Path("drawn").glob("cropped*/video02[5-9]*/*2.jpg")):
        image.unlink()
    text = submit("--template", TEMPLATE, "--impute", how)
    lines = Path("predictions.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == HEADER
    locations = [line.partition(",")[0] for line in Path(TEMPLATE).read_text(encoding="utf-8").splitlines()[1:]]
    assert [line.rpartition(",")[0] for line in lines[1:]] == locations
    assert [int(line.rpartition(",")[2]) for line in lines[1:]] == expected(how)
    assert f"{len(locations)} frames of 10 clips to predictions.txt: face,mouth/mlp/window:width=5" in text
    assert re.search(f"^[0-9]+ frames without a view, .*{how}$", text, re.MULTILINE)
    assert re.search("^warning: [0-9]+ frames are in clips without any view", text, re.MULTILINE)
    checked = output_of("submit", "--check", "predictions.txt", "--template", TEMPLATE)
    assert checked == f"{len(locations)} rows, no fault\n"


def test_a_shuffled_template_gets_the_same_answers_in_its_own_order(made: Path) -> None:
    lines = Path(TEMPLATE).read_text(encoding="utf-8").splitlines()
    order = np.random.default_rng(0).permutation(len(lines) - 1) + 1
    Path("shuffled.txt").write_text("\n".join([lines[0], *(lines[n] for n in order)]), encoding="utf-8")
    for template, out in ((TEMPLATE, "one"), ("shuffled.txt", "two")):
        submit("--template", template, "--out", out)
    one, two = (Path(name).read_text(encoding="utf-8").splitlines() for name in ("one", "two"))
    assert two == [one[0], *(one[n] for n in order)]
    checked = call("submit", "--check", "two", "--template", TEMPLATE)
    assert checked.exit_code == 1
    assert "is out of order" in checked.output


def test_classes_are_numbered_as_the_header_says(made: Path) -> None:
    lines = Path(TEMPLATE).read_text(encoding="utf-8").splitlines()
    names = HEADER.split(",")[1:]
    turned = names[3:] + names[:3]
    Path("turned.txt").write_text("\n".join(["image_location," + ",".join(turned), *lines[1:]]), encoding="utf-8")
    for template, out in ((TEMPLATE, "one"), ("turned.txt", "two")):
        submit("--template", template, "--out", out)
    one, two = (
        [line.rpartition(",")[2] for line in Path(name).read_text(encoding="utf-8").splitlines()[1:]]
        for name in ("one", "two")
    )
    assert [names[int(value)] for value in one] == [turned[int(value)] for value in two]
    Path("turned.txt").write_text(
        "\n".join(["image_location,Contempt," + ",".join(names[1:]), *lines[1:]]), encoding="utf-8"
    )
    line = refusal_of("submit", "run", "--cell", CELL, "--template", "turned.txt", "--out", "three")
    assert "Contempt" in line
    assert "Neutral" in line
    assert not Path("three").exists()


def test_editions_before_the_sixth_get_a_file_a_video(made: Path) -> None:
    one_seed = "submit", "run", "--cell", f"{CELL}/1", "--template", TEMPLATE
    output_of(*one_seed, "--out", "folder", "--format", "per-video")
    output_of(*one_seed, "--out", "one")
    answers = {}
    for line in Path("one").read_text(encoding="utf-8").splitlines()[1:]:
        location, _, value = line.rpartition(",")
        clip, _, image = location.partition("/")
        answers[clip, int(image.removesuffix(".jpg"))] = value
    lasts = {clip: max(n for c, n in answers if c == clip) for clip, _ in answers}
    assert {path.stem for path in Path("folder").iterdir()} == set(lasts)
    for clip, last in lasts.items():
        lines = (Path("folder") / f"{clip}.txt").read_text(encoding="utf-8").splitlines()
        assert lines[0] == HEADER.removeprefix("image_location,")
        assert len(lines) == last + 1
        assert all(lines[number] == value for (c, number), value in answers.items() if c == clip)
    assert "folder" in refusal_of(*one_seed, "--out", "folder", "--format", "per-video")
    submit("--out", "without", "--format", "per-video")
    assert {path.stem for path in Path("without").iterdir()} == set(lasts)


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ("submit", "--check FILE"),
        (f"submit run --cell {CELL}", "template"),
        (f"submit run --cell nope --template {TEMPLATE}", "'nope'"),
        (f"submit gone --cell {CELL} --template {TEMPLATE}", "gone"),
        (f"submit run --cell {CELL} --template gone.txt", "gone.txt"),
        (f"submit run --cell {CELL} --template {TEMPLATE} --out {TEMPLATE}", TEMPLATE),
        (f"submit run --cell {CELL} --template {TEMPLATE} --impute mean", "'mean'"),
        (f"submit run --cell {CELL} --template {TEMPLATE} --dataset affwild2:root=drawn", "affwild2:root=drawn"),
        ("submit --check predictions.txt", "--template"),
    ],
)
def test_a_wrong_request_is_one_line(made: Path, words: str, fact: str) -> None:
    assert fact in refusal_of(*words.split())
    assert not Path("predictions.txt").exists()


def test_faults_are_counted_and_the_first_ones_shown(made: Path) -> None:
    lines = Path(TEMPLATE).read_text(encoding="utf-8").splitlines()
    Path("bad.txt").write_text(
        "\n".join([lines[0], *(line.replace(",0", ",8") for line in lines[1:])]), encoding="utf-8"
    )
    result = call("submit", "--check", "bad.txt", "--template", TEMPLATE)
    assert result.exit_code == 1
    assert "fault: bad.txt:2: '8' " in result.output
    assert result.output.count("fault: ") == 20
    assert f"{len(lines) - 1} fault(s), {len(lines) - 21} of them not shown" in result.output
