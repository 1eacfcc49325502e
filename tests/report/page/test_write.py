"""The page is one self-contained file, with all names escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drawn_counts import drawn
from toy_folder import Toy, write_folder

from fusionkit.engine.source import open_source
from fusionkit.registry.spec import Spec
from fusionkit.report.page import write as write_module
from fusionkit.report.page.pictures import picture
from fusionkit.report.page.write import write_report
from fusionkit.report.run import Results
from fusionkit.report.run_data import RunData

VOID = {"meta", "link", "img", "input", "br", "wbr"}


class Elements(HTMLParser):
    """Elements with their attributes, and whether every one that is opened is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def page_of(results: Results) -> tuple[str, Elements]:
    text = write_report(results).read_text(encoding="utf-8")
    return text, Elements(text)


def small(path: Path, *more: Toy) -> Results:
    toys = [
        Toy({"views": views, "fusion": fusion}, drawn(0.3 + index / 10, draw=index))
        for index, (views, fusion) in enumerate((v, f) for v in ("face,eye", "face,mouth") for f in ("concat", "mlp"))
    ]
    return write_folder(path, [*toys, *more])


def test_nothing_is_loaded_from_other_addresses(tmp_path: Path) -> None:
    text, page = page_of(small(tmp_path))
    loading = ("src", "href", "xlink:href", "data", "action", "srcset")
    addresses = [value or "" for _, given in page.found for name, value in given.items() if name in loading]
    assert addresses
    assert all(address.startswith(("#", "data:image/")) for address in addresses)
    assert not re.search(r"url\(|@import", text)
    assert len(page.all("script")) == 1
    assert "default-src 'none'" in text


def test_names_from_data_sets_and_components_are_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>'\"&{{7*7}}"
    script = "</script><script>alert(2)</script>"
    toys = [
        Toy({"dataset": evil, "fusion": script}, drawn(0.5), classes=(evil, script, "</style>")),
        Toy({"dataset": evil, "views": f"face,{evil}"}, drawn(0.4, draw=1), classes=(evil, script, "</style>")),
        Toy({"dataset": evil, "smoother": "window"}, [None], failure=f"it said {evil}"),
    ]
    results = write_folder(tmp_path, toys)
    provenance = {"command": ["fusionkit", evil], "git": script}
    results.grid["grids"] = [{"description": {"name": evil, "datasets": [evil]}, "provenance": provenance}]
    results.grid["notes"], results.grid["data"] = [evil], [script]
    text, page = page_of(results)
    assert page.all("img") == []
    assert len(page.all("script")) == 1
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    assert any(evil in each for each in page.texts)
    assert "49" not in "".join(each for each in page.texts if "onerror" in each)
    assert "failed" in text


@pytest.mark.slow
def test_it_is_accessible_to_screen_readers(tmp_path: Path) -> None:
    text, page = page_of(small(tmp_path))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.found if re.fullmatch("h[1-6]", tag)]
    assert all(below - above <= 1 for above, below in pairwise(levels))
    assert all(heading.get("scope") in ("col", "row") for heading in page.all("th"))
    charts = [each for each in page.all("div") if each.get("class") == "chart"]
    assert len(charts) == text.count("<svg ") >= 5
    assert all(each["role"] == "img" and each["aria-label"] for each in charts)
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {each["aria-labelledby"] for each in page.all("section")} <= set(ids)


@pytest.mark.slow
def test_it_has_answer_rows_and_failures(tmp_path: Path) -> None:
    results = small(tmp_path, Toy({"fusion": "gated"}, [None, None], failure="gates are shut"))
    text, page = page_of(results)
    text_of_page = "".join(page.texts)
    best = max((row for row in results.rows if row.score), key=lambda row: row.score.value)  # type: ignore[union-attr]
    assert f"{best.axes.name} has the highest macro-F1" in text_of_page
    assert "gates are shut" in text_of_page
    assert "Cells: 4 done, 2 failed" in text_of_page
    assert re.search(r"gates are shut</strong></dt><dd>2 cells: face/gated/none/0 official \(\w{7}\); face/gated", text)
    assert "the data sets, which were not opened" in text_of_page
    assert text.count("<tr") > len(results.rows)


@pytest.mark.parametrize("rows", [[], [Toy({}, [None])], [Toy({}, drawn(0.4))]], ids=["none", "unfinished", "one"])
def test_a_folder_with_little_in_it_has_a_page(tmp_path: Path, rows: list[Toy]) -> None:
    if not rows:
        rows = [Toy({}, [None], failure="no such file")]
    _, page = page_of(write_folder(tmp_path, rows))
    assert len(page.all("h1")) == 1


@pytest.mark.slow
def test_it_has_ranks_over_data_sets_and_the_command(tmp_path: Path) -> None:
    skills = {("one", "concat"): 0.3, ("one", "mlp"): 0.8, ("two", "concat"): 0.2, ("two", "mlp"): 0.7}
    results = write_folder(
        tmp_path,
        [Toy({"dataset": dataset, "fusion": fusion}, drawn(skill)) for (dataset, fusion), skill in skills.items()],
    )
    command = ["fusionkit", "bench", "--dataset", "one", "--out", "a b"]
    results.grid["grids"] = [{"description": {"name": "g", "datasets": ["one"]}, "provenance": {"command": command}}]
    text, page = page_of(results)
    assert "Average rank over 2 data sets" in "".join(page.texts)
    assert re.search(r">mlp</th><td class=\"number\">1.00<.*>concat</th><td class=\"number\">2.00<", text, re.DOTALL)
    assert "fusionkit bench \\\n  --dataset one \\\n  --out &#39;a b&#39;" in text


