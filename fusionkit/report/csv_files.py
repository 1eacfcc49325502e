"""CSV files of a run folder: results.csv (one line per row), cells.csv and costs.csv (one line per cell)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from fusionkit.grid.results import Row, RunResults
from fusionkit.report.significance import row_significance
from fusionkit.stats.crossed import Estimate
from fusionkit.storage.artifact import csv_bytes, write_file

AXES = (
    *("dataset", "split", "extractor", "backbone", "main", "views", "fusion", "recipe", "smoother", "task"),
    *("learned_with", "labels"),
)
COST_COLUMNS = (
    *("cell", "head", "views", "fusion", "smoother", "seed", "fold", "embed_seconds", "fit_seconds", "peak_mib"),
    *("gflops", "gflops_counter"),
)
FLOP_COUNTER = "torch.utils.flop_counter.FlopCounterMode, fused attention off"


def write_csv_files(results: RunResults) -> None:
    """Write the three files.

    Raises:
        StorageError: if a file cannot be written.
    """
    path = results.folder.path
    write_file(path / "results.csv", csv_bytes(result_columns(results), result_lines(results)))
    write_file(path / "cells.csv", csv_bytes(cell_columns(results), cell_lines(results)))
    write_file(path / "costs.csv", csv_bytes(COST_COLUMNS, cost_lines(results)))


def result_columns(results: RunResults) -> tuple[str, ...]:
    """Return the columns of results.csv: those of every run, then score and predicted share of each part."""
    tasks = [row.task for row in results.rows]
    metrics = dict.fromkeys(task.key for task in tasks)
    scores = dict.fromkeys(f"{row.task.score_key}_{name}" for row in results.rows for name in row.parts)
    return (
        *AXES,
        *("id", "n_seeds", "seeds_left_out", "n_units", "n_clips", "n_frames", "steps"),
        *(f"{metric}{end}" for metric in metrics for end in ("", "_lo", "_hi", "_sd", "_sd_moderated")),
        *("delta", "delta_lo", "delta_hi", "p", "p_holm", "significance"),
        *(name for name in _measures(results) if name != "predicted_classes"),
        *("coverage", "params", "gflops", "weights"),
        *(f"{score}{end}" for score in scores for end in ("", "_lo", "_hi")),
        *dict.fromkeys(f"predicted_{name}" for row in results.rows for name in row.predicted),
    )


def cell_columns(results: RunResults) -> tuple[str, ...]:
    """Return the columns of cells.csv."""
    metrics = dict.fromkeys(row.task.key for row in results.rows)
    return (
        *AXES,
        *("seed", "fold", "cell", "chosen_smoother", "chosen_recipe", "chosen_fusion"),
        *(f"{part}{metric}" for metric in metrics for part in ("dev_", "")),
        *_measures(results),
        *("best_epoch", "steps", "weights", "state", "error"),
    )


def _measures(results: RunResults) -> list[str]:
    """Return the names of the measures beside the metric, of all finished cells."""
    cells = [cell.info for row in results.stored.values() for cell in row.cells.values()]
    return list(dict.fromkeys(name for info in cells for name in (*info["measures"], *info["diagnostics"])))


def result_lines(results: RunResults) -> list[dict[str, Any]]:
    """Return the lines of results.csv by column; unknown values are NaN, None or absent."""
    significance = row_significance(results)
    return [{**_result_fields(row), "significance": significance.get(row.id)} for row in results.rows]


def _result_fields(row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {**asdict(row.axes), "id": row.id, "n_seeds": len(row.seeds), **row.means}
    fields["seeds_left_out"] = " ".join(map(str, row.left_out))
    fields["weights"] = weights_text(row.random_backbones)
    key = row.task.key
    fields |= {**estimate_fields(key, row.score), **estimate_fields("delta", row.delta)}
    if row.score:
        fields |= {"n_units": row.score.n_units, f"{key}_sd": row.sd, f"{key}_sd_moderated": row.sd_moderated}
    if row.delta:
        fields |= {"p": row.delta.p, "p_holm": row.p_holm}
    for name, estimate in row.parts.items():
        fields |= estimate_fields(f"{row.task.score_key}_{name}", estimate)
    fields |= {f"predicted_{name}": share for name, share in row.predicted.items()}
    for name in ("n_clips", "n_frames", "params"):
        if name in fields:
            fields[name] = round(fields[name])
    return fields


def weights_text(random_backbones: Sequence[str]) -> str:
    """Return ``random`` if a backbone of a row has random weights, else an empty text."""
    return "random" if random_backbones else ""


def estimate_fields(name: str, estimate: Estimate | None) -> dict[str, float]:
    """Return the columns ``name``, ``name_lo`` and ``name_hi``; none without an estimate."""
    if estimate is None:
        return {}
    return {name: estimate.value, f"{name}_lo": estimate.low, f"{name}_hi": estimate.high}


def cell_lines(results: RunResults) -> Iterator[dict[str, Any]]:
    """Yield the lines of cells.csv by column."""
    tasks = {row.id: row.task for row in results.rows}
    for cell in results.cells():
        key = tasks[cell["row"]].key
        yield {
            **cell,
            **cell["axes"],
            "cell": cell["id"],
            "weights": weights_text(cell["random_weights"]),
            **{f"chosen_{axis}": cell.get(axis, "") for axis in ("smoother", "recipe", "fusion")},
            f"dev_{key}": cell.get("dev_score"),
            key: cell.get("score"),
            **cell.get("measures", {}),
            **cell.get("diagnostics", {}),
        }


def cost_lines(results: RunResults) -> Iterator[dict[str, Any]]:
    """Yield the lines of costs.csv by column: of each finished cell, its embeddings and all heads of its sweep."""
    head_cost = cache(results.folder.head_cost)  # cells that differ in their smoother share a head
    for cell in results.cells():
        if cell["state"] != "done":
            continue
        costs = [cost for cost in map(head_cost, cell["heads"].values()) if cost]
        yield {
            **cell,
            **cell["axes"],
            "cell": cell["id"],
            "embed_seconds": head_cost(cell["head"]).get("embed_seconds"),
            "fit_seconds": sum(cost["fit_seconds"] for cost in costs) if costs else None,
            "peak_mib": max((cost["peak_mib"] for cost in costs), default=None),
            "gflops_counter": FLOP_COUNTER,
        }
