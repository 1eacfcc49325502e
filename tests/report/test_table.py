"""The table has a column for each varying axis, marks the reference, and comes with warnings."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from torch import Tensor
from toy_components import carry_out, registered, toy_house, toy_plan  # noqa: F401

from fusionkit.contracts.fusion import Fusion, FusionOutput
from fusionkit.registry import FUSIONS
from fusionkit.report.run import Results
from fusionkit.report.table import caption, results_table, warnings

pytestmark = pytest.mark.usefixtures("toy_house")


def printed(results: Results, width: int = 160) -> list[str]:
    text = io.StringIO()
    Console(width=width, file=text).print(results_table(results))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_a_row_shows_score_interval_difference_and_p(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(), tmp_path / "run")
    lines = printed(results)
    reference, other = results.rows
    assert reference.score
    assert other.score
    assert other.delta
    assert f"{reference.score.value:.3f}"[1:] in lines[1]
    assert "reference" in lines[1]
    for value in (other.score.value, other.score.low, other.score.high):
        assert f"{value:.3f}".removeprefix("0") in lines[2]
    for value in (other.delta.value, other.delta.low, other.delta.high):
        assert f"{value:+.3f}".replace("0.", ".", 1) in lines[2]


def test_axes_that_do_not_vary_are_in_the_caption_and_others_are_columns(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(backbones=["toy-colours", "toy-colours:gain=2.0"], seeds=1), tmp_path / "run")
    header = printed(results)[0]
    assert "backbone" in header
    assert "dataset" not in header
    words = " ".join(caption(results))
    assert "dataset toy-blobs" in words
    assert "backbone" not in words
    assert f"{results.rows[0].score.n_units} units" in words  # type: ignore[union-attr]
    assert "1 seed" in words


def test_a_chosen_recipe_is_shown_even_where_it_is_the_default(tmp_path: Path) -> None:
    plan = toy_plan(recipe={"epochs": 3, "lr": [1e-3, 0.05]})
    _, results = carry_out(plan, tmp_path / "run")
    lines = printed(results)
    assert "recipe" in lines[0]
    for line, row in zip(lines[1:], results.rows, strict=True):
        best = {"epochs=3": "lr=0.001", "lr=0.05,epochs=3": "lr=0.05"}[row.chosen_recipe]
        assert f"{best},epochs=3 (chosen)" in line
    assert "recipe lr=[0.001,0.05],epochs=3" in " ".join(caption(results))


def test_without_a_sweep_the_recipe_is_in_the_caption_alone(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(), tmp_path / "run")
    assert "recipe" not in printed(results)[0]
    assert {row.chosen_recipe for row in results.rows} == {row.axes.recipe for row in results.rows}


def test_failed_and_planned_rows_are_marked(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(fusions=["toy-raises", "toy-sum"]), tmp_path / "run")
    assert "failed" in printed(results)[2]
    assert "failed" not in printed(results)[3]


def test_missing_views_show_as_coverage(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(), tmp_path / "run")
    assert "coverage" in printed(results)[0]
    assert f"{100 * results.rows[1].means['coverage']:.1f} %" in printed(results)[2]
    _, results = carry_out(toy_plan(datasets=["toy-blobs:missing=false"]), tmp_path / "whole")
    assert "coverage" not in printed(results)[0]


def test_few_units_give_a_warning(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(), tmp_path / "run")
    assert any("only 5 units were tested" in line for line in warnings(results))


def test_a_row_that_predicts_one_class_is_named(tmp_path: Path) -> None:
    class Stubborn(Fusion):
        """Always the first class."""

        def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> FusionOutput:
            logits = views[self.main][:, :3] * 0
            logits[:, 0] = 9.0
            return FusionOutput(logits=logits + self.bias)

        def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
            import torch

            super().__init__(in_dims, num_classes)
            self.bias = torch.nn.Parameter(torch.zeros(()))

    with registered(FUSIONS, "toy-stubborn", Stubborn):
        _, results = carry_out(toy_plan(fusions=["toy-stubborn", "toy-sum"]), tmp_path / "run")
    (line,) = [line for line in warnings(results) if "one class" in line]
    assert line == "1 row(s) predict one class only: face,bottom/toy-stubborn/toy-plain"


def test_rows_of_few_gradient_steps_are_warned_of(tmp_path: Path) -> None:
    plan = toy_plan(fusions=["toy-sum", "toy-forest"], recipe={"epochs": 2, "patience": 0}, seeds=1)
    _, results = carry_out(plan, tmp_path / "run")
    rows = plan.heads[next(iter(plan.heads))].fold_data.rows
    steps = 2 * -(-round(len(rows.train) * 10 / 11) // 8)
    (line,) = [line for line in warnings(results) if "gradient steps" in line]
    found = {row.name: row.means["steps"] for row in results.rows}
    assert found["face,bottom/toy-forest/toy-plain"] == 0  # it is fitted at once
    assert found["face/linear/toy-plain"] == pytest.approx(steps, abs=2)
    assert "2 row(s) had few gradient steps" in line
    assert "; more epochs in the recipe give more: face/linear/toy-plain, face,bottom/toy-sum/toy-plain" in line
    results.rows[0].means["steps"] = results.rows[1].means["steps"] = 100.0
    assert not [line for line in warnings(results) if "gradient steps" in line]


def test_large_batches_are_named_where_rows_have_few_steps(tmp_path: Path) -> None:
    plan = toy_plan(fusions=["toy-sum"], recipe={"epochs": 2, "patience": 0, "batch_size": 64}, seeds=1)
    _, results = carry_out(plan, tmp_path / "run")
    assert any("; batch_size=auto or more epochs in the recipe give more:" in line for line in warnings(results))


def test_notes_about_the_split_are_passed_on(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(), tmp_path / "run")
    results.grid["notes"] = ["split official: dev has no frame of class sad"]
    assert "split official: dev has no frame of class sad" in warnings(results)


def test_nothing_done_has_no_caption(tmp_path: Path) -> None:
    from fusionkit.grid.folder import RunFolder

    RunFolder(tmp_path / "run").add_plan(toy_plan(), {})
    results = Results(tmp_path / "run")
    assert caption(results) == []
    assert "not run" in printed(results)[1]
