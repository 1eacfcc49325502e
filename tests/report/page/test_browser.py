"""The page in a browser: no console error, sorting, filtering, dark mode."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from drawn_counts import drawn
from toy_folder import Toy, write_folder

from fusionkit.report.page.write import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs chromium")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    skills = {"concat": 0.3, "mlp": 0.9, "gated": 0.6}
    toys = [
        Toy({"views": views, "fusion": fusion}, drawn(skill, units=24, seeds=3, draw=index), cost=10.0 + index)
        for views in ("face,eye", "face,mouth")
        for index, (fusion, skill) in enumerate(skills.items())
    ]
    return write_report(write_folder(folder, [*toys, Toy({"fusion": "late"}, [None])]))


def opened(page: Path, address: str, profile: Path, *more: str) -> tuple[str, str]:
    """The document after the script of the page, and the console output."""
    assert BROWSER
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"),
        *("--enable-logging=stderr", "--virtual-time-budget=2000", *more, "--dump-dom", page.as_uri() + address),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def acted(page: Path, script: str, folder: Path) -> tuple[str, str]:
    """The document after a script that acts as a user; the ban on other scripts is removed from the page."""
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text(encoding="utf-8"))
    copy = folder / "acted.html"
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return opened(copy, "", folder / "profile")


def rows_of(document: str) -> list[tuple[str, bool]]:
    """Fusion of each row of the table in order, and whether it is hidden."""
    body = document[document.index('id="table"') :].partition("<tbody>")[2].partition("</tbody>")[0]
    rows = re.findall(r"<tr([^>]*)>(.*?)</tr>", body, re.DOTALL)
    return [(re.findall(r"<td[^>]*>([^<]*)", cells)[1], "hidden" in attributes) for attributes, cells in rows]


def test_it_opens_without_an_error_the_best_row_first(page: Path, tmp_path: Path) -> None:
    document, console = opened(page, "", tmp_path)
    assert console == ""
    assert [name for name, _ in rows_of(document)] == ["mlp", "mlp", "gated", "gated", "concat", "concat", "late"]
    assert re.search(r'aria-sort="descending"[^>]*><button type="button">macro-F1 ', document)
    assert not any(hidden for _, hidden in rows_of(document))
    assert 'role="status">7 rows<' in document
    assert '<form class="controls" id="controls">' in document


def test_it_sorts_and_filters_and_keeps_unknown_values_below(page: Path, tmp_path: Path) -> None:
    document, console = opened(page, "#sort=macro-F1+[95+%25]&order=ascending&filter=face,MOUTH", tmp_path)
    assert console == ""
    names = [name for name, _ in rows_of(document)]
    assert names == ["concat", "concat", "gated", "gated", "mlp", "mlp", "late"]
    assert [name for name, hidden in rows_of(document) if not hidden] == ["concat", "gated", "mlp"]
    assert 'role="status">3 of 7 rows<' in document
    assert re.search(r'aria-sort="ascending"[^>]*><button type="button">macro-F1 ', document)
    falling, _ = opened(page, "#sort=macro-F1+[95+%25]&order=descending", tmp_path)
    assert [name for name, _ in rows_of(falling)] == ["mlp", "mlp", "gated", "gated", "concat", "concat", "late"]


def test_a_heading_sorts_one_way_and_then_the_other(page: Path, tmp_path: Path) -> None:
    press = "[...document.querySelectorAll('th button')].find((button) => button.textContent === 'fusion').click();"
    document, console = acted(page, press, tmp_path)
    assert console == ""
    assert [name for name, _ in rows_of(document)] == ["concat", "concat", "gated", "gated", "late", "mlp", "mlp"]
    document, _ = acted(page, press + press, tmp_path)
    assert [name for name, _ in rows_of(document)] == ["mlp", "mlp", "late", "gated", "gated", "concat", "concat"]


def test_filtered_rows_fade_in_the_figures_and_a_mark_highlights_its_row(page: Path, tmp_path: Path) -> None:
    script = """
        const words = document.getElementById("filter");
        words.value = "gated";
        words.dispatchEvent(new Event("input", { bubbles: true }));
        const marks = [...document.querySelectorAll("#scores .role-mark path[aria-label]")];
        document.title = marks.map((mark) => mark.classList.contains("faded")).join();
        marks[2].dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: 9, clientY: 9 }));
    """
    document, console = acted(page, script, tmp_path)
    assert console == ""
    assert "<title>true,true,false,false,true,true</title>" in document
    highlighted = re.findall(r'<tr id="row-(\w+)" class="[^"]*highlighted', document)
    (tip,) = re.findall(r'<div class="tip"[^>]*>([^<]*)</div>', document)
    assert tip.splitlines()[-1] == f"row {highlighted[0]}"
    assert len(highlighted) == 1
    assert re.search(r"face,(eye|mouth) / gated", tip)


def test_only_rows_tied_with_the_best_can_be_shown(page: Path, tmp_path: Path) -> None:
    document, _ = opened(page, "#top=1", tmp_path)
    assert [name for name, hidden in rows_of(document) if not hidden] == ["mlp", "mlp"]


def test_on_a_narrow_screen_the_score_is_in_sight_and_nothing_sticks_out(page: Path, tmp_path: Path) -> None:
    script = """
        Object.assign(document.body.style, { width: "390px", margin: "0" });
        const box = document.querySelector("#rows ~ .scroll").getBoundingClientRect();
        const found = [];
        for (const left of [0, 9999]) {
            document.querySelector("#rows ~ .scroll").scrollLeft = left;
            const score = document.querySelector("td.score").getBoundingClientRect();
            found.push(score.left >= box.left - 1 && score.right <= box.right + 1);
        }
        const wide = [...document.querySelectorAll("#scores svg, #confusion-1-1 svg")].map(
            (svg) => svg.getBoundingClientRect().right > 391);
        const shown = () => [...document.querySelectorAll(".switched figure")].map((each) => each.offsetHeight > 0);
        const before = shown();
        document.querySelectorAll(".switched input")[1]?.click();
        document.title = JSON.stringify([found, wide.some(Boolean), before, shown()]);
    """
    document, console = acted(page, script, tmp_path)
    assert console == ""
    assert re.findall("<title>(.*)</title>", document) == ["[[true,true],false,[true,false],[false,true]]"]


def test_it_follows_the_dark_mode_of_the_screen(page: Path, tmp_path: Path) -> None:
    import cv2

    corners = {}
    for name, more in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])):
        picture = tmp_path / f"{name}.png"
        opened(page, "", tmp_path / name, f"--screenshot={picture}", *more)
        if not picture.exists():
            pytest.skip("this browser takes no picture while it dumps the document")
        corners[name] = int(cv2.imread(str(picture))[2, 2].max())
    assert corners["light"] > 250
    assert corners["dark"] < 40
