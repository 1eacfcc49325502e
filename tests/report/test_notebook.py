"""What a notebook shows: the answer, the best rows, and nothing of a name that the browser would run."""

from __future__ import annotations

from pathlib import Path

from drawn_counts import drawn
from toy_folder import Toy, write_folder

from fusionkit.report.notebook import notebook_table


def test_the_answer_stands_above_the_best_rows(tmp_path: Path) -> None:
    skills = {f"f{place}": 0.3 + place / 100 for place in range(52)}
    toys = [Toy({"fusion": name}, drawn(skill, units=4)) for name, skill in skills.items()]
    html = notebook_table(write_folder(tmp_path, toys))
    assert html.index("scores highest") < html.index("<table>")
    assert html.count("<tr") == 1 + 50
    assert "The best 50 of 52 rows." in html


def test_names_are_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    html = notebook_table(write_folder(tmp_path, [Toy({"fusion": evil}, drawn(0.5)), Toy({}, drawn(0.4))]))
    assert "<img" not in html
    assert "&lt;img src=x" in html
