"""A sweep of recipes is decided on dev, once per row; the test labels of what was not chosen stay sealed."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score
from toy_components import Plain, carry_out, registered, toy_grid, toy_house, toy_plan  # noqa: F401
from typer.testing import CliRunner

from fusionkit.cli import app
from fusionkit.config.grid_config import resolve
from fusionkit.config.recipe import Recipe
from fusionkit.contracts.fusion import Fusion
from fusionkit.engine.score import Score
from fusionkit.errors import ConfigError
from fusionkit.grid import row as row_module
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import HeadWork, RowPlan
from fusionkit.grid.run import RunOptions
from fusionkit.registry import FUSIONS, SMOOTHERS
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.plan_lines import plan_lines
from fusionkit.report.run import Results
from fusionkit.storage.embeddings import EmbeddingStore

pytestmark = pytest.mark.usefixtures("toy_house")

LR = {"epochs": 3, "lr": [1e-4, 0.05, 1e-3]}
SWEEP: dict[str, Any] = {"datasets": ["toy-blobs:noise=70.0"], "recipe": LR}
CLOSE = {"epochs": 4, "lr": 0.05, "weight_decay": [0.0, 0.3]}  # points that are about equally good
POINTS = ["lr=0.0001,epochs=3", "lr=0.05,epochs=3", "epochs=3"]


def dev_f1(folder: RunFolder, head: HeadWork) -> float:
    """From the stored dev logits as they are, with scikit-learn."""
    logits = folder.read_logits(head.id).dev
    truth = head.fold_data.rows.dev_label
    judged = (truth >= 0) & ~np.isnan(logits).any(1)
    return float(f1_score(truth[judged], logits[judged].argmax(1), average="macro"))


def means_by_hand(folder: RunFolder, row: RowPlan) -> dict[str, float]:
    by_point: dict[str, list[float]] = {}
    for head in row.heads:
        by_point.setdefault(str(head.recipe), []).append(dev_f1(folder, head))
    return {point: float(np.mean(scores)) for point, scores in by_point.items()}


def best_by_hand(folder: RunFolder, row: RowPlan) -> str:
    means = means_by_hand(folder, row)
    return next(point for point, mean in means.items() if mean == max(means.values()))


def infos(folder: RunFolder, row: RowPlan) -> list[dict[str, Any]]:
    cells = [folder.read_cell(cell) for cell in dict.fromkeys(map(row.cell_id, row.heads))]
    return [cell.info for cell in cells if cell is not None]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"split": "kfold:k=3", "seeds": 1},
        {"recipe": {"epochs": [1, 3], "lr": [0.05, 1e-4], "class_weights": "none"}},
        {"datasets": ["toy-blobs:noise=110.0,seed=2"], "seeds": 3, "fusions": ["toy-recorder"], "recipe": LR},
        {"recipe": {"loss": ["cross-entropy", "focal"], "epochs": 2, "lr": 0.02}},
    ],
    ids=str,
)
def test_the_recipe_is_the_best_on_dev_by_the_mean_over_seeds_and_folds(tmp_path: Path, change: dict[str, Any]) -> None:
    plan = toy_plan(**{**SWEEP, **change})
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert outcome.failed == {}
    folder = RunFolder(tmp_path / "run")
    for row in plan.rows:
        chosen = best_by_hand(folder, row)
        for info in infos(folder, row):
            assert info["recipe"] == chosen
            assert info["candidate_dev_scores"] == pytest.approx(means_by_hand(folder, row))
        kept = {head.id for head in row.heads if str(head.recipe) == chosen}
        assert {info["head"] for info in infos(folder, row)} == kept


@pytest.mark.slow
def test_rows_of_choose_for_themselves(tmp_path: Path) -> None:
    unlike = False
    for data in ("toy-blobs:noise=160.0,seed=1", "toy-blobs:noise=200.0,seed=1"):
        plan = toy_plan(datasets=[data], recipe=CLOSE, regions=["top", "bottom"])
        _, results = carry_out(plan, tmp_path / data)
        chosen = {(cell["axes"]["views"], cell["recipe"]) for cell in results.cells()}
        assert chosen == {(row.axes.views, best_by_hand(results.folder, row)) for row in plan.rows}
        unlike |= len({recipe for _, recipe in chosen}) > 1
    assert unlike  # on one of these data at least rows take different recipes


def test_every_point_is_trained_once_whatever_the_smoother_and_each_seed_is_one_cell(tmp_path: Path) -> None:
    plan = toy_plan(**SWEEP, smoothers=["toy-plain", "toy-box"])
    assert len(plan.heads) == 3 * 2 * 2  # points, seeds, views with their fusion
    outcome, results = carry_out(plan, tmp_path / "run")
    assert (outcome.fitted, outcome.scored, outcome.failed) == (12, 8, {})
    assert [(cell["seed"], cell["state"]) for cell in results.cells()] == [(0, "done"), (1, "done")] * 4
    assert {row.axes.recipe for row in results.rows} == {"lr=[0.0001,0.05,0.001],epochs=3"}
    by_views: dict[str, set[str]] = {}
    for cell in results.cells():
        by_views.setdefault(cell["axes"]["views"], set()).add(cell["recipe"])
    assert all(len(chosen) == 1 for chosen in by_views.values())  # before smoothing: the same for each smoother
    outcome, _ = carry_out(plan, tmp_path / "run")
    assert (outcome.fitted, outcome.scored, outcome.reused) == (0, 0, 8)


def test_a_swept_head_is_the_one_that_its_recipe_gives_alone() -> None:
    swept = toy_plan(**SWEEP)
    alone = [toy_plan(**{**SWEEP, "recipe": {**LR, "lr": lr}}) for lr in LR["lr"]]
    assert set(swept.heads) == set().union(*(plan.heads for plan in alone))
    assert not {row.id for row in swept.rows} & {row.id for plan in alone for row in plan.rows}


def test_the_scores_are_those_of_a_run_with_the_chosen_recipe_alone(tmp_path: Path) -> None:
    swept = toy_plan(**SWEEP, smoothers=["toy-box:width=auto"], reference="none")
    _, results = carry_out(swept, tmp_path / "swept")
    chosen = infos(RunFolder(tmp_path / "swept"), swept.rows[0])[0]["recipe"]
    lr = dict(zip(POINTS, LR["lr"], strict=True))[chosen]
    plan = toy_plan(**{**SWEEP, "recipe": {**LR, "lr": lr}}, smoothers=["toy-box:width=auto"], reference="none")
    _, single = carry_out(plan, tmp_path / "single")
    assert results.rows[0].score == single.rows[0].score
    assert results.rows[0].chosen == single.rows[0].chosen
    assert (results.rows[0].axes.recipe, single.rows[0].axes.recipe) == ("lr=[0.0001,0.05,0.001],epochs=3", chosen)


@pytest.mark.slow
def test_the_test_labels_of_points_that_are_not_chosen_are_never_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[np.ndarray] = []
    score = row_module.score

    def watched(task: Any, probs: np.ndarray, sealed: Any) -> Score:
        scored.append(probs)
        return score(task, probs, sealed)

    monkeypatch.setattr(row_module, "score", watched)
    plan = toy_plan(**SWEEP)
    carry_out(plan, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    judged = []
    for probs in scored:
        fits = []
        for head in plan.heads.values():
            logits = folder.read_logits(head.id).test
            seen = ~np.isnan(logits).any(1)
            if np.allclose(softmax(logits[seen].astype(float), axis=1), probs[seen], atol=1e-6):
                fits.append(head.id)
        assert len(fits) == 1  # the points differ enough to tell whose probabilities were scored
        judged += fits
    chosen = [head.id for row in plan.rows for head in row.heads if str(head.recipe) == best_by_hand(folder, row)]
    assert sorted(judged) == sorted(chosen)
    assert len(list((tmp_path / "run" / "cells").iterdir())) == len(chosen) == 4


@pytest.mark.slow
def test_the_recipe_is_chosen_again_when_seeds_are_added(tmp_path: Path) -> None:
    changed = False
    for name in ("noise=160.0,seed=1", "noise=200.0,seed=1", "noise=130.0,seed=2"):
        data = {"datasets": [f"toy-blobs:{name}"], "recipe": CLOSE, "reference": "none"}
        few, many = toy_plan(**data, seeds=1), toy_plan(**data, seeds=3)
        folder = RunFolder(tmp_path / name)
        carry_out(few, folder.path)
        before = infos(folder, few.rows[0])[0]["recipe"]
        outcome, _ = carry_out(many, folder.path)
        assert (outcome.fitted, outcome.scored, outcome.reused) == (4, 3, 0)
        (row,) = many.rows
        assert [info["recipe"] for info in infos(folder, row)] == [best_by_hand(folder, row)] * 3
        assert infos(folder, row)[0]["chosen_over"] == sorted(head.id for head in row.heads)
        outcome, _ = carry_out(few, folder.path)  # the smaller grid again leaves the union as it is
        assert (outcome.fitted, outcome.scored, outcome.reused) == (0, 0, 3)
        changed |= infos(folder, row)[0]["recipe"] != before
    assert changed  # on one of these data at least another recipe is better over three seeds than over one


CHOSEN: dict[str, Any] = {
    "datasets": ["toy-blobs:noise=70.0"],
    "fusions": ["mlp:hidden=[1,32],select=dev"],
    "recipe": {"epochs": [1, 3], "lr": 0.02},
    "smoothers": ["toy-box:width=[1,3,9],select=dev"],
    "reference": "none",
}


def test_options_of_fusion_and_smoother_are_chosen_on_dev_in_one_row(tmp_path: Path) -> None:
    plan = toy_plan(**CHOSEN)
    (row,) = plan.rows
    outcome, results = carry_out(plan, tmp_path / "run")
    assert (outcome.fitted, outcome.scored, outcome.failed) == (8, 2, {})
    folder = RunFolder(tmp_path / "run")
    means: dict[tuple[str, str], list[float]] = {}
    for head in row.heads:
        means.setdefault((str(head.fusion), str(head.recipe)), []).append(dev_f1(folder, head))
    best = max(means, key=lambda key: np.mean(means[key]))
    for info in infos(folder, row):
        assert (info["fusion"], info["recipe"]) == best
        assert info["candidate_dev_scores"] == {
            f"{fusion} ({recipe})": pytest.approx(np.mean(scores)) for (fusion, recipe), scores in means.items()
        }
    (shown,) = results.rows
    assert shown.axes.fusion == "mlp:hidden=[1,32],select=dev"
    assert (shown.chosen_fusion, shown.chosen_recipe) == best
    # The smoother is the one that dev chooses for the chosen heads alone.
    epochs = 1 if "epochs=1" in best[1] else 3
    alone = toy_plan(**{**CHOSEN, "fusions": [best[0]], "recipe": {"epochs": epochs, "lr": 0.02}})
    carry_out(alone, tmp_path / "alone")
    assert infos(RunFolder(tmp_path / "alone"), alone.rows[0])[0]["smoother"] == shown.chosen
    again, _ = carry_out(plan, tmp_path / "run")
    assert (again.fitted, again.scored, again.reused) == (0, 0, 2)


def test_a_sweep_without_selection_is_one_row_per_value() -> None:
    plan = toy_plan(fusions=["mlp:hidden=[1,32]"], smoothers=["toy-box:width=[1,3]"], reference="none")
    assert [(row.axes.fusion, row.axes.smoother) for row in plan.rows] == [
        (f"mlp:hidden={hidden}", f"toy-box:width={width}") for hidden in (1, 32) for width in (1, 3)
    ]


def test_of_equal_points_the_first_is_taken(tmp_path: Path) -> None:
    plan = toy_plan(recipe={"batch_size": [64, 32]}, fusions=["toy-forest"], reference="none")  # it reads no recipe
    carry_out(plan, tmp_path / "run")
    assert [info["recipe"] for info in infos(RunFolder(tmp_path / "run"), plan.rows[0])] == ["batch_size=64"] * 2


def test_a_point_that_cannot_be_trained_loses_and_the_others_go_on(tmp_path: Path) -> None:
    plan = toy_plan(**{**SWEEP, "recipe": {"epochs": 20, "optimizer": "adam", "lr": [1e38, 0.05]}})
    outcome, results = carry_out(plan, tmp_path / "run")
    assert outcome.fitted == 4
    assert {cell["recipe"] for cell in results.cells()} == {"optimizer=adam,lr=0.05,epochs=20"}
    assert all(cell["state"] == "done" for cell in results.cells())
    lost = [head for head in plan.heads.values() if head.recipe.lr > 1]
    for head in lost:
        message = results.folder.failure(head.id)
        assert message is not None
        assert "the loss is" in message or "not finite" in message
    assert {head.name for head in lost} >= {"face/linear/0 (optimizer=adam,lr=1e+38,epochs=20)"}


def test_a_point_that_lacks_one_seed_is_not_compared(tmp_path: Path) -> None:
    """The best point with one seed lost gives way to a whole one: a mean over fewer seeds is another thing."""
    plan = toy_plan(**SWEEP, reference="none")
    folder = RunFolder(tmp_path / "run")
    carry_out(plan, folder.path)
    (row,) = plan.rows
    best = best_by_hand(folder, row)
    lost = next(head for head in row.heads if str(head.recipe) == best)
    shutil.rmtree(folder.path / "heads" / lost.id)
    folder.write_failure(lost.id, "its process died", "")
    carry_out(plan, folder.path)
    means = {point: mean for point, mean in _means_of_stored(folder, row).items() if point != best}
    chosen = {info["recipe"] for info in infos(folder, row)}
    assert chosen == {max(means, key=lambda point: means[point])}
    outcome, _ = carry_out(plan, folder.path, RunOptions(retry_failed=True))
    assert outcome.fitted == 1
    assert {info["recipe"] for info in infos(folder, row)} == {best}


def _means_of_stored(folder: RunFolder, row: RowPlan) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for head in row.heads:
        if folder.has_head(head.id):
            scores.setdefault(str(head.recipe), []).append(dev_f1(folder, head))
    return {point: float(np.mean(values)) for point, values in scores.items()}


def test_a_cell_whose_chosen_head_is_lost_keeps_no_score_of_another_recipe(tmp_path: Path) -> None:
    """Each point lost another seed; the first of equally incomplete ones wins, and its lost seed is not filled up."""
    recipe = {"epochs": 3, "lr": [0.05, 1e-4]}
    plan = toy_plan(datasets=["toy-blobs:noise=70.0"], recipe=recipe, reference="none", seeds=2)
    folder = RunFolder(tmp_path / "run")
    carry_out(plan, folder.path)
    (row,) = plan.rows
    for recipe_lr, seed in ((0.05, 0), (1e-4, 1)):
        (lost,) = [head for head in row.heads if (head.recipe.lr, head.seed) == (recipe_lr, seed)]
        shutil.rmtree(folder.path / "heads" / lost.id)
        folder.write_failure(lost.id, "its process died", "")
    outcome, results = carry_out(plan, folder.path)
    assert {cell["seed"]: cell["state"] for cell in results.cells()} in (
        {0: "failed", 1: "done"},
        {0: "done", 1: "failed"},
    )
    done = next(cell for cell in results.cells() if cell["state"] == "done")
    means = _means_of_stored(folder, row)
    assert done["recipe"] == max(means, key=lambda point: means[point])
    assert list(outcome.failed.values()) == ["its process died"]


def test_smoothers_of_embeddings_get_those_of_the_chosen_recipe(tmp_path: Path) -> None:
    class Wide(Plain):
        needs = "embeddings"
        given: list[np.ndarray] = []

        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            Wide.given.append(x)
            return np.tile([0.5, 0.3, 0.2], (len(x), 1))

    spread = {}
    with registered(SMOOTHERS, "toy-wide", Wide):
        for order in ([True, False], [False, True]):
            Wide.given.clear()
            recipe = {"standardize": order, "epochs": 1, "lr": 1e-3}
            plan = toy_plan(smoothers=["toy-wide"], recipe=recipe, reference="none", seeds=1)
            outcome, results = carry_out(plan, tmp_path / str(order))
            assert outcome.failed == {}
            chosen = "standardize=False" not in results.cells()[0]["recipe"]
            spread[chosen] = float(np.concatenate(Wide.given).std(0).mean())
    for standardized, value in spread.items():
        assert (0.5 < value < 2) == standardized


def test_the_sweep_is_recorded_in_the_tables_and_in_the_grid(tmp_path: Path) -> None:
    plan = toy_plan(**SWEEP)
    _, results = carry_out(plan, tmp_path / "run")
    write_csv_files(results)
    folder = RunFolder(tmp_path / "run")
    chosen = {row.axes.views: best_by_hand(folder, row) for row in plan.rows}
    cells = read(tmp_path / "run" / "cells.csv")
    assert [(row["recipe"], row["chosen_recipe"]) for row in cells] == [
        ("lr=[0.0001,0.05,0.001],epochs=3", chosen[row["views"]]) for row in cells
    ]
    header = list(cells[0])
    assert header[header.index("chosen_smoother") + 1] == "chosen_recipe"
    assert {row["recipe"] for row in read(tmp_path / "run" / "results.csv")} == {"lr=[0.0001,0.05,0.001],epochs=3"}
    heads = {head.id: str(head.recipe) for head in plan.heads.values()}
    costs = read(tmp_path / "run" / "costs.csv")
    assert [heads[row["head"]] for row in costs] == [chosen[row["views"]] for row in costs]
    grid = json.loads((tmp_path / "run" / "grid.json").read_text(encoding="utf-8"))
    assert grid["grids"][0]["description"]["recipe"] == LR
    for record in grid["rows"]:
        for cell in record["cells"]:
            assert list(cell["heads"]) == POINTS
            assert [heads[head] for head in cell["heads"].values()] == POINTS


def test_without_a_sweep_the_recipe_asked_for_is_the_one_chosen(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(), tmp_path / "run")
    write_csv_files(results)
    for row in read(tmp_path / "run" / "cells.csv"):
        assert row["chosen_recipe"] == row["recipe"] == "lr=0.05,epochs=4"
    assert all(cell["chosen_over"] == [] and cell["candidate_dev_scores"] == {} for cell in results.cells())


def test_a_dry_run_tells_the_points_apart(tmp_path: Path) -> None:
    folder, store = RunFolder(tmp_path / "run"), EmbeddingStore(tmp_path / "cache")
    lines = list(plan_lines(toy_plan(**SWEEP, seeds=1), folder, store, RunOptions()))
    fits = [line for line in lines if line.startswith("fit face/linear")]
    assert fits == [f"fit face/linear ({point}), seed 0: planned: new" for point in POINTS]
    assert "score: 2 of 2 cells remain" in lines


# -- what is asked for ---------------------------------------------------------------------------------------------


def test_a_sweep_is_part_of_the_description_and_survives_it() -> None:
    grid = toy_grid(recipe={"lr": [1e-4, 1e-3], "epochs": 2})
    assert grid.describe()["recipe"] == {"epochs": 2, "lr": [1e-4, 1e-3]}
    assert resolve(grid.describe(), "toy") == grid
    assert grid.digest() != toy_grid(recipe={"lr": [1e-3, 1e-4], "epochs": 2}).digest()
    assert hash(grid)


def test_each_value_of_a_sweep_is_checked() -> None:
    with pytest.raises(ConfigError) as refused:
        toy_grid(recipe={"lr": [1e-4, 0, "x"], "epochs": [], "patience": 3})
    assert refused.value.problems == ["recipe: option epochs = [] must not be empty"]
    with pytest.raises(ConfigError) as refused:
        toy_grid(
            recipe={"lr": [1e-4, 0, "x"], "lrr": [1, 2], "loss": ["focal", "cross-entropy"], "label_smoothing": 0.1}
        )
    assert refused.value.problems == [
        "recipe: unknown option 'lrr' (did you mean 'lr'?)",
        "recipe: option lr = 0 must be above 0",
        "recipe: option lr = 'x' must be float > 0",
    ]
    with pytest.raises(ConfigError, match=r"label_smoothing = 0\.1 does not go with loss = 'focal'"):
        toy_grid(recipe={"loss": ["focal", "cross-entropy"], "label_smoothing": 0.1})


def test_a_fusion_may_ask_for_a_sweep_and_the_config_goes_before_it() -> None:
    class Keen(Fusion):
        recipe = {"lr": [0.1, 0.2], "epochs": 2}

    with registered(FUSIONS, "toy-keen", Keen):
        own = toy_plan(fusions=["toy-keen"], recipe={}, reference="none", seeds=1).rows[0]
        told = toy_plan(fusions=["toy-keen"], recipe={"lr": 0.3}, reference="none", seeds=1).rows[0]
    assert [head.recipe for head in own.heads] == [Recipe(lr=0.1, epochs=2), Recipe(lr=0.2, epochs=2)]
    assert [head.recipe for head in told.heads] == [Recipe(lr=0.3, epochs=2)]


@pytest.mark.slow
@pytest.mark.usefixtures("no_page")
def test_the_command_takes_a_sweep_and_records_the_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = ("--dataset", "synthetic:train=8,val=6,test=6,clips=4,clip_length=8", "--executor", "serial")
    words = ("--recipe", "lr=[1e-4,1e-2],epochs=2", "--regions", "eye", "--fusion", "plain-concat", "--seeds", "2")
    result = CliRunner().invoke(app, ["bench", *data, *words, "--smoother", "none", "--out", "out"])
    assert result.exit_code == 0, result.output
    assert "8 heads trained, 4 cells scored" in result.output
    assert [row["recipe"] for row in read(Path("out/results.csv"))] == ["lr=[0.0001,0.01],epochs=2"] * 2
    cells = read(Path("out/cells.csv"))
    for row in cells:
        stored = json.loads(Path("out/cells", row["cell"], "cell.json").read_text(encoding="utf-8"))
        means = stored["candidate_dev_scores"]
        assert list(means) == ["lr=0.0001,epochs=2", "lr=0.01,epochs=2"]
        assert row["chosen_recipe"] == max(means, key=lambda point: means[point])
        assert json.loads(Path("out/heads", stored["head"], "head.json").read_text(encoding="utf-8"))["recipe"][
            "lr"
        ] == float(row["chosen_recipe"].split(",")[0].removeprefix("lr="))
    before = Path("out/cells.csv").read_bytes()
    again = CliRunner().invoke(app, ["bench", *data, *words, "--smoother", "none", "--out", "out"])
    assert "0 heads trained, 0 cells scored, 4 cells reused" in again.output
    assert Path("out/cells.csv").read_bytes() == before
    assert [row.axes.recipe for row in Results(Path("out")).rows] == ["lr=[0.0001,0.01],epochs=2"] * 2
