"""``fusionkit bench``: run a benchmark grid."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import (
    FAILED,
    RESUMABLE,
    print_labelled,
    print_line,
    print_note,
    print_summary,
    reporting,
)

if TYPE_CHECKING:
    from fusionkit.api import Outcome


def bench(
    config: Annotated[
        str | None,
        options.config_argument("", "Config file, or name of a shipped config. Default: bench/quickstart."),
    ] = None,
    dataset: options.Datasets = None,
    task: options.Task = None,
    labels: options.Labels = None,
    split: options.Split = None,
    extractor: options.Extractors = None,
    backbone: options.Backbones = None,
    main: options.MainView = None,
    regions: options.Regions = None,
    subsets: options.Subsets = None,
    fusion: options.Fusions = None,
    smoother: options.Smoothers = None,
    recipe: options.Recipe = None,
    seeds: options.Seeds = None,
    reference: options.Reference = None,
    limit: options.Limit = None,
    executor: options.Executor = "processes",
    ray_address: options.RayAddress = None,
    workers: options.Workers = 0,
    cell_timeout: options.CellTimeout = None,
    worker_memory: options.WorkerMemory = None,
    memory: options.FeatureMemory = 0.0,
    dry_run: options.DryRun = False,
    fail_fast: options.FailFast = False,
    retry_failed: options.RetryFailed = False,
    out: Annotated[Path | None, options.out_option("DIR", "Run folder. Default: runs/<config>-<hash>.")] = None,
    set_: options.Settings = None,
    plugin: options.Plugins = None,
    device: options.Device = "auto",
    debug: options.Debug = False,
) -> None:
    """Run a benchmark grid: every region set with every fusion and smoother, over seeds.

    Each embedding and each head (fusion and classifier) is computed once and stored. The same command again, or a
    larger grid in the same folder, reuses them. A combination is one row of the results; with one seed and one fold it
    is a cell.

    Examples:

      fusionkit bench --regions eye,mouth --fusion concat

      fusionkit bench --dataset folder:root=faces --main none --regions nose --regions eye+mouth --fusion mlp

      fusionkit bench bench/regions --seeds 3 --dry-run
    """
    given = {
        "datasets": dataset,
        "extractor": extractor,
        "backbones": backbone,
        "fusions": fusion,
        "smoothers": smoother,
        "task": task,
        "labels": labels,
        "split": split,
        "main": main,
        "regions": regions or ([] if subsets else None),
        "subsets": subsets,
        "recipe": recipe,
        "seeds": seeds,
        "reference": reference,
        "limit": limit,
        "plugins": plugin,
    }
    from fusionkit.cli.progress import stage_progress

    with reporting(debug, interrupted=RESUMABLE):
        prepared = api.prepare(
            config,
            overrides=api.option_values(given),
            settings=set_ or (),
            out=out,
            device=device,
            executor=executor,
            ray_address=ray_address,
            workers=workers,
            cell_timeout=cell_timeout,
            worker_memory=worker_memory,
            memory=memory,
            fail_fast=fail_fast,
            retry_failed=retry_failed,
            progress=stage_progress(brief=True),
        )
        if dry_run:
            for line in api.plan_lines(prepared, stage_progress(brief=True)):
                print_line(line)
            return
        _run(prepared)


def _run(prepared: api.Prepared) -> None:
    from fusionkit.cli.progress import stage_progress

    started = time.monotonic()
    outcome, _ = api.execute(prepared, stage_progress(), scored=lambda found: print_summary(api.summarize(found)))
    _print_outcome(outcome, prepared.folder.path, time.monotonic() - started)
    if outcome.failed:
        raise typer.Exit(FAILED)


def _print_outcome(outcome: Outcome, folder: Path, seconds: float) -> None:
    written = ", ".join(name for name in ("report.html", "results.csv") if (folder / name).is_file())
    print_line(
        f"{outcome.embedded} frames embedded, {outcome.fitted} heads trained, {outcome.scored} cells scored, "
        f"{outcome.reused} cells reused, {outcome.heads_reused} heads reused, {outcome.frames_reused} frames reused "
        f"from the cache in {seconds:.1f} s; results in {folder}: {written}"
    )
    print_labelled("note", outcome.notes)
    print_labelled("without an image", outcome.unreadable)
    print_labelled("failed", (f"{name}: {message}" for name, message in outcome.failed.items()))
    if outcome.failed:
        print_note(f"{len(outcome.failed)} cell(s) failed; tracebacks: {folder}/failures; retry with --retry-failed")
