"""``fusionkit bench``: run a benchmark grid."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import FAILED, err, is_interactive, out, reporting
from fusionkit.cli.options import PLUGIN, SPEC

if TYPE_CHECKING:
    from fusionkit.api import Prepared
    from fusionkit.grid.run import Outcome
    from fusionkit.report.run import Results

AXES, HOW, RUN = "What is compared", "How heads are trained", "How it runs"


def bench(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG",
            help="A config file, or the name of a shipped one. Default: bench/quickstart.",
            autocompletion=completion.configs(""),
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help=f"{SPEC} Repeatable.",
            autocompletion=completion.components("datasets"),
            rich_help_panel=AXES,
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="auto, official, holdout:test=0.2 or kfold:k=5.", rich_help_panel=AXES),
    ] = None,
    extractor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="Says where regions are.",
            autocompletion=completion.components("extractors"),
            rich_help_panel=AXES,
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="Embeds views, as hog,timm:model=resnet18.",
            autocompletion=completion.components("backbones"),
            rich_help_panel=AXES,
        ),
    ] = None,
    main: Annotated[
        list[str] | None,
        typer.Option(metavar="VIEW", help="The main view, 'face'; 'none' leaves it out.", rich_help_panel=AXES),
    ] = None,
    regions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIEWS",
            help="One region set: the auxiliary views, as eye,mouth. Repeat to compare sets. A view is face, a region, "
            "eye+mouth (stacked), keep:eye+mouth or drop:mouth (the rest, or the region, blacked out).",
            autocompletion=completion.views,
            rich_help_panel=AXES,
        ),
    ] = None,
    subsets: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIEWS",
            help="Every non-empty subset of these views.",
            autocompletion=completion.views,
            rich_help_panel=AXES,
        ),
    ] = None,
    fusion: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="Fusions, as concat,mlp:hidden=128.",
            autocompletion=completion.components("fusions"),
            rich_help_panel=AXES,
        ),
    ] = None,
    smoother: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="Temporal smoothers, as none,window:width=25.",
            autocompletion=completion.components("smoothers"),
            rich_help_panel=AXES,
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="lr, epochs, loss, ... (fusionkit info recipe). A list of values in square brackets is swept on dev.",
            rich_help_panel=HOW,
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Heads a cell, seeds 0..N-1.", rich_help_panel=HOW)
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIEWS",
            help="What delta is taken to: main (face alone), a region set, or none.",
            rich_help_panel=HOW,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="About this many frames a split, to try things.", rich_help_panel=HOW),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any config key, dotted: recipe.lr=1e-4.", rich_help_panel=HOW),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="The run's folder. Default: runs/<config>-<hash>.", rich_help_panel=RUN
        ),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help=PLUGIN,
            rich_help_panel=RUN,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="auto, cpu, cuda (all GPUs) or cuda:N.",
            autocompletion=completion.devices,
            rich_help_panel=RUN,
        ),
    ] = "auto",
    executor: Annotated[
        Literal["processes", "serial", "ray"],
        typer.Option(
            metavar="WHO",
            help="Who works: processes (a pool), serial (this process) or ray (a cluster).",
            rich_help_panel=RUN,
        ),
    ] = "processes",
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a running Ray cluster: auto or host:port.", rich_help_panel=RUN),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Processes; 0 for one a core.", rich_help_panel=RUN)
    ] = 0,
    cell_timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="Seconds that one piece of work may take.", rich_help_panel=RUN),
    ] = None,
    worker_memory: Annotated[
        float | None,
        typer.Option(
            metavar="GIB",
            min=0,
            help="GiB that a worker may use; 0 for no limit. Default: its share.",
            rich_help_panel=RUN,
        ),
    ] = None,
    memory: Annotated[
        float,
        typer.Option(
            metavar="GIB",
            min=0,
            help="GiB of features that a worker holds; more are read as they are needed, with the same results. 0 for "
            "a share of what is available.",
            rich_help_panel=RUN,
        ),
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.", rich_help_panel=RUN)] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failed cell.", rich_help_panel=RUN)
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed before.", rich_help_panel=RUN)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=RUN)] = False,
) -> None:
    """Run a benchmark grid: every region set with every fusion and smoother, over seeds.

    Each piece of work is done once and kept: the same command again, or a larger grid in the same folder, reuses it.

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
    with reporting(debug):
        from fusionkit.api import prepare
        from fusionkit.grid.run import RunOptions

        options = RunOptions(
            executor=executor,
            ray_address=ray_address,
            workers=workers,
            cell_timeout=cell_timeout,
            worker_memory=worker_memory,
            memory=memory,
            fail_fast=fail_fast,
            retry_failed=retry_failed,
        )
        prepared = prepare(
            config,
            overrides=_overrides(given),
            settings=set_ or (),
            out=out_dir,
            device=device,
            options=options,
        )
        if dry_run:
            _print_plan(prepared)
            return
        _run(prepared)


