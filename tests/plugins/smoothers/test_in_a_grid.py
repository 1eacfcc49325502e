"""Smoothers in a grid: learned ones are fitted on dev, stored with their cell and can be restored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.grid.folder import RunFolder
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")
SPECS = [
    *(
        "median:width=auto",
        "bilateral:sigma=auto",
        "gaussian:sigma=auto",
        "hamming:width=5",
        "savitzky-golay:width=7",
        "mode:width=5",
    ),
    *("exponential:half_life=auto", "kalman:noise=auto", "kalman-filter:noise=auto"),
    *("hmm", "hmm:decode=viterbi", "hmm-filter", "tcn:channels=4,layers=2,epochs=2"),
]


@pytest.mark.slow
def test_every_smoother_computes_its_cells_and_its_fitted_state_is_stored(tmp_path: Path) -> None:
    plan = toy_plan(smoothers=SPECS, reference="none", seeds=1)
    outcome, results = carry_out(plan, tmp_path / "run")
    assert outcome.failed == {}
    assert {cell["state"] for cell in results.cells()} == {"done"}
    folder = RunFolder(tmp_path / "run")
    for row in plan.rows:
        cell = folder.read_cell(row.cell_id(row.heads[0]))
        assert cell is not None
        chosen = Spec.parse(cell.info["smoother"])
        smoother = SMOOTHERS.build(chosen)
        assert "auto" not in str(chosen)
        assert (cell.smoother is not None) == smoother.fitted
        if cell.smoother is not None:
            smoother.restore(cell.smoother)
            logits = folder.read_logits(row.heads[0].id).dev
            x = np.nan_to_num(logits.astype(float))
            x = x if smoother.needs == "logits" else np.exp(x) / np.exp(x).sum(1, keepdims=True)
            assert smoother(x, np.arange(len(x))).shape == logits.shape
