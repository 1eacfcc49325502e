"""``docs/configs.md``: its tables hold what the code has, and its files can be planned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs_folder import ROOT, blocks
from toy_stills import image

from fusionkit import api
from fusionkit.config.config_file import read_config
from fusionkit.config.grid_config import resolve
from fusionkit.config.keys import DEFAULTS
from fusionkit.config.resolver import listed

PAGE = "docs/configs.md"
COMMANDS = {"bench": "grid", "finetune": "fine-tuning", "pretrain": "pre-training"}
IN_WORDS = {("bench", "recipe"), ("bench", "reference"), ("finetune", "fusion")}  # defaults that depend on others


def section(command: str) -> str:
    text = (ROOT / PAGE).read_text().partition(f"## Keys of a {COMMANDS[command]}\n")[2]
    return text.partition("\n## ")[0]


def table(text: str, title: str) -> list[list[str]]:
    """The cells of the first table after a line, without its head."""
    lines = re.search(rf"^{re.escape(title)}\n\n\|.*\n\|.*\n((?:\|.*\n)+)", f"{text}\n", re.MULTILINE)
    assert lines, title
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1].splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_every_key_with_its_default(command: str) -> None:
    rows = table(section(command), f"For `fusionkit {command}`:")
    assert [row[0] for row in rows] == [f"`{key}`" for key in DEFAULTS[command]]
    for key, written in ((row[0].strip("`"), row[1]) for row in rows):
        value = DEFAULTS[command][key]
        if (command, key) in IN_WORDS:
            continue
        if value == {}:
            assert written == "below"
        elif value in (None, ()):
            assert written == "none" or written.startswith("required")
        else:
            assert written == ", ".join(f"`{item}`" for item in listed(value))


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a few faces in ``faces/``, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / "cache"))
    for number in range(80):
        part = "val" if number % 5 == 4 else "train"
        image(tmp_path / "faces" / part / ("sad", "happy")[number % 2] / f"{number}.png", number, 24, 24)
    return tmp_path


def test_the_minimal_files_are_one_grid_that_can_be_planned(faces: Path) -> None:
    plans = []
    for suffix, language in (("yaml", "yaml"), ("json", "json"), ("py", "python")):
        (faces / f"ablation.{suffix}").write_text(blocks(PAGE, language)[0])
        plans.append(api.prepare(f"ablation.{suffix}").plan)
    assert [row.axes.name for row in plans[0].rows] == [
        "face/linear/none",
        *(f"face,{views}/{fusion}/none" for views in ("nose", "eye,mouth") for fusion in ("mlp", "concat")),
    ]
    assert len({plan.grid.digest() for plan in plans}) == 1


def test_the_other_files_of_the_page_can_be_read(tmp_path: Path) -> None:
    found = []
    for suffix, language in (("yaml", "yaml"), ("py", "python")):
        for number, text in enumerate(blocks(PAGE, language)[1:]):
            file = tmp_path / f"{number}.{suffix}"
            file.write_text(text)
            found.append(resolve(read_config(file, command="bench"), "page"))
    inherited, selected, swept, extended = found
    assert [str(spec) for spec in (*selected.fusions, *selected.smoothers)] == [
        "mlp:hidden=[64,128],select=dev",
        "gated",
        "window:select=dev,width=[5,25,101]",
    ]
    assert (inherited.seeds, inherited.recipe, len(inherited.regions)) == ((0, 1, 2), (("epochs", 10),), 7)
    assert dict(swept.recipe)["lr"] == (0.001, 0.0003)
    assert str(extended.regions[-1][0]) == "brow"
    assert len(extended.regions) == 8
