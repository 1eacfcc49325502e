"""``fusionkit finetune``: stage 2, fine-tune a backbone on labelled views."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import RESUMABLE, print_labelled, print_line, print_summary, reporting
from fusionkit.errors import first_of

if TYPE_CHECKING:
    from fusionkit.api import Finetuned


def finetune(
    config: Annotated[
        str, options.config_argument("finetune", "Config file, or name of a shipped config, as finetune/tiny.")
    ],
    dataset: Annotated[
        str | None,
        options.dataset_option("Labelled data set with its options, as folder:root=faces. Default: as in the config."),
    ] = None,
    view: Annotated[
        str | None, options.view_option("View to train on: face, eye+mouth, ... Default: as in the config.")
    ] = None,
    auxiliary: Annotated[
        str | None,
        options.view_option(
            "Auxiliary views, joined where --set fusion.position=block:6 says. Default: as in the config."
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Initial weights, as an encoder.safetensors. Default: as in the config."),
    ] = None,
    out: Annotated[
        Path | None, options.out_option("DIR", "Run folder. Default: runs/finetune-<config>-<hash>.")
    ] = None,
    set_: options.Settings = None,
    plugin: options.Plugins = None,
    device: options.Device = "auto",
    debug: options.Debug = False,
) -> None:
    """Fine-tune a backbone on one view, or a joint network on several views, with labels.

    The same command again resumes from the last checkpoint. The backbone of a view can be benchmarked with bench
    --backbone timm:checkpoint=FILE. The run folder holds test results, as that of a bench.

    Examples:

      fusionkit finetune finetune/tiny

      fusionkit finetune finetune/face --dataset rafdb:root=RAF-DB --init encoder.safetensors

      fusionkit finetune finetune/tiny --auxiliary eye+mouth --set fusion.position=block:2
    """
    with reporting(debug, interrupted=RESUMABLE):
        from fusionkit.cli.training_progress import training_progress

        started = time.monotonic()
        given = {"dataset": dataset, "view": view, "auxiliary": auxiliary, "init": str(init) if init else None}
        done = api.finetune(
            config,
            overrides={key: value for key, value in given.items() if value is not None},
            settings=set_ or (),
            out=out,
            device=device,
            plugins=plugin or (),
            progress=training_progress(),
        )
        if api.is_main_process():
            print_summary(api.summarize(api.Results(done.folder)))
            _print(done, time.monotonic() - started)


def _print(done: Finetuned, seconds: float) -> None:
    print_labelled("warning", done.notes)
    if unseen := sorted({name for item in done.trained for name in item.unreadable}):
        print_labelled("without a view", [f"{len(unseen)}: {first_of(unseen)}"])
    steps = sum(item.steps - item.resumed for item in done.trained)
    before = sum(item.resumed for item in done.trained)
    text = f"{steps} steps in {seconds:.1f} s" if steps else "nothing left to train"
    print_line(f"{text}{f', after {before} done before' if steps and before else ''}; results in {done.folder.path}")
    for spec in done.backbones.values():
        print_line(f"use it: --backbone {spec}")
