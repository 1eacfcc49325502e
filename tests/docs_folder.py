"""A folder in which the commands of the docs can be typed: tiny data sets and a trained run under their names."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from command_line import output_of
from toy_stills import image, write

import fusionkit

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))]
TINY = "synthetic:train=8,val=6,test=6,clips=4,clip_length=8"
PIPELINE = "paper/pipeline_tiny"  # its commands go together: test_paper_pipeline.py
_CLASSES = ("neutral", "Fear", "Disgust", "happy")
_RUNS = ("runs/first", "runs/mine", "runs/control", "runs/strongest", "synth", "dropped", "swaps", "fer32")


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def command_lines(page: str) -> list[list[str]]:
    """The words of every command line of a page's bash blocks, comments left out, continued lines joined."""
    joined = (block.replace("\\\n", " ") for block in blocks(page, "bash") if PIPELINE not in block)
    return [shlex.split(line, comments=True) for block in joined for line in block.splitlines() if line.strip()]


def fusionkit_commands() -> dict[str, list[str]]:
    """The arguments of each ``fusionkit`` command of README and docs, by the page that has it and what it is."""
    found = {}
    for page in PAGES:
        for line in command_lines(page) if not page.endswith("cluster.md") else _cluster_lines(page):
            start = next((at for at, word in enumerate(line) if word in ("&&", "-m")), -1) + 1  # -m: under torchrun
            if line[start : start + 1] == ["fusionkit"]:
                found.setdefault(" ".join(line[start + 1 :]), line[start + 1 :])
    return found


def _cluster_lines(page: str) -> list[list[str]]:
    """Of scripts for a cluster only the lines that begin with the command: the rest is for ssh and Slurm."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines() if line.startswith("fusionkit ")]
    return [[word for word in shlex.split(line, comments=True) if word not in ("...", "&")] for line in lines]


def build(place: Path) -> None:
    """Everything that the pages name, in a folder that is the current one."""
    for number, name in enumerate(name for name in _CLASSES for _ in range(36)):
        part = "val" if number % 36 > 31 else "train"
        image(place / "faces" / part / name / f"p{number % 36}_{number:03d}.png", number, 24, 24)
    image(place / "more/more.png", 9, 24, 24)
    write(place / "more.txt", "more/more.png\n")
    output_of("data", "synth", "--out", "drawn", "--clips", "32", "--frames", "6")
    (place / "Aff-Wild2").symlink_to("drawn")
    _stills(place)
    write(place / "strongest.py", blocks("docs/tutorial.md", "python")[0])
    write(place / "lately.py", blocks("docs/tutorial.md", "python")[1])
    write(place / "gated_sum.py", blocks("README.md", "python")[0])
    write(place / "grid.py", f"_base_ = {str(ROOT / 'configs/bench/quickstart.py')!r}\n")
    for suffix, language in (("yaml", "yaml"), ("json", "json"), ("py", "python")):
        write(place / f"ablation.{suffix}", blocks("docs/configs.md", language)[0])
    _features(place)
    _trained(place)


def _stills(place: Path) -> None:
    rows = [f"{part}_{number}.jpg {number % 7 + 1}" for part in ("train", "test") for number in range(42)]
    write(place / "RAF-DB/EmoLabel/list_patition_label.txt", "\n".join(rows))
    for row in rows:
        image(place / "RAF-DB/Image/aligned" / row.split()[0].replace(".", "_aligned."), 8, 24, 24)
    for person in range(70):
        sequence = f"S{person:03d}/001"
        for frame in range(1, 5):
            image(place / "CK+/cohn-kanade-images" / sequence / f"S{person:03d}_001_{frame:08d}.png", 7, 24, 24)
        label = f"S{person:03d}_001_00000004_emotion.txt"
        write(place / "CK+/Emotion" / sequence / label, f"{person % 7 + 1}.0000000e+00\n")


def _features(place: Path) -> None:
    numbers = np.random.default_rng(0)
    people = [f"p{row % 8}" for row in range(48)]
    fusionkit.from_arrays(
        place / "features.npz",
        views={name: numbers.normal(size=(48, 4)).astype(np.float32) for name in ("face", "sound", "pose")},
        label=[("calm", "glad")[row % 2] for row in range(48)],
        subject=people,
        clip=people,
        frame=np.arange(48) // 8,
    )


def _trained(place: Path) -> None:
    sets = ("eye", "nose", "eye,mouth", "eye+mouth", "face")
    output_of(
        *("bench", "--dataset", TINY, *(word for views in sets for word in ("--regions", views))),
        *("--fusion", "mlp,logit-mean", "--smoother", "none", "--seeds", "1", "--recipe", "epochs=1"),
        *("--executor", "serial", "--out", _RUNS[0]),
    )
    for other in _RUNS[1:]:
        shutil.copytree(place / _RUNS[0], place / other)


def redirected(words: list[str], option: str, value: str) -> list[str]:
    """The command with another value of an option."""
    if option not in words:
        return [*words, option, value]
    at = words.index(option) + 1
    return [*words[:at], value, *words[at + 1 :]]


Change = Callable[[list[str], Path], list[str]]


def _bench(words: list[str], fresh: Path) -> list[str]:
    return [*redirected(words, "--out", str(fresh)), *([] if "--dry-run" in words else ["--dry-run"])]


def _into_fresh(words: list[str], fresh: Path) -> list[str]:
    return redirected(words, "--out", str(fresh))


# What a command is given beside what the page says, so that it is short and alters nothing that others need.
CHANGES: dict[str, Change] = {
    "bench": _bench,
    "ablate": lambda words, _: [*words, "--draws", "1"],
    "robust": lambda words, _: [*words, "--draws", "1"],
    "merge": _into_fresh,
    "new": _into_fresh,
    "predict": _into_fresh,
    "data synth": lambda words, fresh: [*_into_fresh(words, fresh), "--clips", "32", "--frames", "6"],
    "data views": _into_fresh,
}