def rules(css: str, media: str = "") -> dict[str, str]:
    """Declarations by selector, of one medium."""
    css = re.sub(r"/\*.*?\*/", "", css)
    blocks = dict(re.findall(r"(@media [^{]+) \{\n(.*?)\n\}", css, re.DOTALL))
    text = blocks[media] if media else re.sub(r"@media [^{]+ \{\n.*?\n\}", "", css, flags=re.DOTALL)
    return {selector.strip(): values for selector, values in re.findall(r"([^{}]+)\{([^{}]*)\}", text)}


def test_the_score_stays_in_sight_and_paper_has_the_first_rows_only() -> None:
    css = write_module._asset("page.css")
    assert "position: sticky; left: 0; right: 0" in rules(css)["td.score, th.score"]
    paper = rules(css, "@media print")
    printed = f"#table tbody tr:nth-child(n + {write_module._PRINTED_ROWS + 1} of :not([hidden]))"
    assert "display: none" in paper[printed]
    assert "display: block" in paper[".paper"]
    assert "break-inside: avoid" in paper["tr, figure, .note"]
    assert "overflow: visible" in paper[".scroll"]
    hidden = next(selector for selector in paper if selector.startswith(".controls"))
    assert ".switched > input" in hidden


@pytest.mark.slow
def test_costs_are_one_figure_with_a_switch_and_the_score_column_is_marked(tmp_path: Path) -> None:
    toys = [Toy({"fusion": f"f{cost}"}, drawn(0.4, draw=cost), cost=cost) for cost in (10, 20, 30)]
    _, page = page_of(write_folder(tmp_path, toys))
    positions = [each for each in page.all("input") if each.get("type") == "radio"]
    assert [each["id"] for each in positions] == ["show-cost-params", "show-cost-flop"]
    assert len({each["name"] for each in positions}) == 1
    assert ["checked" in each for each in positions] == [True, False]
    assert [each["for"] for each in page.all("label") if "for" in each] == [each["id"] for each in positions]
    css = rules(write_module._asset("page.css"))
    (shown,) = (selector for selector, values in css.items() if "display: block" in values and ":checked" in selector)
    assert shown.count(":checked") == 3  # parameters, FLOP, training time
    assert sum((each.get("class") or "").endswith("score") for each in page.all("td")) == len(toys)


@pytest.mark.slow
def test_a_page_of_500_cells_is_small(tmp_path: Path) -> None:
    toys = [
        Toy(
            {"views": f"face,v{v}", "fusion": f"f{f}", "smoother": f"window:width={width}"},
            drawn(0.4, units=8, draw=v + f, seeds=2),
        )
        for v, f, width in product(range(10), range(5), (1, 3, 5, 7, 9))
    ]
    results = write_folder(tmp_path, toys)
    assert len(results.cells()) == 500
    assert write_report(results).stat().st_size < 1_000_000


@pytest.mark.slow
def test_a_page_that_shows_these_results_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toys = [Toy({"fusion": "linear"}, drawn(0.4)), Toy({"fusion": "mlp"}, drawn(0.6, draw=1))]
    results = write_folder(tmp_path, toys)
    drawings = []
    original = write_module._page

    def counted(*given: Any, **named: Any) -> str:
        drawings.append(original(*given, **named))
        return drawings[-1]

    monkeypatch.setattr(write_module, "_page", counted)
    page = tmp_path / "report.html"
    for expected in (1, 1):
        assert write_module.report_or_line(Results(tmp_path), None) == []
        assert len(drawings) == expected
    (tmp_path / "robustness.csv").write_text("present,missing\n", encoding="utf-8")
    write_module.report_or_line(Results(tmp_path), None)
    page.write_text(page.read_text(encoding="utf-8")[:-20], encoding="utf-8")  # cut off
    write_module.report_or_line(Results(tmp_path), None)
    write_report(results, None, pictures=False)  # another page, by hand
    write_module.report_or_line(Results(tmp_path), None)
    write_folder(tmp_path, [*toys, Toy({"fusion": "late"}, drawn(0.5, draw=2))])
    write_module.report_or_line(Results(tmp_path), None)
    assert len(drawings) == 6
    assert "late" in page.read_text(encoding="utf-8")


def test_features_named_like_regions_have_no_pictures(tmp_path: Path) -> None:
    names = ("face", "eye")
    views = {name: np.ones((4, 2), np.float32) for name in names}
    np.savez(tmp_path / "f.npz", **views, label=np.array(["a", "b"] * 2))
    source = open_source(Spec("embeddings", {"path": str(tmp_path / "f.npz")}), None)
    axes = {"dataset": "x", "views": "face,eye", "extractor": "template"}
    opened = RunData({"x": {"": SimpleNamespace(source=source)}})
    assert picture({"rows": [{"axes": axes}]}, opened, "x") is None


def test_a_page_without_charts_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = small(tmp_path)
    monkeypatch.setattr(write_module, "draw_figures", lambda figures: [None] * len(figures))
    (line,) = write_module.report_or_line(results, None)
    assert re.match(r"not on the page: (\d+) of \1 charts, whose drawing process ended", line)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<svg" not in text
    assert "<figcaption>" in text
    assert line.removeprefix("not on the page: ") in text


def test_of_clips_the_page_and_a_comparison_speak_of_clips(tmp_path: Path) -> None:
    rows = [Toy({"fusion": name, "labels": "clip"}, drawn(skill, seeds=2)) for name, skill in (("a", 0.6), ("b", 0.5))]
    results = write_folder(tmp_path, rows)
    text, _ = page_of(results)
    assert "of all test clips, from 0 to 1." in text
    assert "Annotated test clips." in text
    assert "Share of the clips of each class" in text
    assert "test frames" not in text
    assert " clips; seeds" in repr(results.compare("a", "b"))
