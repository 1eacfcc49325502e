"""HTML in a notebook: the answer and the best rows, with all names escaped."""

from __future__ import annotations

from pathlib import Path

from drawn_counts import drawn
from toy_folder import Toy, write_folder

from fusionkit.report.page.write import notebook_html


def test_the_answer_is_above_the_best_rows(tmp_path: Path) -> None:
    skills = {f"f{index}": 0.3 + index / 100 for index in range(52)}
    toys = [Toy({"fusion": name}, drawn(skill, units=4)) for name, skill in skills.items()]
    html = notebook_html(write_folder(tmp_path, toys))
    assert html.index("has the highest macro-F1") < html.index("<table>")
    assert html.count("<tr") == 1 + 50
    assert "The best 50 of 52 rows." in html


def test_names_are_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    html = notebook_html(write_folder(tmp_path, [Toy({"fusion": evil}, drawn(0.5)), Toy({}, drawn(0.4))]))
    assert "<img" not in html
    assert "&lt;img src=x" in html
