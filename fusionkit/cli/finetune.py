"""``fusionkit finetune``: stage 2, a backbone learns expressions from labelled views."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import err, is_interactive, out, reporting
from fusionkit.cli.options import Debug, Device, Plugins, Settings

if TYPE_CHECKING:
    from fusionkit.training.finetune import Finetuned
    from fusionkit.training.finetune_config import FinetuneConfig

_NAMED = 5  # frames without a view that are listed


def finetune(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="A config file, or the name of a shipped one: finetune/tiny.",
            autocompletion=completion.configs("finetune"),
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="A labelled data set, as name:key=value,...",
            autocompletion=completion.components("datasets"),
        ),
    ] = None,
    view: Annotated[
        str | None,
        typer.Option(
            metavar="VIEW", help="The view that is learned: face, eye+mouth, ...", autocompletion=completion.views
        ),
    ] = None,
    auxiliary: Annotated[
        str | None,
        typer.Option(
            metavar="VIEWS",
            help="Views that join it: eye+mouth. Where: --set fusion.position=block:6.",
            autocompletion=completion.views,
        ),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights to begin with: an encoder.safetensors, say.")
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run's folder. Default: runs/finetune-<config>-<hash>."),
    ] = None,
    set_: Settings = None,
    plugin: Plugins = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Fine-tune a backbone on one view, or a joint network on several, with labels.

    The same command again goes on from the last checkpoint. A view's backbone serves the bench:
    --backbone timm:checkpoint=FILE. The run's folder holds its results as that of a bench does.

    Examples:

      fusionkit finetune finetune/tiny

      fusionkit finetune finetune/face --dataset rafdb:root=RAF-DB --init encoder.safetensors

      fusionkit finetune finetune/tiny --auxiliary eye+mouth --set fusion.position=block:2
    """
    with reporting(debug):
        from fusionkit.config.config_file import find_config, read_config
        from fusionkit.registry.plugin_file import load_plugin_file
        from fusionkit.training.finetune_config import resolve_finetune

        for file in plugin or ():
            load_plugin_file(file)
        path = find_config(config)
        given = {"dataset": dataset, "view": view, "auxiliary": auxiliary, "init": str(init) if init else None}
        named = {key: value for key, value in given.items() if value is not None}
        resolved = resolve_finetune({**read_config(path, set_ or (), "finetune"), **named}, path.stem)
        folder = out_dir or Path("runs") / f"finetune-{resolved.name}-{resolved.digest()[:8]}"
        _run(resolved, folder, device)


def _run(config: FinetuneConfig, folder: Path, device: str) -> None:
    from fusionkit.api import choose_device
    from fusionkit.cli.bench import print_results
    from fusionkit.cli.training_progress import EpochLines, LossBar, LossLines
    from fusionkit.grid.progress import Progress
    from fusionkit.grid.provenance import provenance
    from fusionkit.report.csv_files import write_csv_files
    from fusionkit.report.run import Results
    from fusionkit.training.finetune import finetune as train
    from fusionkit.training.processes import speaks

    started = time.monotonic()
    chosen = choose_device(device)
    if not speaks():
        train(config, folder, chosen, provenance(chosen), Progress())
        return
    progress: Any = LossBar(err) if is_interactive() else LossLines(err)
    done = train(config, folder, chosen, provenance(chosen), progress, EpochLines(err, progress, config.recipe))
    results = Results(done.folder)
    write_csv_files(results)
    print_results(results)
    _print(done, time.monotonic() - started)


def _print(done: Finetuned, seconds: float) -> None:
    for note in done.notes:
        err.print(f"[yellow]warning:[/] {escape(note)}", soft_wrap=True)
    unseen = sorted({name for item in done.trained for name in item.unreadable})
    if unseen:
        named = ", ".join(unseen[:_NAMED]) + (", ..." if len(unseen) > _NAMED else "")
        err.print(f"[yellow]without a view:[/] {len(unseen)}: {escape(named)}", highlight=False, soft_wrap=True)
    steps = sum(item.steps - item.resumed for item in done.trained)
    before = sum(item.resumed for item in done.trained)
    what = f"{steps} steps in {seconds:.1f} s" if steps else "nothing was left to train"
    lines = [f"{what}{f', after {before} done before' if steps and before else ''}; results in {done.folder.path}"]
    for best in done.best.values():
        file = best / "backbone.safetensors"
        if file.is_file():
            lines.append(f"use it: --backbone timm:checkpoint={file}")
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
