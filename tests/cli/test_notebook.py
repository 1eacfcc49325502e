"""The notebook of the docs runs from its first cell to its last, and shows what its text says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from docs_folder import ROOT

NOTEBOOK = ROOT / "docs/notebook.ipynb"


def cells(notebook: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_the_notebook_is_stored_without_outputs_and_the_page_has_its_extra() -> None:
    stored = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = cells(stored, "code")
    assert len(code) == 9
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert "notebook.ipynb" in (ROOT / "docs/notebook.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries of notebooks
def test_the_notebook_runs(tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {}
    for cell in cells(notebook, "code"):
        for output in cell["outputs"]:
            if output["output_type"] == "execute_result":
                shown[cell["source"].splitlines()[-1]] = output["data"]
    assert "fusionkit-results" in shown["results"]["text/html"]
    rows = shown["results"]["text/plain"].splitlines()
    assert [line.split()[:2] for line in rows[1:4]] == [
        ["face", "linear"],
        ["face,voice", "mlp"],
        ["face,voice", "gated"],
    ]
    alone, *both = (float(line.split()[3]) for line in rows[1:4])
    assert alone < 0.5 < 0.6 < min(both), "the face tells half of the label"
    assert "face,voice/mlp/none beats face/linear/none" in shown['results.compare("mlp", "linear")']["text/plain"]
    predicted = next(data["text/plain"] for line, data in shown.items() if line.startswith("pd.crosstab"))
    shares = np.array([line.split()[1:] for line in predicted.splitlines()[2:]], np.float64)
    assert shares.shape == (4, 4)
    assert shares.diagonal().min() > 0.7, "predictions belong to the lines of the table"
    assert "report.html" in shown["results.report()"]["text/plain"]
    assert (tmp_path / "runs/notebook/report.html").stat().st_size > 100_000
