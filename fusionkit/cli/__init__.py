"""The command line: one module per command; each parses, calls and prints, and has no logic of its own."""

from __future__ import annotations

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
    data,
    doctor,
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
from fusionkit.cli.usage import Commands

RUN, LOOK, EXTEND, TRAIN = "Run and compare", "DetectionOptions around", "Extend", "Train backbones"

app = typer.Typer(
    name="fusionkit",
    cls=Commands,
    help="Compare region views, backbones, fusions and temporal smoothers for facial expression recognition.",
    epilog="Start with:  fusionkit bench --regions eye,mouth --fusion concat",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fusionkit {__version__}")
        raise typer.Exit


@app.callback()
def _fusionkit(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of no command."""


app.command("bench", rich_help_panel=RUN)(bench.bench)
app.command("report", rich_help_panel=RUN)(report.report)
app.command("compare", rich_help_panel=RUN)(compare.compare)
app.command("ablate", rich_help_panel=RUN)(ablate.ablate)
app.command("robust", rich_help_panel=RUN)(robust.robust)
app.command("merge", rich_help_panel=RUN)(merge.merge)
app.command("predict", rich_help_panel=RUN)(predict.predict)
app.command("submit", rich_help_panel=RUN)(submit.submit)
app.command("list", rich_help_panel=LOOK)(listing.list_components)
app.command("info", rich_help_panel=LOOK)(info.info)
app.command("preview", rich_help_panel=LOOK)(preview.preview)
app.command("align", rich_help_panel=LOOK)(align.align)
app.add_typer(
    data.app,
    name="data",
    help="DetectionOptions at data before they are used, and write drawn ones.",
    rich_help_panel=LOOK,
)
app.command("cache", rich_help_panel=LOOK)(cache.cache)
app.command("doctor", rich_help_panel=LOOK)(doctor.doctor)
app.command("new", rich_help_panel=EXTEND)(new.new)
app.command("check", rich_help_panel=EXTEND)(check.check)
app.command("pretrain", rich_help_panel=TRAIN)(pretrain.pretrain)
app.command("finetune", rich_help_panel=TRAIN)(finetune.finetune)


def main() -> None:
    """The ``fusionkit`` command."""
    app()