def _overrides(given: dict[str, Any]) -> dict[str, Any]:
    """Options that were given, as config values.

    Raises:
        ConfigError: if one that a run has once is given several times: of an option that is compared, both are meant.
    """
    from fusionkit.errors import ConfigError
    from fusionkit.registry.spec import Spec, split_outside, split_specs

    found = {key: value for key, value in given.items() if value is not None}
    for key in ("split", "main", "reference"):
        if len(found.get(key, ())) > 1:
            raise ConfigError(f"--{key} is given {len(found[key])} times ({', '.join(found[key])}); a run has one")
        if key in found:
            (found[key],) = found[key]
    for key in ("datasets", "extractor", "backbones", "fusions", "smoothers"):
        if key in found:
            found[key] = split_specs(found[key])
    if "recipe" in found:
        items = [item for text in found["recipe"] for item in split_outside(text)]
        found["recipe"] = dict(Spec.parse(f"recipe:{','.join(items)}").options)
    return found


def _run(prepared: Prepared) -> None:
    from fusionkit.api import execute
    from fusionkit.cli.progress import BarProgress, LineProgress

    started = time.monotonic()
    progress = BarProgress(err) if is_interactive() else LineProgress(err)
    outcome, results = execute(prepared, progress)
    print_results(results)
    _print_outcome(outcome, prepared, time.monotonic() - started)
    if outcome.failed:
        raise typer.Exit(FAILED)


def print_results(results: Results) -> None:
    """The table, what it is about, and what to be careful of."""
    from fusionkit.report.attribution import attribution_tables
    from fusionkit.report.ranks import ranks_table
    from fusionkit.report.table import caption, results_table, warnings

    out.print()
    out.print(results_table(results))
    for table in (ranks_table(results), *attribution_tables(results)):
        if table:
            out.print(table)
    for line in caption(results):
        out.print(escape(line), style="dim", highlight=False)
    for line in warnings(results):
        err.print(f"[yellow]warning:[/] {escape(line)}", soft_wrap=True)


def _print_outcome(outcome: Outcome, prepared: Prepared, seconds: float) -> None:
    folder = prepared.folder.path
    written = ", ".join(name for name in ("report.html", "results.csv") if (folder / name).is_file())
    out.print(
        f"{outcome.embedded} frames embedded, {outcome.fitted} heads trained, {outcome.scored} cells scored, "
        f"{outcome.reused} cells reused, {outcome.heads_reused} heads reused, {outcome.frames_reused} frames reused "
        f"from the cache in {seconds:.1f} s; results in {folder}: {written}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    for note in outcome.notes:
        err.print(escape(note), soft_wrap=True)
    for name in outcome.unreadable:
        err.print(f"[yellow]without an image:[/] {escape(name)}", soft_wrap=True)
    for name, message in outcome.failed.items():
        err.print(f"[red]failed[/] {escape(name)}: {escape(message)}", soft_wrap=True)
    if outcome.failed:
        err.print(
            f"{len(outcome.failed)} cell(s) failed; tracebacks in {folder}/failures; --retry-failed tries them again",
            markup=False,
            soft_wrap=True,
        )


def _print_plan(prepared: Prepared) -> None:
    from fusionkit.report.plan_table import plan_lines

    for line in plan_lines(prepared.plan, prepared.folder, prepared.store, prepared.options):
        out.print(escape(line), highlight=False, soft_wrap=True)
    prepared.folder.check(prepared.plan)
