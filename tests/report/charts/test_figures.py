"""Figures show the stored counts, are valid charts, and are drawn as SVG without scripts."""

from __future__ import annotations

import math
import re
from itertools import pairwise, product
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from drawn_counts import drawn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score
from toy_folder import Toy, write_folder

from fusionkit.report.charts.classes import class_figures
from fusionkit.report.charts.cost import RowCost, pareto, ticks
from fusionkit.report.charts.drawing import draw_figures
from fusionkit.report.charts.figure import Figure, Mark, Tile, heat_map, interval_plot, line_plot
from fusionkit.report.charts.gallery import figures
from fusionkit.report.charts.scores import score_figure, smoothing_figures
from fusionkit.report.charts.view_values import ablation_figures, robustness_figures
from fusionkit.report.numbers import share, share_with_interval
from fusionkit.report.run import Results

SVG = "{http://www.w3.org/2000/svg}"
SMOOTHERS = ("none", "window:width=5", "window:width=25")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    settings = product(("face,eye", "face,mouth", "face,eye,mouth"), ("concat", "mlp"), SMOOTHERS)
    toys = [
        Toy(
            dict(zip(("views", "fusion", "smoother"), setting, strict=True)),
            drawn(skill, draw=index),
            cost=10.0 + index,
        )
        for index, (setting, skill) in enumerate(zip(settings, np.linspace(0.3, 0.7, 18).tolist(), strict=True))
    ]
    toys += [Toy({"views": "face", "fusion": fusion}, drawn(0.2, draw=30)) for fusion in ("linear", "mlp")]
    return write_folder(tmp_path, toys)


@pytest.mark.slow
def test_every_figure_is_a_valid_chart_that_is_drawn_as_svg(results: Results) -> None:
    sections = dict(figures(results))
    shown = ["Scores", "Classes", "Smoothing", "Contribution of each view", "Macro-F1 by cost"]
    assert list(sections) == shown
    names = [figure.name for section in sections.values() for figure in section]
    assert len(set(names)) == len(names)
    for figure in (figure for section in sections.values() for figure in section):
        figure.chart.to_dict()  # altair refuses what its schema does not allow
        root = ET.fromstring(draw_figures([figure])[0] or "")
        assert root.tag.endswith("svg")
        assert not [element for element in root.iter() if element.tag.endswith(("script", "image", "foreignObject"))]
        assert all(len(row) == len(figure.columns) for row in figure.rows)
        assert figure.words.endswith(".")


def labels_of(svg: str) -> list[str]:
    """Tooltips of the marks of a figure."""
    return [
        element.attrib["aria-label"]
        for group in ET.fromstring(svg).iter(f"{SVG}g")
        if "role-mark" in group.attrib.get("class", "")
        for element in group
        if "aria-label" in element.attrib
    ]


@pytest.mark.slow
def test_tooltips_have_the_numbers_and_the_row(results: Results) -> None:
    rows = {row.id[:7]: row for row in results.rows}
    found = [figure for _, section in figures(results) for figure in section]
    drawings = {figure.name: svg or "" for figure, svg in zip(found, draw_figures(found), strict=True)}
    for name in ("scores", "regions-by-fusion-1", "cost-params", "smoothing-1"):
        labels = labels_of(drawings[name])
        assert labels, name
        for label in labels:
            *_, number, row = re.sub(r"\n[\d.]+ k? ?parameters", "", label).split("\n")
            score = rows[row.removeprefix("row ")].score
            assert score is not None
            assert number.endswith(share_with_interval(score))
    assert set(labels_of(drawings["class-f1-1"])) != set()


