"""The command line: one module per command, which parses, calls :mod:`fusionkit.api` and prints."""

from __future__ import annotations

import gc
from typing import Annotated

import typer

from fusionkit._version import __version__
from fusionkit.cli import (
    ablate,
    align,
    bench,
    cache,
    check,
    compare,
    completion,
    data,
    demo,
    doctor,
    export,
    finetune,
    info,
    listing,
    merge,
    new,
    predict,
    pretrain,
    preview,
    report,
    robust,
    submit,
)
from fusionkit.cli.console import prepare_streams
from fusionkit.cli.usage import Commands

RUN, INSPECT, EXTEND, TRAIN = "Run and compare", "Inspect and prepare", "Extend", "Train backbones"

app = typer.Typer(
    name="fusionkit",
    cls=Commands,
    help="Compare region views, backbones, fusions and temporal smoothers for facial expression recognition.",
    epilog="Start with:  fusionkit bench --regions eye,mouth --fusion concat",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(given: bool) -> None:
    if given:
        typer.echo(f"fusionkit {__version__}")
        raise typer.Exit


@app.callback()
def _fusionkit(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


app.command("bench", rich_help_panel=RUN)(bench.bench)
app.command("report", rich_help_panel=RUN)(report.report)
app.command("compare", rich_help_panel=RUN)(compare.compare)
app.command("ablate", rich_help_panel=RUN)(ablate.ablate)
app.command("robust", rich_help_panel=RUN)(robust.robust)
app.command("merge", rich_help_panel=RUN)(merge.merge)
app.command("predict", rich_help_panel=RUN)(predict.predict)
app.command("export", rich_help_panel=RUN)(export.export)
app.command("demo", rich_help_panel=RUN)(demo.demo)
app.command("submit", rich_help_panel=RUN)(submit.submit)
app.command("list", rich_help_panel=INSPECT)(listing.list_components)
app.command("info", rich_help_panel=INSPECT)(info.info)
app.command("preview", rich_help_panel=INSPECT)(preview.preview)
app.command("align", rich_help_panel=INSPECT)(align.align)
app.add_typer(
    data.app,
    name="data",
    help="Check data sets, and write views, composites and synthetic clips.",
    rich_help_panel=INSPECT,
)
app.command("cache", rich_help_panel=INSPECT)(cache.cache)
app.command("doctor", rich_help_panel=INSPECT)(doctor.doctor)
app.command("new", rich_help_panel=EXTEND)(new.new)
app.command("check", rich_help_panel=EXTEND)(check.check)
app.command("pretrain", rich_help_panel=TRAIN)(pretrain.pretrain)
app.command("finetune", rich_help_panel=TRAIN)(finetune.finetune)


def main() -> None:
    """Run the command line."""
    prepare_streams()
    gc.set_threshold(10_000)  # imports make many objects and no garbage: collections cost up to 0.7 s
    with completion.whole_words_of_bash():
        app()
