"""Rows say what the stored counts say, held against the right reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from moderated import difference_estimate, score_estimate
from sklearn.metrics import f1_score
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401
from toy_tasks import bootstrap_estimate, macro_f1

from fusionkit.errors import DataError
from fusionkit.grid.folder import RunFolder
from fusionkit.report.run import Results
from fusionkit.report.table import caption
from fusionkit.stats.intervals import holm

pytestmark = pytest.mark.usefixtures("toy_house")


def counts_of(run: Path, record: dict, seeds: list[int]) -> np.ndarray:
    cells = {cell["seed"]: RunFolder(run).read_cell(cell["id"]) for cell in record["cells"]}
    return np.stack([cells[seed].counts.astype(np.int64) for seed in seeds])


def test_scores_intervals_and_differences_are_those_of_the_stored_counts(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(seeds=3, regions=["bottom", "top"]), tmp_path / "run")
    records = results.grid["rows"]
    every = [counts_of(tmp_path / "run", record, [0, 1, 2]) for record in records]
    assert [row.is_reference for row in results.rows] == [True, False, False]
    p = [float("nan")]
    for counts, row in zip(every, results.rows, strict=True):
        assert row.score == score_estimate(counts, every)
        assert row.sd == pytest.approx(np.std([macro_f1(seed.sum(0)) for seed in counts], ddof=1))
        if row.is_reference:
            assert row.delta is None
        else:
            assert row.delta == difference_estimate(counts, every[0], every)
            p.append(row.delta.p)
    np.testing.assert_array_equal([row.p_holm for row in results.rows], holm(np.array(p)))


def test_intervals_are_the_bootstraps_where_that_is_asked_for_and_all_else_stays(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(seeds=2), tmp_path / "run")
    other = Results(tmp_path / "run", "bootstrap")
    a, b = (counts_of(tmp_path / "run", record, [0, 1]) for record in other.grid["rows"])
    assert [row.score.low for row in other.rows] == [bootstrap_estimate([(1.0, each)]).low for each in (a, b)]
    assert other.rows[1].delta == bootstrap_estimate([(1.0, b), (-1.0, a)])
    assert other.rows[1].score.low != results.rows[1].score.low
    assert "jackknife-t over units and seeds" in caption(results)[1]
    assert "percentile bootstrap of units and seeds" in caption(other)[1]


def test_the_caption_gives_n_of_each_data_set(tmp_path: Path) -> None:
    plan = toy_plan(datasets=["toy-blobs:clips=24", "toy-blobs:clips=40", "toy-blobs:clips=24,noise=3.0"], seeds=1)
    _, results = carry_out(plan, tmp_path / "run")
    counted = {row.axes.dataset: (row.score.n_units, row.means["n_frames"]) for row in results.rows}
    few, many, again = counted
    assert counted[few] == counted[again] != counted[many]
    line = next(line for line in caption(results) if line.startswith("test: "))
    assert f"test: {few} and {again}: {counted[few][0]} units" in line
    assert f"; {many}: {counted[many][0]} units" in line
    assert f" {counted[many][1]:.0f} frames; 1 seed(s); " in line


def test_a_difference_pairs_the_seeds_that_both_have(tmp_path: Path) -> None:
    carry_out(toy_plan(seeds=[0, 1], regions=["bottom"]), tmp_path / "run")
    _, results = carry_out(toy_plan(seeds=[1, 2], regions=["top"]), tmp_path / "run")
    by_views = {row.axes.views: (row, record) for row, record in zip(results.rows, results.grid["rows"], strict=True)}
    assert {views: row.seeds for views, (row, _) in by_views.items()} == {
        "face": [0, 1, 2],
        "face,bottom": [0, 1],
        "face,top": [1, 2],
    }
    every = {views: counts_of(tmp_path / "run", record, row.seeds) for views, (row, record) in by_views.items()}
    for views, seeds in (("face,bottom", [0, 1]), ("face,top", [1, 2])):
        row, record = by_views[views]
        a, b = (counts_of(tmp_path / "run", item, seeds) for item in (record, by_views["face"][1]))
        assert row.delta == difference_estimate(a, b, [*every.values()])


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(seeds=1), tmp_path / "run")
    assert all(np.isnan(row.sd) for row in results.rows)


def test_folds_are_pooled_before_they_are_scored(tmp_path: Path) -> None:
    """Against scikit-learn on the predictions of all folds together."""
    plan = toy_plan(split="kfold:k=3", seeds=2, reference="none", datasets=["toy-blobs:missing=false"])
    _, results = carry_out(plan, tmp_path / "run")
    (row,) = results.rows
    per_seed = []
    for seed in (0, 1):
        truth, predicted = [], []
        for head in plan.rows[0].heads:
            if head.seed == seed:
                label = head.fold_data.source.table.label[head.fold_data.rows.test]
                logits = RunFolder(tmp_path / "run").read_logits(head.id).test
                truth += label[label >= 0].tolist()
                predicted += logits[label >= 0].argmax(1).tolist()
        per_seed.append(f1_score(truth, predicted, average="macro"))
    assert row.score is not None
    assert row.score.value == pytest.approx(np.mean(per_seed))
    assert row.sd == pytest.approx(np.std(per_seed, ddof=1))
    labels = plan.rows[0].heads[0].fold_data.source.table.label
    assert row.means["n_frames"] == (labels >= 0).sum()
    assert row.score.n_units == 20


def test_a_seed_with_a_fold_missing_is_left_out_of_all_numbers(tmp_path: Path) -> None:
    import shutil

    plan = toy_plan(split="kfold:k=3", seeds=2, reference="none")
    carry_out(plan, tmp_path / "run")
    whole = Results(tmp_path / "run").rows[0]
    planned = plan.rows[0]
    shutil.rmtree(tmp_path / "run" / "cells" / planned.cell_id(planned.heads[0]))  # seed 0, fold 0
    (row,) = Results(tmp_path / "run").rows
    assert row.seeds == [1]
    assert row.score is not None
    assert row.score.n_seeds == 1
    assert row.means["n_frames"] == whole.means["n_frames"]
    cells = [RunFolder(tmp_path / "run").read_cell(planned.cell_id(head)) for head in planned.heads if head.seed == 1]
    right = sum(np.trace(cell.counts.sum(0)) for cell in cells if cell)
    assert row.means["accuracy"] == pytest.approx(right / sum(cell.counts.sum() for cell in cells if cell))


def test_a_row_that_has_not_run_has_no_score(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").add_plan(toy_plan(), {})
    results = Results(tmp_path / "run")
    assert [(row.score, row.delta, row.means, row.seeds) for row in results.rows] == [(None, None, {}, [])] * 2
    assert [cell["state"] for cell in results.cells()] == ["planned"] * 4


def test_a_folder_without_a_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no grid \(a folder that fusionkit bench has written to\)"):
        Results(tmp_path)
