"""The key ``impute``: default rows keep their names, others are scored as asked and kept apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score
from toy_components import carry_out, toy_grid, toy_house, toy_plan  # noqa: F401

from fusionkit.errors import ConfigError
from fusionkit.grid.folder import RunFolder
from fusionkit.report.table import caption

pytestmark = pytest.mark.usefixtures("toy_house")


def test_saying_the_default_changes_no_name() -> None:
    plain, explicit = toy_plan(impute=None), toy_plan(impute="nearest")
    assert [row.id for row in plain.rows] == [row.id for row in explicit.rows]
    assert plain.protocol == explicit.protocol
    assert plain.grid.digest() == explicit.grid.digest()
    assert "impute" not in plain.grid.describe()


def test_another_way_has_names_of_its_own_on_the_same_heads() -> None:
    plain, other = toy_plan(), toy_plan(impute="linear")
    assert not {row.id for row in plain.rows} & {row.id for row in other.rows}
    assert list(plain.heads) == list(other.heads)
    assert other.grid.describe()["impute"] == "linear"


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        toy_grid(impute="linaer")
    for fact in ("impute", "'linaer'", "nearest, linear, prior"):
        assert fact in str(caught.value)


def test_a_folder_holds_one_method_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.add_plan(toy_plan(), {})
    with pytest.raises(ConfigError, match="split auto, not toy-blobs, split auto, impute prior"):
        folder.add_plan(toy_plan(impute="prior"), {})


@pytest.mark.parametrize("how", ["nearest", "linear", "prior"])
def test_cells_are_scored_with_it_and_say_so(tmp_path: Path, how: str) -> None:
    plan = toy_plan(impute=how, seeds=1, reference="none")
    _, results = carry_out(plan, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    (row,) = plan.rows
    (head,) = row.heads
    cell = folder.read_cell(row.cell_id(head))
    assert cell is not None
    fold_data = head.fold_data
    table = fold_data.source.table.take(fold_data.rows.test)
    logits = folder.read_logits(head.id).test
    seen = ~np.isnan(logits[:, 0])
    probs = np.tile(fold_data.prior, (len(table), 1))
    probs[seen] = softmax(logits[seen].astype(float), axis=1)
    for index in np.flatnonzero(~seen):
        same = np.flatnonzero(seen & (table.clip == table.clip[index]))
        if how == "linear":
            have = table.number[same]
            probs[index] = [np.interp(table.number[index], have, probs[same, c]) for c in range(3)]
        elif how == "nearest":
            probs[index] = probs[min(same, key=lambda n: (abs(table.number[n] - table.number[index]), n))]
    known = table.label >= 0
    assert cell.info["score"] == pytest.approx(f1_score(table.label[known], probs[known].argmax(1), average="macro"))
    lacking = int((known & ~seen).sum())
    assert lacking > 0
    assert (cell.info["impute"], cell.info["imputed"]) == (how, lacking)
    assert json.loads((tmp_path / "run/grid.json").read_text(encoding="utf-8"))["impute"] == how
    assert caption(results)[-1] == f"frames without any view: {lacking}, imputed: {how}"


def test_without_gaps_the_caption_says_nothing_of_it(tmp_path: Path) -> None:
    _, results = carry_out(toy_plan(datasets=["toy-blobs:missing=false"], seeds=1), tmp_path / "run")
    assert not any("imputed" in line for line in caption(results))
