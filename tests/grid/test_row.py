"""A row chooses its smoother on dev over all its seeds, and scores every cell with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score
from toy_components import Box, Learned, carry_out, registered, toy_house, toy_plan  # noqa: F401

from fusionkit.contracts import Smoother
from fusionkit.engine.fold import FoldData
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan, RowPlan
from fusionkit.registry import SMOOTHERS

pytestmark = pytest.mark.usefixtures("toy_house")

AUTO = {"smoothers": ["toy-box:width=auto"], "reference": "none"}


def smoothed_by_hand(logits: np.ndarray, fold_data: FoldData, part: str, width: int) -> np.ndarray:
    """Softmax, window over frame numbers, nearest neighbour, prior: row by row."""
    frames = fold_data.dev_table if part == "dev" else fold_data.test_table
    seen = ~np.isnan(logits[:, 0])
    probs = softmax(logits.astype(np.float64), axis=1)
    out = np.tile(fold_data.prior, (len(frames), 1))
    same = frames.clip[:, None] == frames.clip[None, :]
    apart = np.abs(frames.number[:, None] - frames.number[None, :])
    for row in np.flatnonzero(seen):
        out[row] = probs[same[row] & seen & (apart[row] <= width // 2)].mean(0)
    for row in np.flatnonzero(~seen):
        near = [(apart[row, n], frames.number[n], n) for n in np.flatnonzero(same[row] & seen)]
        if near:
            out[row] = out[min(near)[2]]
    return out


def dev_score(folder: RunFolder, row: RowPlan, index: int, width: int) -> float:
    head = row.heads[index]
    probs = smoothed_by_hand(folder.read_logits(head.id).dev, head.fold_data, "dev", width)
    truth = head.fold_data.rows.dev_label
    return float(f1_score(truth[truth >= 0], probs[truth >= 0].argmax(1), average="macro"))


def best_width(folder: RunFolder, row: RowPlan) -> int:
    seeds = range(len(row.heads))
    means = {width: np.mean([dev_score(folder, row, seed, width) for seed in seeds]) for width in (1, 3, 9)}
    return max(means, key=lambda width: (means[width], -width))


def infos(folder: RunFolder, plan: Plan) -> list[dict[str, Any]]:
    found = []
    for row in plan.rows:
        for head in row.heads:
            cell = folder.read_cell(row.cell_id(head))
            assert cell is not None
            found.append(cell.info)
    return found


@pytest.mark.parametrize("data", ["toy-blobs", "toy-blobs:noise=110.0", "toy-blobs:seed=3,noise=70.0"])
def test_the_width_is_the_best_on_dev_by_the_mean_over_seeds(tmp_path: Path, data: str) -> None:
    plan = toy_plan(**AUTO, datasets=[data], seeds=3)
    carry_out(plan, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    width = best_width(folder, plan.rows[0])
    assert [info["smoother"] for info in infos(folder, plan)] == [f"toy-box:width={width}"] * 3
    for index, info in enumerate(infos(folder, plan)):
        assert info["dev_score"] == pytest.approx(dev_score(folder, plan.rows[0], index, width))


def test_the_width_is_chosen_again_when_seeds_are_added(tmp_path: Path) -> None:
    data = {"datasets": ["toy-blobs:noise=110.0"]}
    few, many = toy_plan(**AUTO, **data, seeds=1), toy_plan(**AUTO, **data, seeds=4)
    outcome, _ = carry_out(few, tmp_path / "run")
    assert (outcome.fitted, outcome.scored, outcome.reused) == (1, 1, 0)
    outcome, results = carry_out(many, tmp_path / "run")
    assert (outcome.fitted, outcome.scored, outcome.reused) == (3, 4, 0)
    folder = RunFolder(tmp_path / "run")
    width = best_width(folder, many.rows[0])
    assert results.rows[0].chosen == f"toy-box:width={width}"
    heads = sorted(head.id for head in many.rows[0].heads)
    assert [info["chosen_over"] for info in infos(folder, many)] == [heads] * 4
    outcome, _ = carry_out(few, tmp_path / "run")  # the smaller grid again leaves the union as it is
    assert (outcome.fitted, outcome.scored) == (0, 0)
    assert [info["chosen_over"] for info in infos(folder, many)] == [heads] * 4


def test_of_equal_candidates_the_mildest_is_taken(tmp_path: Path) -> None:
    class Same(Box):
        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            return x

    with registered(SMOOTHERS, "toy-same", Same):
        plan = toy_plan(smoothers=["toy-same:width=auto"], reference="none")
        _, results = carry_out(plan, tmp_path / "run")
    assert results.rows[0].chosen == "toy-same:width=1"


def test_a_fixed_width_is_not_chosen(tmp_path: Path) -> None:
    plan = toy_plan(smoothers=["toy-box:width=9"], reference="none")
    carry_out(plan, tmp_path / "run")
    assert {width for width, _, _ in Box.calls} == {9}
    assert [info["chosen_over"] for info in infos(RunFolder(tmp_path / "run"), plan)] == [[], []]


def test_the_scores_of_a_cell_equal_a_count_by_hand_from_its_stored_logits(tmp_path: Path) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

    plan = toy_plan(smoothers=["toy-box:width=3"], seeds=1)
    carry_out(plan, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    for row in plan.rows:
        (head,) = row.heads
        fold_data = head.fold_data
        table = fold_data.source.table.take(fold_data.rows.test)
        known = table.label >= 0
        logits = folder.read_logits(head.id)
        predicted = smoothed_by_hand(logits.test, fold_data, "test", 3).argmax(1)
        cell = folder.read_cell(row.cell_id(head))
        assert cell is not None
        for unit, counts in zip(cell.units, cell.counts, strict=True):
            rows = known & (table.subject == unit)
            np.testing.assert_array_equal(counts, confusion_matrix(table.label[rows], predicted[rows], labels=range(3)))
        truth = table.label[known]
        assert cell.info["score"] == pytest.approx(f1_score(truth, predicted[known], average="macro"))
        assert cell.info["measures"]["accuracy"] == pytest.approx(accuracy_score(truth, predicted[known]))
        assert cell.info["measures"]["uar"] == pytest.approx(balanced_accuracy_score(truth, predicted[known]))
        assert list(cell.info["scores"].values()) == pytest.approx(
            f1_score(truth, predicted[known], average=None).tolist()
        )
        assert cell.info["n_frames"] == known.sum()
        assert cell.info["n_clips"] == len(set(table.clip[known].tolist()))
        assert 0 < cell.info["n_complete"] < known.sum()
        assert cell.info["n_complete"] == logits.test_complete[known].sum()
        assert cell.info["params"] == logits.info["params"] + 7
        assert cell.info["gflops"] == pytest.approx(logits.info["gflops"] + 0.25 * len(head.embeddings))


def test_a_learned_smoother_sees_dev_clips_and_dev_labels_only(tmp_path: Path) -> None:
    plan = toy_plan(smoothers=["toy-learned"], reference="none", seeds=[4])
    carry_out(plan, tmp_path / "run")
    fold_data = plan.rows[0].heads[0].fold_data
    seen = ~np.isnan(RunFolder(tmp_path / "run").read_logits(plan.rows[0].heads[0].id).dev[:, 0])
    assert Learned.given
    for clips, labels, seed in Learned.given:
        assert seed == 4
        assert np.concatenate(labels).tolist() == fold_data.rows.dev_label[seen].tolist()
        assert np.concatenate([numbers for _, numbers in clips]).tolist() == fold_data.dev_table.number[seen].tolist()


def test_a_smoother_that_needs_embeddings_gets_all_views_side_by_side(tmp_path: Path) -> None:
    class Wide(Smoother):
        needs = "embeddings"
        given: list[np.ndarray] = []

        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            Wide.given.append(x)
            return np.tile([0.5, 0.3, 0.2], (len(x), 1))

    with registered(SMOOTHERS, "toy-wide", Wide):
        plan = toy_plan(smoothers=["toy-wide"], reference="none", seeds=1)
        outcome, _ = carry_out(plan, tmp_path / "run")
        assert outcome.failed == {}
        outcome, _ = carry_out(plan, tmp_path / "run")
        assert outcome.reused == 1
    assert {x.shape[1] for x in Wide.given} == {24}


def test_the_choice_is_not_affected_by_a_row_of_an_older_component(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a backbone has changed, cells of the old one are not of the same row: nothing is averaged over both."""
    from toy_components import Colours

    plan = toy_plan(**AUTO, seeds=2)
    carry_out(plan, tmp_path / "run")
    monkeypatch.setattr(Colours, "revision", 2)
    plan = toy_plan(**AUTO, seeds=2)
    _, results = carry_out(plan, tmp_path / "run")
    chosen_over = [info["chosen_over"] for info in infos(RunFolder(tmp_path / "run"), plan)]
    assert chosen_over == [sorted(head.id for head in plan.rows[0].heads)] * 2
    current = [cell for cell in results.cells() if cell["head"] in plan.heads]
    assert len(current) == 2
    assert len({(cell["seed"], cell["fold"]) for cell in results.cells()}) == len(results.cells())