@pytest.mark.slow
def test_numbers_on_tiles_have_enough_contrast() -> None:
    values = [Tile("row", f"{step}", step / 50) for step in range(51)]
    svg = draw_figures([Figure("tiles", "", "", "", heat_map(values, "", "", (0.0, 1.0)))])[0] or ""
    grounds = re.findall(r'<path [^>]*fill="rgb\((\d+), (\d+), (\d+)\)"', svg)
    inks = re.findall(r'<text [^>]*fill="(#0{6}|#f{6})"', svg)
    assert len(grounds) == len(inks) == 51
    for ground, ink in zip(grounds, inks, strict=True):
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in (int(v) / 255 for v in ground)]
        light, dark = sorted((np.dot(linear, (0.2126, 0.7152, 0.0722)), float(ink == "#ffffff")), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


@pytest.mark.slow
def test_names_in_a_figure_are_escaped(tmp_path: Path) -> None:
    evil = '</text><script>alert(1)</script>"'
    toys = [
        Toy({"fusion": fusion}, drawn(0.4, draw=index), classes=(evil, "b", "c"))
        for index, fusion in enumerate((evil, "linear"))
    ]
    for _, section in figures(write_folder(tmp_path, toys)):
        for figure in section:
            root = ET.fromstring(draw_figures([figure])[0] or "")
            assert not [element for element in root.iter() if element.tag.endswith("script")]


def test_f1_and_confusion_are_those_of_scikit_learn(results: Results) -> None:
    found = {figure.name: figure for figure in class_figures(results)}
    best = max(results.rows, key=lambda row: row.score.value if row.score else 0)
    entry = next(entry for entry in results.grid["rows"] if entry["id"] == best.id)
    (counts,) = (counts.sum(0) for counts in results.load(entry).counts.values())
    truth, predicted = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    assert list(found["class-f1-1"].rows[0][1:]) == [share(f1) for f1 in f1_score(truth, predicted, average=None)]
    matrix = confusion_matrix(truth, predicted, normalize="true")
    assert [list(row[1:-1]) for row in found["confusion-1-1"].rows] == [list(map(share, row)) for row in matrix]
    assert [row[-1] for row in found["confusion-1-1"].rows] == [str(frames) for frames in np.bincount(truth)]


def test_smoothing_shows_the_best_rows_over_the_width(results: Results) -> None:
    (figure,) = smoothing_figures(results)
    assert figure.title == "Smoother window by width"
    scored = {(row.axes.views, row.axes.fusion, row.axes.smoother): row for row in results.rows}
    at_25 = {row[0]: row[2] for row in figure.rows if row[1] == "25"}
    plain = {row[0]: row[2] for row in figure.rows if row[1] == "not smoothed"}
    assert len(at_25) == len(plain) == 4
    for name, text in at_25.items():
        views, fusion = name.split(" / ")
        assert text.startswith(share(scored[views, fusion, "window:width=25"].score.value))
        assert plain[name].startswith(share(scored[views, fusion, "none"].score.value))


def test_pareto_keeps_rows_without_a_better_one_at_less_cost() -> None:
    rows = [
        RowCost(name, score, cost)
        for name, score, cost in (
            ("dear", 0.5, 9),
            ("best", 0.7, 5),
            ("cheap", 0.4, 1),
            ("same", 0.4, 2),
            ("tie", 0.3, 1),
            ("mid", 0.6, 3),
        )
    ]
    kept = [
        one
        for one in rows
        if not any(
            (o.cost <= one.cost and o.score > one.score) or (o.cost < one.cost and o.score >= one.score) for o in rows
        )
    ]
    assert pareto(rows) == sorted(kept, key=lambda one: one.cost)
    assert [one.name for one in pareto(rows)] == ["cheap", "mid", "best"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (6e3, 7e5, [1e4, 2e4, 5e4, 1e5, 2e5, 5e5]),
        (1e3, 2e9, [1e3, 1e5, 1e7, 1e9]),
        (0.9, 6, [1, 2, 5]),
        (86.0e6, 86.9e6, [86.0e6, 86.2e6, 86.4e6, 86.6e6, 86.8e6]),
        (3, 8, [3, 4, 5, 6, 7, 8]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@given(st.floats(-6, 14), st.floats(0.001, 12))
def test_ticks_are_few_within_the_range_and_apart(start: float, decades: float) -> None:
    low, high = 10**start, 10 ** (start + decades)
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low * (1 - 1e-9) <= value <= high * (1 + 1e-9) for value in found)
    places = [300 * (math.log10(value) - start) / decades for value in found]  # px
    assert min(after - before for before, after in pairwise(places)) > 20


LONG = "timm:model=vit_base_patch16_clip_224.openai,pretrained=true / face,keep:eye+mouth+nose / mlp:hidden=[512,256]"


def shown_texts(svg: str) -> str:
    """Texts of the SVG, without line breaks and spaces."""
    return "".join("".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")).replace(" ", "")


@pytest.mark.slow
def test_long_names_are_shown_whole_and_figures_fit_a_phone() -> None:
    names = [f"{LONG} / {width}" for width in (5, 25)]
    classes = ["Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other"]
    marks = [Mark(name, x, 0.4, 0.3, 0.5, "") for name in names for x in (1, 2)]
    charts = {
        "rows": interval_plot([Mark("", name, 0.4, 0.3, 0.5, "") for name in names], "macro-F1", "", "", zero=False),
        "several": interval_plot([Mark(name, LONG, 0.4, 0.3, 0.5, "") for name in names], "", "", "row", zero=True),
        "lines": line_plot(marks, "width", "macro-F1", "row"),
        "by class": heat_map([Tile(name, each, 0.5) for name in names for each in classes], "", "class", (0, 1)),
    }
    for kind, chart in charts.items():
        svg = draw_figures([Figure(kind, "", "", "", chart)])[0] or ""
        texts = shown_texts(svg)
        assert all(name.replace(" ", "") in texts for name in names), kind
        assert "…" not in texts
        assert float(ET.fromstring(svg).attrib["width"]) <= 364, kind  # px, of a phone of 390 px without margins
    confusion = heat_map([Tile(one, other, 0.5) for one in classes for other in classes], "truth", "prediction")
    assert float(ET.fromstring(draw_figures([Figure("c", "", "", "", confusion)])[0] or "").attrib["width"]) <= 370


def test_names_of_the_best_rows_leave_out_what_they_share(tmp_path: Path) -> None:
    toys = [
        Toy({"backbone": backbone, "fusion": fusion}, drawn(skill, draw=index))
        for index, fusion in enumerate(f"f{number:02d}" for number in range(20))
        for backbone, skill in (("best", 0.9), ("other", 0.1))
    ]
    (figure,) = score_figure(write_folder(tmp_path, toys))
    assert sorted(name for name, _ in figure.rows) == sorted(f"f{number:02d}" for number in range(20))
    assert figure.caption.endswith("The best 20 of 40 rows. All with backbone best.")


def test_files_of_other_commands_are_shown_if_they_exist(tmp_path: Path) -> None:
    assert list(robustness_figures(tmp_path, "macro-F1")) == []
    assert list(ablation_figures(tmp_path, "macro-F1")) == []
    axes = "views,fusion,smoother,cell,seeds,n_units,"
    row = '"face,eye",mlp,none,abc,0 1,22,'
    (tmp_path / "robustness.csv").write_text(
        f"{axes}pattern,measure,present,missing,level,score,score_lo,score_hi\n"
        f"{row}run,occlusion,,eye,0,.5,.4,.6\n{row}run,occlusion,,eye,1,.3,.2,.4\n{row}run,subset,face,,,.3,.2,.4\n",
        encoding="utf-8",
    )
    (tmp_path / "attribution.csv").write_text(
        f"{axes}view,measure,effect,effect_lo,effect_hi\n{row},intact,,,\n{row}eye,drop,-.2,-.3,-.1\n"
        f"{row}eye,zero,-.1,-.2,.1\n{row}eye,masked Shapley,.2,.1,.3\n",
        encoding="utf-8",
    )
    (curve,) = robustness_figures(tmp_path, "macro-F1")
    assert curve.rows == [("eye", "0", ".500 [.400, .600]"), ("eye", "100", ".300 [.200, .400]")]
    assert curve.words == "Lowest: .300, with eye missing in 100 % of the frames."
    (bars,) = ablation_figures(tmp_path, "macro-F1")
    assert bars.rows[0] == ("eye", "drop", "-.200 [-.300, -.100]")
    assert bars.words == "Largest decrease: -.200, for eye (drop)."
