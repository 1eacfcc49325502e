"""CSV files have the documented columns, with values recomputed from the stored logits."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from moderated import difference_estimate, score_estimate
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score, recall_score
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.grid.folder import RunFolder
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.run import Results
from fusionkit.storage.artifact import read_artifact, write_artifact

pytestmark = pytest.mark.usefixtures("toy_house")

RESULTS = (
    "dataset,split,extractor,backbone,main,views,fusion,recipe,smoother,task,learned_with,labels,id,n_seeds,seeds_left_out,n_units,n_clips,"
    "n_frames,steps,macro_f1,macro_f1_lo,macro_f1_hi,macro_f1_sd,macro_f1_sd_moderated,delta,delta_lo,delta_hi,p,p_holm,"
    "significance,accuracy,uar,ece,coverage,params,gflops,weights"
)
AXES = "dataset,split,extractor,backbone,main,views,fusion,recipe,smoother,task,learned_with,labels"

AXES_OF_ALL = ["toy-blobs:noise=70.0", "official", "toy-halves", "toy-colours", "face"]


def read(run: Path, name: str) -> list[dict[str, str]]:
    with (run / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def run(tmp_path: Path, toy_house: None) -> Path:  # noqa: F811
    _, results = carry_out(toy_plan(datasets=["toy-blobs:noise=70.0"]), tmp_path / "run")
    write_csv_files(results)
    return tmp_path / "run"


def test_the_columns_are_those_of_the_documentation_in_their_order(run: Path) -> None:
    classes = next(iter(RunFolder(run).infos("cells")))["scores"]
    f1 = ",".join(f"f1_{name},f1_{name}_lo,f1_{name}_hi" for name in classes)
    shares = ",".join(f"predicted_{name}" for name in classes)
    assert (run / "results.csv").read_text(encoding="utf-8").splitlines()[0] == f"{RESULTS},{f1},{shares}"
    cells = (run / "cells.csv").read_text(encoding="utf-8").splitlines()[0]
    assert cells.startswith(AXES + ",seed,fold,")
    assert cells.endswith(",weights,state,error")


def test_axes_are_written_unchanged(run: Path) -> None:
    assert [[row[name] for name in AXES.split(",")] for row in read(run, "results.csv")] == [
        [
            "toy-blobs:noise=70.0",
            "official",
            "toy-halves",
            "toy-colours",
            "face",
            views,
            fusion,
            recipe,
            "toy-plain",
            "expression",
            "none",
            "frame",
        ]
        for views, fusion, recipe in [
            ("face", "linear", "lr=0.05,epochs=4"),
            ("face,bottom", "toy-sum", "lr=0.05,epochs=4"),
        ]
    ]


def by_hand(run: Path) -> list[dict[str, float]]:
    """Every number from the stored logits, with scikit-learn and plain loops."""
    plan = toy_plan(datasets=["toy-blobs:noise=70.0"])
    folder, found, counts = RunFolder(run), [], []
    for row in plan.rows:
        per_seed = []
        for head in row.heads:
            fold_data, stored = head.fold_data, folder.read_logits(head.id)
            table = fold_data.source.table.take(fold_data.rows.test)
            probs = softmax(stored.test.astype(np.float64), axis=1)
            seen = ~np.isnan(stored.test[:, 0])
            for index in np.flatnonzero(~seen):
                near = [
                    (abs(table.number[n] - table.number[index]), table.number[n], n)
                    for n in np.flatnonzero(seen & (table.clip == table.clip[index]))
                ]
                probs[index] = probs[min(near)[2]] if near else fold_data.prior
            known = table.label >= 0
            truth, guess = table.label[known], probs[known].argmax(1)
            confidence = probs[known].max(1)
            edges = np.linspace(0, 1, 16)
            ece = 0.0
            for low, high in pairwise(edges):
                inside = (confidence > low) & (confidence <= high)
                if inside.any():
                    ece += inside.mean() * abs((truth == guess)[inside].mean() - confidence[inside].mean())
            images = fold_data.source.images(fold_data.rows.test)
            trained = sum(image is not None for image in fold_data.source.images(fold_data.rows.train))
            lost = [image is None or ("bottom" in row.axes.views and image[0, 0].min() == 255) for image in images]
            units = sorted(set(table.subject[known].tolist()))
            matrix = np.zeros((len(units), 3, 3), int)
            for unit, t, g in zip(table.subject[known], truth, guess, strict=True):
                matrix[units.index(unit), t, g] += 1
            per_seed.append(
                {
                    "n_units": len(units),
                    "n_clips": len(set(table.clip[known].tolist())),
                    "n_frames": known.sum(),
                    "steps": 4 * -(-trained // 8),  # epochs; batches of the least size
                    "macro_f1": f1_score(truth, guess, average="macro"),
                    "accuracy": accuracy_score(truth, guess),
                    "uar": recall_score(truth, guess, average="macro"),
                    "ece": ece,
                    "coverage": 1 - np.mean(np.array(lost)[known]),
                    "counts": matrix,
                }
            )
        stacked = np.stack([seed.pop("counts") for seed in per_seed])
        counts.append(stacked)
        line = {name: float(np.mean([seed[name] for seed in per_seed])) for name in per_seed[0]}
        line |= {"macro_f1_sd": float(np.std([seed["macro_f1"] for seed in per_seed], ddof=1)), "n_seeds": 2.0}
        predicted = stacked.sum((0, 1, 2)) / stacked.sum()
        line |= {f"predicted_{name}": share for name, share in zip(fold_data.source.classes, predicted, strict=True)}
        found.append(line)
    for line, own in zip(found, counts, strict=True):
        estimate = score_estimate(own, counts)
        line |= {"macro_f1_lo": estimate.low, "macro_f1_hi": estimate.high}
    delta = difference_estimate(counts[1], counts[0], counts)
    found[1] |= {"delta": found[1]["macro_f1"] - found[0]["macro_f1"], "delta_lo": delta.low, "delta_hi": delta.high}
    found[0] |= {"params": 7 + 12 * 3 + 3, "gflops": 0.25 + 2 * 36 / 1e9}
    found[1] |= {"params": 7 + 12 * 3 + 3, "gflops": 0.5 + 2 * 36 / 1e9}
    return found


def test_every_number_equals_one_recomputed_from_the_stored_logits(run: Path) -> None:
    for row, expected in zip(read(run, "results.csv"), by_hand(run), strict=True):
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=1e-5, abs=1e-9), name


def test_unknown_values_are_empty(run: Path) -> None:
    reference, other = read(run, "results.csv")
    for name in ("delta", "delta_lo", "delta_hi", "p", "p_holm"):
        assert reference[name] == ""
        assert other[name] != ""
    assert other["p"] == other["p_holm"]  # one comparison


def test_counts_are_whole_numbers(run: Path) -> None:
    for row in read(run, "results.csv"):
        for name in ("n_seeds", "n_units", "n_clips", "n_frames", "params"):
            assert row[name].isdigit(), name


def test_cells_have_a_row_each_with_state_and_error(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(fusions=["toy-sum", "toy-raises"]), tmp_path / "run")
    write_csv_files(results)
    rows = read(tmp_path / "run", "cells.csv")
    assert [(row["views"], row["fusion"], row["seed"], row["fold"], row["state"]) for row in rows] == [
        (views, fusion, seed, "official", state)
        for views, fusion, state in (
            ("face", "linear", "done"),
            ("face,bottom", "toy-sum", "done"),
            ("face,bottom", "toy-raises", "failed"),
        )
        for seed in ("0", "1")
    ]
    for row in rows:
        assert bool(row["error"]) == (row["state"] == "failed") == (row["macro_f1"] == "")
        assert row["smoother"] == "toy-plain"
    assert "gates are shut" in rows[-1]["error"]
    failed = read(tmp_path / "run", "results.csv")[2]
    assert (failed["n_seeds"], failed["macro_f1"], failed["n_frames"]) == ("0", "", "")


def test_the_chosen_and_the_given_width_are_written(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(smoothers=["toy-box:width=auto"], reference="none"), tmp_path / "run")
    write_csv_files(results)
    for row in read(tmp_path / "run", "cells.csv"):
        assert row["smoother"] == "toy-box:width=auto"
        assert row["chosen_smoother"] in {f"toy-box:width={width}" for width in (1, 3, 9)}


COSTS = "cell,head,views,fusion,smoother,seed,fold,embed_seconds,fit_seconds,peak_mib,gflops,gflops_counter"


def test_costs_are_in_a_file_of_their_own_since_they_are_not_reproducible(run: Path) -> None:
    rows = read(run, "costs.csv")
    assert list(rows[0]) == COSTS.split(",")
    assert len(rows) == 4
    assert all(float(row["fit_seconds"]) > 0 and float(row["peak_mib"]) > 1 for row in rows)
    assert "seconds" not in (run / "results.csv").read_text(encoding="utf-8") + (run / "cells.csv").read_text(
        encoding="utf-8"
    )


def seconds_by_view(cache: Path) -> dict[str, float]:
    """What the shards of each embedding took, from the files beside them."""
    found: dict[str, float] = {}
    for marker in cache.glob("embeddings/*/*/done.json"):
        meta = json.loads(marker.read_text(encoding="utf-8"))["meta"]
        view = meta["about"].split(" by ")[0]
        found[view] = found.get(view, 0.0) + meta["seconds"]
    return found


def test_the_embedding_cost_is_independent_of_the_cache(tmp_path: Path) -> None:
    carry_out(toy_plan(seeds=1), tmp_path / "earlier")
    seconds = seconds_by_view(tmp_path / "cache")
    assert set(seconds) == {"face", "bottom"}
    _, results = carry_out(toy_plan(seeds=2, fusions=["toy-forest"]), tmp_path / "run")  # embeds nothing
    shutil.rmtree(tmp_path / "cache")
    write_csv_files(results)
    for row in read(tmp_path / "run", "costs.csv"):
        expected = sum(seconds[view] for view in row["views"].split(","))
        assert float(row["embed_seconds"]) == pytest.approx(expected, rel=1e-5)
        assert expected > 0


@pytest.mark.slow
@pytest.mark.parametrize("split", ["auto", "kfold:k=2"])
def test_a_cell_costs_every_head_that_its_recipe_was_chosen_among(tmp_path: Path, split: str) -> None:
    plan = toy_plan(recipe={"epochs": [1, 2, 3]}, smoothers=["toy-plain", "toy-box"], seeds=2, split=split)
    _, results = carry_out(plan, tmp_path / "run")
    write_csv_files(results)
    rows = read(tmp_path / "run", "costs.csv")
    assert len(rows) == 2 * 2 * 2 * (2 if "k=2" in split else 1)  # fusions, smoothers, seeds, folds
    for row in rows:
        rivals = [
            json.loads((tmp_path / "run" / "heads" / head.id / "cost.json").read_text(encoding="utf-8"))
            for head in plan.heads.values()
            if (",".join(head.embeddings), str(head.seed), head.fold_data.fold.name)
            == (row["views"], row["seed"], row["fold"])
        ]
        assert len(rivals) == 3
        assert float(row["fit_seconds"]) == pytest.approx(sum(cost["fit_seconds"] for cost in rivals), rel=1e-5)
        assert float(row["peak_mib"]) == pytest.approx(max(cost["peak_mib"] for cost in rivals), rel=1e-5)


def test_what_a_head_of_before_embedding_was_timed_cost_is_empty(run: Path) -> None:
    for head in (run / "heads").iterdir():
        files = read_artifact(head)
        assert files is not None
        write_artifact(head, {**files, "cost.json": b'{"fit_seconds": 2.0, "peak_mib": 3.0}'})
    write_csv_files(Results(run))
    assert [(row["embed_seconds"], row["fit_seconds"]) for row in read(run, "costs.csv")] == [("", "2")] * 4


def test_the_counter_of_the_flops_is_named(run: Path) -> None:
    cells = {row["cell"]: row for row in read(run, "costs.csv")}
    for name, row in cells.items():
        assert float(row["gflops"]) == pytest.approx(
            json.loads((run / "cells" / name / "cell.json").read_text(encoding="utf-8"))["gflops"]
        )
        assert row["gflops_counter"] == "torch.utils.flop_counter.FlopCounterMode, fused attention off"
